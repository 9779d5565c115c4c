from __future__ import annotations

from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.fixed import FixedList
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.recorded import Answer, Recorded
from raysearch.simulation import Problem, simulate
from raysearch.testing import check_searcher

SPACE = (Parameter(("a",), "integer", 0, 3), Parameter(("b",), "categorical", choices=("x", "y")))


class Stubborn(FixedList):
    """Proposes the configs of its list and keeps what it is told."""

    def __init__(self, configs):
        super().__init__(configs)
        self.calls = []

    def ask(self, trial):
        self.calls.append(("ask", trial))
        return super().ask(trial)

    def tell(self, trial, step, values):
        self.calls.append(("tell", trial, step, values))

    def end(self, trial, outcome):
        self.calls.append(("end", trial, outcome))


def config(a, b="x"):
    return {"a": a, "b": b}


def test_it_keeps_the_contract():
    check_searcher(
        lambda parameters, goals: Recorded(RandomSearch(parameters, goals, seed=1), parameters, seed=1)
    )


def test_what_was_evaluated_is_answered_from_the_record():
    inner = Stubborn([config(1), config(1), config(2)])
    searcher = Recorded(inner, SPACE)
    assert searcher.ask("t0") == config(1)
    searcher.tell("t0", 1, {"f": 3.0})
    searcher.end("t0", "stopped")
    assert searcher.ask("t1") == config(2)
    assert inner.calls[4:] == [("tell", "t1", 1, {"f": 3.0}), ("end", "t1", "stopped"), ("ask", "t1/1")]


def test_a_duplicate_of_a_trial_in_flight_follows_it():
    inner = Stubborn([config(1), config(1), config(2)])
    searcher = Recorded(inner, SPACE)
    searcher.ask("t0")
    searcher.tell("t0", 0, {"f": 9.0})
    assert searcher.ask("t1") == config(2)
    searcher.tell("t0", 1, {"f": 3.0})
    searcher.end("t0", "finished")
    told = [call for call in inner.calls if call[1] == "t1"]
    assert told == [
        ("ask", "t1"),
        ("tell", "t1", 0, {"f": 9.0}),
        ("tell", "t1", 1, {"f": 3.0}),
        ("end", "t1", "finished"),
    ]


def test_the_second_name_stands_for_the_trial():
    inner = Stubborn([config(1), config(1), config(2)])
    searcher = Recorded(inner, SPACE)
    searcher.ask("t0")
    searcher.ask("t1")
    searcher.tell("t1", 1, {"f": 1.0})
    searcher.end("t1", "finished")
    assert inner.calls[-2:] == [("tell", "t1/1", 1, {"f": 1.0}), ("end", "t1/1", "finished")]


def test_what_earlier_runs_know_costs_no_trial():
    inner = Stubborn([config(1), config(2)])
    known = [(config(1), Answer([(1, {"f": 0.5})], "finished"))]
    searcher = Recorded(inner, SPACE, known=known)
    assert searcher.ask("t0") == config(2)
    assert ("tell", "t0", 1, {"f": 0.5}) in inner.calls


def test_a_searcher_that_only_repeats_itself_still_leaves_no_worker_idle():
    inner = Stubborn([config(1)] * 10_000)
    run = simulate(
        Problem(lambda c, step: {"f": c["a"]}, last_step=1),
        Recorded(inner, SPACE),
        FullTraining(),
        workers=3,
        max_trials=50,
    )
    assert len({str(c) for c in run.configs.values()}) == len(run.configs) == 8


def test_configs_of_the_same_key_are_one():
    searcher = Recorded(
        Stubborn([config(1, "x"), config(1, "y"), config(2)]),
        SPACE,
        identity=lambda c: (str(c["a"]), {"a"}),
    )
    assert [searcher.ask("t0"), searcher.ask("t1")] == [config(1, "x"), config(2)]


def test_its_end_is_the_searchers_end():
    searcher = Recorded(Stubborn([config(1)]), SPACE)
    assert [searcher.ask("t0"), searcher.ask("t1")] == [config(1), None]


def test_strangers_are_ignored():
    inner = Stubborn([])
    searcher = Recorded(inner, SPACE)
    searcher.tell("x", 1, {"f": 1.0})
    searcher.end("x", "finished")
    assert inner.calls == []


def test_goals_with_one_objective_do_as_well():
    goals = Goals.parse(["minimize f"])
    assert Recorded(RandomSearch(SPACE, goals), SPACE).ask("0") is not None
