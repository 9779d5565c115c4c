"""Bayesian optimisation by BoTorch: Gaussian processes and the noisy expected hypervolume improvement.

References:
    Daulton, S., Balandat, M., & Bakshy, E. (2021). Parallel Bayesian optimization of multiple noisy
        objectives with expected hypervolume improvement.
    Ament, S., Daulton, S., Eriksson, D., Balandat, M., & Bakshy, E. (2023). Unexpected improvements to
        expected improvement for Bayesian optimization. (its logarithm)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.pareto import priority
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.trials import FINISHED, Trials
from raysearch.searchers.variation import Variation

_LISTED = 2_000  # a space with at most so many configs is scored as a whole
_SAMPLED = 1_000  # in a larger one, so many candidates are drawn and as many are mutated from the best
_FITTED = 300  # a Gaussian process costs the cube of its points, so it sees only so many: the best
_DRAWS = 64  # of the posterior, for one expectation
_BATCH = 1_024  # candidates scored at once
_ITERATIONS = 75  # of the optimiser that fits a process: later ones hardly move it


class QLogNEHVI:
    """Suggests the config with the highest expected improvement of the hypervolume.

    The first suggestions are the initial configs and points of a Sobol sequence. Only finished trials teach
    it: one stopped early has no final value to model. Trials in flight are integrated over. Categories are
    one-hot. A suggestion costs one to two seconds of a core.

    Args:
        parameters: the space.
        goals: objectives; each constraint is modelled by a process of its own.
        seed: of the sequence, the draws and the candidates.
        design: suggestions before the first model, >= 2; 2 (n + 1) for n parameters if left out.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant; none is suggested twice.

    Raises:
        ImportError: BoTorch is not installed.
        ValueError: the space is empty, an initial config is not legal, or design < 2.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        design: int | None = None,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
    ) -> None:
        extras.load("botorch", "botorch")
        if design is not None and design < 2:
            raise UserError(f"design is {design}: a model needs at least 2 points, such as 10")
        self._encoding = Encoding(parameters)
        self._goals, self._seed = goals, seed
        self._design = design or 2 * (len(self._encoding) + 1)
        self._novelty = Novelty(self._encoding, identity, initial)
        self._variation = Variation(self._encoding)
        self._trials = Trials(goals)
        self._vectors: list[list[float]] = []
        self._figures: list[list[float]] = []  # costs, then misses of the constraints
        self._violations: list[float] = []

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted.

        Raises:
            ValueError: the trial was asked for already and has not ended, or the config given is not legal.
        """
        return self._trials.ask(trial, given, self._novelty, self._proposal)

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the latest value of each metric; a trial never asked for is ignored."""
        self._trials.tell(trial, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Learn from the trial if it finished with all its values; a trial never asked for is ignored."""
        running = self._trials.running.get(trial)
        member = self._trials.end(trial, outcome)
        if running is None or member is None or member.level != FINISHED:
            return
        # A limit that the parent has yet to set is kept by all; a missing value violates it infinitely.
        misses = np.nan_to_num(self._goals.misses(running.values, running.step), nan=-1.0)
        figures = [*member.costs, *misses.tolist()]
        if np.isfinite([*figures, member.violation]).all():
            self._vectors.append(member.vector)
            self._figures.append(figures)
            self._violations.append(member.violation)

    def state(self) -> dict[str, Any]:
        """The data, the running trials and what was suggested."""
        return {
            "trials": self._trials.state(),
            "vectors": [list(v) for v in self._vectors],
            "figures": [list(o) for o in self._figures],
            "violations": list(self._violations),
            "novelty": self._novelty.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._trials.load(state["trials"])
        self._vectors = [list(v) for v in state["vectors"]]
        self._figures = [list(o) for o in state["figures"]]
        self._violations = list(state["violations"])
        self._novelty.load(**state["novelty"])

    def _proposal(self) -> tuple[Vector, Config] | None:
        rng = np.random.default_rng([self._seed, self._trials.asked])
        found = self._novelty.initial(rng)
        if found is None:
            modelled = self._trials.asked >= self._design and len(self._vectors) >= 2
            found = self._novelty.first(self._by_improvement(rng) if modelled else self._sobol())
        return found or self._novelty.random(rng)

    def _sobol(self) -> Iterator[Vector]:
        from scipy.stats.qmc import Sobol  # type: ignore[import-untyped]

        sequence = Sobol(len(self._encoding), rng=np.random.default_rng(self._seed))
        if self._trials.asked:  # SciPy refuses to skip none
            sequence.fast_forward(self._trials.asked)
        yield sequence.random(1)[0]

    def _by_improvement(self, rng: np.random.Generator) -> Iterator[Vector]:
        """New candidates from the best on."""
        best = self._best()
        candidates = self._candidates(best, rng)
        with _one_thread(self._seed + self._trials.asked):
            scores = self._scores(candidates, best)
        for i in np.argsort(-scores, kind="stable"):
            yield candidates[i]

    def _best(self) -> list[int]:
        """The finished trials that the model sees, best first."""
        costs = np.array(self._figures)[:, : len(self._goals.objectives)]
        best: list[int] = priority(costs, np.array(self._violations))[:_FITTED].tolist()
        return best

    def _candidates(self, best: Sequence[int], rng: np.random.Generator) -> Vector:
        """Points to choose from, shape (k, n)."""
        if self._encoding.cells <= _LISTED:
            return np.array([self._encoding.cell(i) for i in range(int(self._encoding.cells))])
        drawn = [self._encoding.sample(rng) for _ in range(_SAMPLED)]
        for i in range(_SAMPLED):
            vector = np.array(self._vectors[best[i % min(len(best), 20)]])
            drawn.append(self._variation.mutated(vector, self._novelty.active(vector), rng))
        return np.array(drawn)

    def _scores(self, candidates: Vector, best: Sequence[int]) -> Vector:
        """The logarithm of each candidate's expected improvement, (k, n) -> (k,)."""
        import torch

        points = self._inputs(np.array(self._vectors)[best])
        figures = torch.tensor(np.array(self._figures)[best])
        m = len(self._goals.objectives)
        figures[:, :m] *= -1  # BoTorch maximises
        pending = [running.vector for running in self._trials.running.values()]
        acquisition = _acquisition(
            _fitted(points, figures),
            points,
            _reference(figures[:, :m]),
            self._inputs(np.array(pending)) if pending else None,
            self._seed + self._trials.asked,
        )
        with torch.no_grad():
            batches = self._inputs(candidates).unsqueeze(1).split(_BATCH)
            scores: Vector = torch.cat([acquisition(batch) for batch in batches]).numpy()
        return scores

    def _inputs(self, vectors: Vector) -> Any:
        """Points as the model sees them, (k, n) -> (k, d): on their grids, categories one-hot."""
        import torch

        columns = []
        for parameter, x in zip(self._encoding.parameters, np.asarray(vectors).T, strict=True):
            if parameter.kind == "categorical":
                cells = np.minimum((x * parameter.cells).astype(int), int(parameter.cells) - 1)
                columns.append(np.eye(int(parameter.cells))[cells])
            elif parameter.step is not None:
                columns.append(np.array([[parameter.encode(parameter.decode(value))] for value in x]))
            else:
                columns.append(x[:, None])
        return torch.tensor(np.hstack(columns))


def _fitted(points: Any, figures: Any) -> Any:
    """One Gaussian process a figure, fitted to points (k, d) and figures (k, o)."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.gp_regression import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(points, figures)
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": _ITERATIONS}})
    return model


def _reference(objectives: Any) -> list[float]:
    """The point that the volume is measured from, by objectives (k, m), best trial first, maximised.

    The worst of the better half, less a tenth of its range. The worst of the front, the usual choice, lets
    the search fill a first short front instead of lengthening it.
    """
    better = objectives[: max(2, len(objectives) // 2)]
    low, high = better.min(dim=0).values, better.max(dim=0).values
    reference: list[float] = (low - 0.1 * (high - low)).tolist()
    return reference


def _acquisition(model: Any, points: Any, reference: list[float], pending: Any, seed: int) -> Any:
    """The function to maximise; figures after the objectives are constraints, kept where negative."""
    import torch
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
    from botorch.sampling.normal import SobolQMCNormalSampler

    m = len(reference)
    return qLogNoisyExpectedHypervolumeImprovement(
        model=model,
        ref_point=reference,
        X_baseline=points,
        sampler=SobolQMCNormalSampler(torch.Size([_DRAWS]), seed=seed),
        objective=IdentityMCMultiOutputObjective(outcomes=list(range(m))),
        constraints=[partial(_figure, i=i) for i in range(m, model.num_outputs)] or None,
        X_pending=pending,
        prune_baseline=True,
    )


def _figure(samples: Any, i: int) -> Any:
    return samples[..., i]


@contextmanager
def _one_thread(seed: int) -> Iterator[None]:
    """Torch with one thread, in double precision and with its own seed: the same answers on every machine."""
    import torch
    from botorch.utils.sampling import manual_seed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with manual_seed(seed):
            yield
    finally:
        torch.set_num_threads(threads)
