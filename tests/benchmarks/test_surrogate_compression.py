import numpy as np
import pytest

from benchmarks.surrogate_compression import ALL, BOTH, Compression, compared, dunn, methods, plain_ctaea
from raysearch.search_spaces.pruning.one_shot import decode_one_shot, one_shot_identity


class Made(Compression):
    """Values from a formula instead of a network."""

    def __call__(self, config):
        plan = decode_one_shot(config)
        zeros = 0.7 * plan.convolutional.amount + 0.3 * plan.linear.amount
        return self.known.setdefault(
            one_shot_identity(config)[0], {"nonzero_rate": 1 - zeros, "accuracy": 1 - 0.2 * zeros}
        )


def made():
    return Made(net=None, examples=None, limit=0.9)


def test_merit_is_the_feasible_share_of_the_box():
    problem = made()
    assert problem.merit([{"nonzero_rate": 0.5, "accuracy": 0.95}]) == pytest.approx(0.25)
    assert problem.merit([{"nonzero_rate": 0.1, "accuracy": 0.89}]) == 0.0
    assert problem.merit([{"nonzero_rate": 1.0, "accuracy": 0.99}]) == 0.0


@pytest.mark.parametrize("population", [5, 10])
def test_plain_ctaea_spends_the_budget(population):
    problem = made()
    configs = plain_ctaea(population)(problem, 0)
    assert len(configs) == 100
    assert problem.merit([problem(c) for c in configs]) > 0.1


def test_every_row_has_a_method():
    assert set(methods([("mse", "mape")], generations=2)) == {
        "c-taea, 10 generations of 10",
        "c-taea, 20 generations of 5",
        "model_based",
        "nsga2",
        "random",
        "surrogate mse/mape",
    }


def test_dunn_compares_inside_blocks():
    pytest.importorskip("scikit_posthocs", reason="the extra peers brings scikit-posthocs")
    blocks = np.linspace(0, 5, 10)  # differ far more from one another than the methods do
    figures = {"a": blocks + 0.02, "b": blocks, "c": blocks + 0.01}
    friedman, p = dunn(figures)
    assert friedman < 0.001
    assert p["a", "b"] < 0.001
    assert p["a", "a"] == 1.0
    assert dunn({**figures, "c": blocks[::-1]})[1]["a", "c"] > p["a", "b"]


def test_only_what_is_ahead_is_tested(capsys):
    pytest.importorskip("scikit_posthocs", reason="the extra peers brings scikit-posthocs")
    rows = {"surrogate a/b": np.arange(10) + 1.0, "random": np.arange(10) + 0.5, "nsga2": np.arange(10) + 2.0}
    found = {BOTH: {**rows, ALL: np.full(10, 99.0)}}
    assert list(compared(found)) == ["p surrogate a/b above random"]
    assert "Friedman" in capsys.readouterr().out
