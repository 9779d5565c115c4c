from __future__ import annotations

import json

import pytest

from raysearch.objectives import Goals
from raysearch.record.journal import Journal
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.nsga2 import NSGA2
from raysearch.warm_start import warm_start

SPACE = (
    Parameter(("training", "lr"), "float", 1e-4, 1e-1, log=True),
    Parameter(("width",), "integer", 8, 64),
)
GOALS = Goals.parse(["maximize accuracy", "minimize size_mb"], last_step=3)
HEADER = {
    "study": {
        "task": {"name": "digits"},
        "parent": {},
        "objectives": ["maximize accuracy", "minimize size_mb"],
        "constraints": [],
        "targets": ["cpu"],
        "search": {"epochs": 2},
    },
    "software": {"torch": "2"},
    "machine": {"cpu": "x"},
}


def key(config):
    return json.dumps(config, sort_keys=True)


def config(lr, width):
    return {"training": {"lr": lr}, "width": width}


def run(folder, trials, header=HEADER):
    """A journal of trials, each (config, values, outcome)."""
    journal = Journal(folder)
    journal.write("run", version=1, **header)
    for i, (config, values, outcome) in enumerate(trials):
        name = f"{i:04d}"
        journal.write("suggestion", trial=name, role="trial", config=config, key=key(config), origin="nsga2")
        step = 3 if outcome == "finished" else 1
        journal.write("report", trial=name, step=step, values=values, decision="continue")
        if outcome:
            journal.write("end", trial=name, outcome=outcome)
    journal.close()
    return folder


def good(accuracy, size):
    return {"accuracy": accuracy, "size_mb": size}


def widths(start):
    return [c["width"] for c in start.configs]


def test_the_best_under_the_new_goals_come_first_and_stopped_ones_later(tmp_path):
    folder = run(
        tmp_path / "a",
        [
            (config(1e-3, 10), {"size_mb": 0.1}, "finished"),
            (config(1e-3, 11), good(0.99, 0.1), "stopped"),
            (config(1e-3, 12), good(0.8, 3.0), "finished"),
            (config(1e-3, 13), good(0.9, 2.0), "finished"),
            (config(1e-3, 14), good(0.99, 0.1), "failed"),
            (config(1e-3, 15), good(0.99, 0.1), None),
        ],
    )
    start = warm_start([folder], SPACE, GOALS, count=9)
    assert widths(start) == [13, 12, 11, 10]
    assert (start.found, start.illegal) == (4, 0)
    assert widths(warm_start([folder], SPACE, Goals.parse(["minimize size_mb"]), count=2)) == [10, 13]


def test_illegal_values_are_dropped_unknown_keys_cut_and_absent_ones_left_open(tmp_path):
    folder = run(
        tmp_path / "a",
        [
            (config(1e-3, 100), good(0.9, 1.0), "finished"),
            ({**config(1e-3, 20), "depth": 3}, good(0.8, 1.0), "finished"),
            ({"width": 30}, good(0.7, 1.0), "finished"),
            ({"depth": 3}, good(0.6, 1.0), "finished"),
        ],
    )
    start = warm_start([folder], SPACE, GOALS, count=9)
    assert start.configs == [config(1e-3, 20), {"width": 30}]
    assert start.illegal == 2
    searcher = NSGA2(SPACE, GOALS, initial=start.configs)
    assert searcher.ask("0")["width"] == 20
    assert searcher.ask("1")["width"] == 30


def test_runs_take_turns_and_a_variant_comes_once(tmp_path):
    first = run(
        tmp_path / "a",
        [(config(1e-3, 10), good(0.9, 1.0), "finished"), (config(1e-3, 11), good(0.8, 1.0), "finished")],
    )
    second = run(
        tmp_path / "b",
        [(config(1e-3, 20), good(0.2, 9.0), "finished"), (config(1e-3, 10), good(0.1, 9.0), "finished")],
    )
    assert widths(warm_start([first, second], SPACE, GOALS, count=9)) == [10, 20, 11]
    assert widths(warm_start([first, second], SPACE, GOALS, count=2)) == [10, 20]


def test_figures_of_the_same_task_on_the_same_machine_are_known(tmp_path):
    folder = run(
        tmp_path / "a",
        [(config(1e-3, 10), good(0.9, 1.0), "finished"), (config(1e-3, 11), good(0.8, 1.0), "stopped")],
    )
    same = warm_start([folder], SPACE, GOALS, count=9, run=HEADER)
    assert [c["width"] for c, _ in same.known] == [10]
    assert same.known[0][1].reports == [(3, good(0.9, 1.0))]
    other = {**HEADER, "machine": {"cpu": "y"}}
    assert warm_start([folder], SPACE, GOALS, count=9, run=other).known == []
    assert warm_start([folder], SPACE, GOALS, count=9).known == []


def test_what_is_completed_otherwise_is_another_variant(tmp_path):
    folder = run(tmp_path / "a", [({"width": 10}, good(0.9, 1.0), "finished")])
    start = warm_start(
        [folder], SPACE, GOALS, count=9, run=HEADER, key=key, complete=lambda c: {**config(1e-2, 8), **c}
    )
    assert start.known == []
    assert widths(start) == [10]


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        warm_start([tmp_path], SPACE, GOALS, count=1)


def test_nothing_legal_is_refused_with_the_first_reason(tmp_path):
    folder = run(tmp_path / "a", [(config(1e-3, 100), good(0.9, 1.0), "finished")])
    with pytest.raises(ValueError, match="can start this study: width is 100: it must lie from 8 to 64"):
        warm_start([folder], SPACE, GOALS, count=1)


def test_a_run_without_trials_is_refused(tmp_path):
    with pytest.raises(ValueError, match="they hold no trial that ended"):
        warm_start([run(tmp_path / "a", [])], SPACE, GOALS, count=1)


@pytest.mark.parametrize(
    ("folders", "count", "message"),
    [([], 1, "at least one run folder"), ("a", 1, "a list"), (["a"], 0, "count is 0")],
)
def test_arguments_that_cannot_work_are_refused(folders, count, message):
    with pytest.raises(ValueError, match=message):
        warm_start(folders, SPACE, GOALS, count=count)


def test_what_the_searcher_proposed_counts_where_the_canonical_form_is_rounded(tmp_path):
    """A width of 70 is what 64 and a multiple of 10 amounted to; only 64 is legal."""
    journal = Journal(tmp_path)
    journal.write("run", version=1, **HEADER)
    found = {"config": config(0.01, 70), "proposal": config(0.01, 64)}
    journal.write("suggestion", trial="0000", role="trial", key="k", origin="nsga2", **found)
    journal.write("report", trial="0000", step=3, values=good(0.9, 1.0), decision="continue")
    journal.write("end", trial="0000", outcome="finished")
    journal.close()
    start = warm_start([tmp_path], SPACE, GOALS, count=1)
    assert (start.configs, start.illegal) == ([config(0.01, 64)], 0)
