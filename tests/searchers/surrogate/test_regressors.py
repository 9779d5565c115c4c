import importlib

import numpy as np
import pytest

from raysearch.searchers.surrogate.regressors import CANDIDATES, Selection, choose, fitted, held_out, loss

TARGETS = np.array([1.0, 2.0, 3.0, 100.0])
PREDICTIONS = {
    "knn": np.array([5.0, 1.0, 4.0, 100.0]),  # near in squares: 21 against 400 and 9,409
    "forest": np.array([1.0, 2.0, 3.0, 120.0]),  # near in per cent: 5 % against 121 % and 24 %
    "xgboost": np.array([2.0, 2.1, 2.2, 3.0]),  # far, and not the order alone
}


def test_each_criterion_picks_what_is_best_by_it():
    rng = np.random.default_rng(0)
    shuffled = {
        "knn": PREDICTIONS["knn"],
        "forest": np.array([1.0, 2.0, 1.9, 120.0]),
        "xgboost": PREDICTIONS["xgboost"],
    }
    assert choose("mse", PREDICTIONS, TARGETS, rng) == "knn"
    assert choose("mape", PREDICTIONS, TARGETS, rng) == "forest"
    assert choose("spearman", shuffled, TARGETS, rng) == "xgboost"


def test_a_random_pick_takes_any_whatever_it_predicts():
    rng = np.random.default_rng(0)
    picked = [choose("random", PREDICTIONS, TARGETS, rng) for _ in range(300)]
    assert {name: picked.count(name) > 60 for name in PREDICTIONS} == dict.fromkeys(PREDICTIONS, True)


def test_constant_predictions_have_no_rank_correlation_and_lose():
    assert loss("spearman", np.ones(4), TARGETS) == 1.0
    assert loss("spearman", TARGETS, np.ones(4)) == 1.0
    assert loss("spearman", TARGETS**3, TARGETS) == pytest.approx(-1.0)


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_learns_and_repeats_itself(name):
    if name in ("xgboost", "lightgbm"):
        pytest.importorskip(name, reason=f"the extra surrogates brings {name}")
    rng = np.random.default_rng(1)
    x = rng.random((120, 3))
    y = x[:, 0] + 0.1 * x[:, 1]
    new = rng.random((40, 3))
    predicted = fitted(name, x, y, seed=3).predict(new)
    assert np.corrcoef(predicted, new[:, 0] + 0.1 * new[:, 1])[0, 1] > 0.9
    assert np.array_equal(predicted, fitted(name, x, y, seed=3).predict(new))


def test_the_forest_predicts_what_scikit_learn_predicts():
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(2)
    x, y = rng.random((30, 2)), rng.random(30)
    theirs = RandomForestRegressor(n_estimators=30, random_state=5).fit(x, y).predict(x)
    assert fitted("forest", x, y, seed=5).predict(x) == pytest.approx(theirs)


def test_held_out_predictions_come_from_the_other_folds():
    x = np.arange(20.0)[:, None]
    y = np.zeros(20)
    y[7] = 1e6  # only its neighbours' predictions may know of it
    predicted = held_out(["knn"], x, y, np.random.default_rng(0))["knn"]
    assert predicted[7] == 0.0
    assert predicted.max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": ()}, "candidates is empty"),
        ({"candidates": ("knn", "forrest")}, "'forrest'.*forest"),
        ({"objectives_by": "mae"}, "objectives_by is 'mae'"),
        ({"constraints_by": "spearmann"}, "constraints_by is 'spearmann'.*spearman"),
    ],
)
def test_bad_selections_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Selection(**{"candidates": ("knn",), **options})


def test_an_absent_package_says_what_to_install(monkeypatch):
    real = importlib.import_module

    def absent(name, *rest):
        if name == "lightgbm":
            raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r'pip install "raysearch\[surrogates\]"'):
        Selection(candidates=("knn", "lightgbm"))
    assert Selection(candidates=("knn", "forest")).candidates == ("knn", "forest")
