from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from fake_run import make_events, write_run

from raysearch.basics.failures import UserError
from raysearch.record.run_record import RunRecord
from raysearch.search_spaces import domains

pytest.importorskip("optuna", reason='optuna is not installed: pip install "raysearch[dashboard]"')

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from raysearch.watching.dashboard import Mirror, category, distribution, served

STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def record_of(events: list[dict]) -> RunRecord:
    record = RunRecord()
    for event in events:
        record.apply(event)
    return record


def test_what_is_mirrored_event_by_event_is_what_is_mirrored_at_once() -> None:
    events = make_events(20)
    whole = Mirror(record_of(events), "run")
    growing = record_of(events[:2])
    mirror = Mirror(growing, "run")
    for event in events[2:]:
        growing.apply(event)
        mirror.take(event)
    pairs = zip(whole.storage.get_all_trials(0), mirror.storage.get_all_trials(0), strict=True)
    for one, other in pairs:
        assert one.state == other.state == STATES[growing.trials[one.user_attrs["trial"]].outcome or ""]
        assert one.values == other.values
        assert one.params == other.params
        assert one.user_attrs == other.user_attrs
        assert one.system_attrs == other.system_attrs
        assert one.intermediate_values == other.intermediate_values
    assert len(whole.storage.get_all_trials(0)) == 22


def test_a_setting_that_its_domain_cannot_give_is_left_out() -> None:
    events = make_events(2)
    at = next(i for i, e in enumerate(events) if e["event"] == "suggestion" and e["trial"] == "0000")
    events[at]["config"] = {**events[at]["config"], "training": {"lr": "x"}}
    trials = Mirror(record_of(events), "run").storage.get_all_trials(0)
    assert all("training/lr" not in t.params for t in trials if t.user_attrs["trial"] == "0000")


def test_the_front_is_the_runs_own() -> None:
    import optuna

    from raysearch.record.scores import Scores

    record = record_of(make_events(40))
    study = optuna.load_study(study_name="run", storage=Mirror(record, "run").storage)
    searched = {t.user_attrs["trial"] for t in study.best_trials if t.user_attrs["role"] == "trial"}
    assert searched <= {t.name for t in Scores(record).front}
    assert searched
    assert study.metric_names == ["accuracy", "latency_ms/onnxruntime-cpu", "size_mb"]


def test_domains_become_distributions() -> None:
    assert distribution(domains.Numbers(True, 2, 9, 1, False)) == IntDistribution(2, 9)
    assert distribution(domains.Numbers(True, 1, 64, 1, True)) == IntDistribution(1, 64, log=True)
    assert distribution(domains.Numbers(False, 0.1, 1.0, None, True)) == FloatDistribution(0.1, 1.0, log=True)
    assert distribution(domains.Numbers(False, 0.0, 0.8, 0.2, False)) == FloatDistribution(0, 0.8, step=0.2)
    assert distribution(domains.Choices(("a", (3, 5)))) == CategoricalDistribution(["a", "[3, 5]"])
    assert category({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'


def test_it_answers_on_this_machine_alone(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason='it is not installed: pip install "raysearch[dashboard]"')
    folder = write_run(tmp_path / "run", make_events(4))
    with served(folder, 0) as (address, run, _):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}api/studies", timeout=20) as answer:
            (summary,) = json.load(answer)["study_summaries"]
        assert summary["study_name"] == "run"
        assert run.ended
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(UserError, match=f"--port is {port}, which cannot be listened on"):
            served(folder, port).__enter__()


def test_without_the_package_it_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna_dashboard", None)
    with pytest.raises(UserError, match=r'pip install "raysearch\[dashboard\]"'):
        served(tmp_path, 0).__enter__()


def test_other_limits_begin_another_study() -> None:
    """Of Optuna's, whose studies have their objectives for ever."""
    import optuna

    events = make_events(12)
    record = record_of(events)
    mirror = Mirror(record, "run")
    held = record.header["study"]
    changed = {
        "event": "limits",
        "time": 2e9,
        "objectives": held["objectives"][1:],
        "constraints": ["macs <= 3e6"],
        "targets": held["targets"],
    }
    came = [
        changed,
        {"event": "session", "time": 2e9, "action": "resume", "num_trials": 12},
        {
            "event": "measured",
            "time": 2e9,
            "trial": "0000",
            "target": "late",
            "values": {"latency_ms/late": 1.0},
        },
        {"event": "session", "time": 2e9, "action": "finish", "num_trials": 12},
    ]
    for event in came:
        record.apply(event)
        mirror.take(event)
    names = [study.study_name for study in mirror.storage.get_all_studies()]
    assert names == ["run", "run, 2"]
    again, whole = (
        optuna.load_study(study_name=name, storage=made.storage)
        for name, made in (("run, 2", mirror), ("run", Mirror(record, "run")))
    )
    assert again.metric_names == whole.metric_names == ["latency_ms/onnxruntime-cpu", "size_mb"]
    assert [t.system_attrs for t in again.trials] == [t.system_attrs for t in whole.trials]
    assert [t.values for t in again.trials] == [t.values for t in whole.trials]
    assert len(again.trials) == 14
    assert again.trials[2].user_attrs["latency_ms/late"] == 1.0
