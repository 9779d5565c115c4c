"""Candidate regressors for small samples, and the choice of the best by its held-out predictions.

References:
    Ferreira, T. A. E., et al. Surrogate-based constrained multi-objective optimisation for the compression of
        CNNs. (the four candidates, the four ways to choose)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.extras import load
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

Floats = NDArray[np.float64]

Candidate = Literal["knn", "forest", "xgboost", "lightgbm"]
Criterion = Literal["mse", "mape", "spearman", "random"]
CANDIDATES: tuple[Candidate, ...] = get_args(Candidate)
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
FEWEST = 10  # values that a choice needs, so that six are left where one of three folds is held out

_FOLDS = 3
_TREES = 30  # of a forest
_ROUNDS = 50  # of boosting
_SEEDS = 2**31


class Regressor(Protocol):
    """What scikit-learn, XGBoost and LightGBM agree on."""

    def fit(self, x: Floats, y: Floats) -> Any:
        """Learn from inputs (n, d) and targets (n,)."""
        ...

    def predict(self, x: Floats) -> Any:
        """Targets (k,) at inputs (k, d)."""
        ...


@dataclass(frozen=True)
class Selection:
    """How a regressor is chosen for each metric.

    Args:
        candidates: names of regressors, at least one.
        objectives_by: the criterion for an objective's.
        constraints_by: the criterion for a constraint's.

    Raises:
        ValueError: no candidate, or an unknown name.
        ImportError: a candidate's package is not installed.
    """

    candidates: Sequence[Candidate] = CANDIDATES
    objectives_by: Criterion = "random"
    constraints_by: Criterion = "mape"

    def __post_init__(self) -> None:
        if not self.candidates:
            raise UserError(f"candidates is empty: give at least one of {', '.join(CANDIDATES)}")
        for name in self.candidates:
            if name not in CANDIDATES:
                raise UserError(f"candidates has {name!r}; {did_you_mean(name, CANDIDATES)}")
            if name in ("xgboost", "lightgbm"):
                load(name, "surrogates")
        for field in ("objectives_by", "constraints_by"):
            if getattr(self, field) not in CRITERIA:
                raise UserError(
                    f"{field} is {getattr(self, field)!r}; {did_you_mean(getattr(self, field), CRITERIA)}"
                )


def make_regressor(name: Candidate, seed: int) -> Regressor:
    """A fresh regressor of one thread; ``name`` is one of ``CANDIDATES``."""
    makers: dict[Candidate, Callable[[int], Regressor]] = {
        "knn": _knn,
        "forest": _Forest,
        "xgboost": _xgboost,
        "lightgbm": _lightgbm,
    }
    return makers[name](seed)


def held_out(
    names: Sequence[Candidate], x: Floats, y: Floats, rng: np.random.Generator
) -> dict[Candidate, Floats]:
    """What each candidate predicts for points that it did not see, by three-fold cross-validation.

    Args:
        names: of candidates.
        x: inputs, shape (n, d), n >= ``FEWEST``.
        y: targets, shape (n,).
        rng: deals the points to folds, and seeds the candidates.

    Returns:
        Predictions of shape (n,) for each name.
    """
    folds = np.array_split(rng.permutation(len(y)), _FOLDS)
    seed = int(rng.integers(_SEEDS))
    predictions = {name: np.empty(len(y)) for name in names}
    for fold in folds:
        rest = np.ones(len(y), dtype=bool)
        rest[fold] = False
        for name in names:
            predictions[name][fold] = fitted(name, x[rest], y[rest], seed).predict(x[fold])
    return predictions


def fitted(name: Candidate, x: Floats, y: Floats, seed: int) -> Regressor:
    """A regressor trained on inputs (n, d) and targets (n,)."""
    regressor = make_regressor(name, seed)
    regressor.fit(x, y)
    return regressor


def choose(
    criterion: Criterion, predictions: Mapping[Candidate, Floats], targets: Floats, rng: np.random.Generator
) -> Candidate:
    """The name whose predictions are best; the first of equals.

    Args:
        criterion: "mse" (mean squared error), "mape" (mean absolute percentage error), "spearman" (rank
            correlation; constant predictions have none and lose), or "random" (any, whatever it predicts).
        predictions: shape (n,) for each name.
        targets: shape (n,).
        rng: draws the random pick.
    """
    names = list(predictions)
    if criterion == "random":
        return names[int(rng.integers(len(names)))]
    return min(names, key=lambda name: loss(criterion, predictions[name], targets))


def loss(criterion: str, prediction: Floats, targets: Floats) -> float:
    """How bad predictions (n,) are by "mse", "mape" or "spearman" (its negative); lower is better."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]
    from sklearn.metrics import mean_absolute_percentage_error, mean_squared_error

    if criterion == "mse":
        return float(mean_squared_error(targets, prediction))
    if criterion == "mape":
        return float(mean_absolute_percentage_error(targets, prediction))
    if np.ptp(prediction) == 0 or np.ptp(targets) == 0:
        return 1.0
    return -float(spearmanr(targets, prediction).statistic)


def _knn(seed: int) -> Regressor:
    from sklearn.neighbors import KNeighborsRegressor

    # On at most a thousand points the trees that it would otherwise build cost more than they save.
    return KNeighborsRegressor(n_neighbors=5, algorithm="brute")  # type: ignore[no-any-return]


class _Forest:
    """Scikit-learn's random forest, asked tree by tree, a tenth of its own predict's cost on few points."""

    def __init__(self, seed: int) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._forest = RandomForestRegressor(n_estimators=_TREES, random_state=seed)

    def fit(self, x: Floats, y: Floats) -> None:
        self._forest.fit(x, y)

    def predict(self, x: Floats) -> Floats:
        single = x.astype(np.float32)
        trees = [tree.tree_.predict(single)[:, 0] for tree in self._forest.estimators_]
        return np.asarray(np.mean(trees, axis=0), dtype=np.float64)


def _xgboost(seed: int) -> Regressor:
    return load("xgboost", "surrogates").XGBRegressor(n_estimators=_ROUNDS, random_state=seed, n_jobs=1)  # type: ignore[no-any-return]


def _lightgbm(seed: int) -> Regressor:
    # By default a leaf holds 20 points, which leaves nothing to split in a sample of 50.
    return load("lightgbm", "surrogates").LGBMRegressor(  # type: ignore[no-any-return]
        n_estimators=_ROUNDS, min_child_samples=5, random_state=seed, n_jobs=1, verbose=-1, deterministic=True
    )
