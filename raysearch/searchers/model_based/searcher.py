"""The default: Gaussian processes over mixed, conditional spaces, and the expected gain in hypervolume.

Every objective and constraint has its own process over features that also sum up parameters of the same
domain; trials stopped early count by what their last value says about the final one; trials under way count
as if they had come out as predicted. Beyond the worst cost on the front a cost enters by its logarithm, so
that hopeless trials do not drown the differences that matter, while gains on the front are weighed as they
are.

References:
    Emmerich, M., Yang, K., Deutz, A., Wang, H., & Fonseca, C. M. (2016). A multicriteria generalization of
        Bayesian global optimization. (expected hypervolume improvement)
    Schonlau, M., Welch, W. J., & Jones, D. R. (1998). Global versus local search in constrained optimization
        of computer models. (times the probability of being feasible)
    Ginsbourger, D., Le Riche, R., & Carraro, L. (2010). Kriging is well-suited to parallelize optimization.
        (the kriging believer)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Outcome
from raysearch.searchers.encoding import Encoding, Parameter, Vector
from raysearch.searchers.model_based.candidates import Candidates
from raysearch.searchers.model_based.evidence import Evidence, Evidences, Mask, Observed, front_of
from raysearch.searchers.model_based.gaussian_process import Kernel, Posterior
from raysearch.searchers.model_based.improvement import directions, expected_improvement
from raysearch.searchers.model_based.representation import Representation
from raysearch.searchers.model_based.scaling import scaled
from raysearch.searchers.model_based.waiting import Group, Limits, as_features, most_promising
from raysearch.searchers.novelty import Novelty

_POINTS = 300  # on which the processes are conditioned
_FITTED = 128  # of them, on which hyperparameters are fitted
_CANDIDATES = (100, 400, 200)  # random, bred from the front, bred from the best candidates
_ELITE = 10
_DRAWN = 20  # random draws, until one is new
_TRIED = 100  # of the best candidates, until one is new
_CHECKED = 16  # of them, with what truly matters in them
_FEW_RAYS = 20  # to sort out the candidates by; all rays for those that are checked


class ModelBased:
    """Suggests what promises the largest gain in hypervolume, by Gaussian processes over all trials so far.

    The first ``startup`` suggestions are the initial configs and random draws, most of them around these.

    Args:
        parameters: the space.
        goals: objectives and constraints.
        seed: of its generator; the same seed and the same calls give the same suggestions.
        initial: configs to suggest first, in order.
        identity: tells which configs are the same variant and which of their parameters matter; none is
            suggested twice, and the models see only parameters that matter.
        startup: how many trials come before the first that is modelled; >= 2.

    Raises:
        ValueError: the space is empty, an initial config is not legal, or startup < 2.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        goals: Goals,
        *,
        seed: int = 0,
        initial: Sequence[Config] = (),
        identity: Identity | None = None,
        startup: int = 10,
    ) -> None:
        if startup < 2:
            raise UserError(f"startup is {startup}: a model needs at least 2 trials, such as 10")
        encoding = Encoding(parameters)
        self._goals, self._encoding, self._startup = goals, encoding, startup
        self._novelty = Novelty(encoding, identity, initial)
        self._conditional = identity is not None
        self._representation = Representation(encoding)
        middle = np.full(len(encoding), 0.5)
        good = [encoding.encode(config, absent=middle) for config in initial]
        self._candidates = Candidates(
            encoding, self._representation, np.array(good).reshape(-1, len(encoding))
        )
        self._kernel = Kernel(self._representation)
        self._evidences = Evidences(goals)
        self._seed = seed
        self._asked = self._fitted_at = 0
        models = len(goals.objectives) + len(goals.constraints)
        self._thetas = np.tile(self._kernel.prior_mean, (models, 1))
        self._kernel_seen = Kernel(self._representation, len(self._evidences.trained))
        self._thetas_seen = np.tile(self._kernel_seen.prior_mean, (models, 1))
        self._renewed = False  # whether hyperparameters were fitted since anybody asked

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one that was not suggested before; None when the space is exhausted.

        Raises:
            ValueError: the trial was asked for already and has not ended, or the config given is not legal.
        """
        known = self._evidences.trials.get(trial)
        if known is not None and known.outcome is None:
            raise ValueError(f"trial {trial!r} was asked for already: give each trial its own name")
        found = self._novelty.given(given) if given is not None else self._proposal()
        if found is None:
            return None
        vector, config = found
        self._evidences.trials[trial] = Observed(vector.tolist(), self._active(vector[None])[0].tolist())
        self._asked += 1
        return config

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Take in a report; a trial never asked for is ignored."""
        observed = self._evidences.trials.get(trial)
        if observed is not None and observed.outcome is None:
            observed.tell(step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """The trial is over; a trial never asked for is ignored."""
        self._evidences.end(trial, outcome)

    def choose(self, trials: Sequence[str], waiting: Collection[str] = ()) -> str | None:
        """Of trials that wait the most promising; None while too little is known to tell.

        Args:
            trials: to choose from.
            waiting: others that wait, and may never go on.
        """
        rng = np.random.default_rng([self._seed, self._asked, self._evidences.ended])
        rays = directions(len(self._goals.objectives), rng)
        found: list[tuple[float, str]] = []
        with _pools().limit(limits=1):
            evidence = self._evidences.select(_POINTS, those=trials)
            choice = np.flatnonzero(np.isin(evidence.names, list(trials)))
            waits = np.flatnonzero(np.isin(evidence.names, [*trials, *waiting]))
            own = self._representation(evidence.vectors, evidence.active)
            limits = Limits(*self._evidences.limits(), self._evidences.known_early())
            for step in np.unique(evidence.steps[choice]).tolist():
                seen = as_features(self._evidences.seen(evidence.names.tolist(), step))
                group = Group(
                    choice[evidence.steps[choice] == step], step, np.concatenate([own, seen], axis=1)
                )
                best = most_promising(
                    evidence, group, waits, limits, self._kernel_seen, self._thetas_seen, rays, rng
                )
                if best is not None:
                    worth, row, self._thetas_seen = best
                    self._renewed = True
                    found.append((worth, str(evidence.names[row])))
        return max(found)[1] if found else None

    def state(self) -> dict[str, Any]:
        """All trials, the hyperparameters, and what was suggested."""
        return {
            "asked": self._asked,
            "fitted_at": self._fitted_at,
            "thetas": self._thetas.tolist(),
            "thetas_seen": self._thetas_seen.tolist(),
            "trials": self._evidences.state(),
            "novelty": self._novelty.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked, self._fitted_at = state["asked"], state["fitted_at"]
        self._thetas = np.array(state["thetas"])
        self._thetas_seen = np.array(state["thetas_seen"])
        self._evidences.load(state["trials"])
        self._novelty.load(**state["novelty"])

    def worked_out(self) -> dict[str, Any] | None:
        """The hyperparameters, where they were fitted anew."""
        if not self._renewed:
            return None
        self._renewed = False
        return {
            "fitted_at": self._fitted_at,
            "thetas": self._thetas.tolist(),
            "thetas_seen": self._thetas_seen.tolist(),
        }

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over hyperparameters.

        Raises:
            ValueError, KeyError, TypeError: they are not those of this space and these goals.
        """
        thetas = [np.array(worked[name], dtype=np.float64) for name in ("thetas", "thetas_seen")]
        for found, own in zip(thetas, (self._thetas, self._thetas_seen), strict=True):
            if found.shape != own.shape or not np.isfinite(found).all():
                raise ValueError(f"hyperparameters of shape {found.shape}, not {own.shape}")
        self._fitted_at = int(worked["fitted_at"])
        self._thetas, self._thetas_seen = thetas

    def _proposal(self) -> tuple[Vector, Config] | None:
        rng = np.random.default_rng([self._seed, self._asked])
        found = self._novelty.initial(rng)
        if found is None and self._asked >= self._startup and self._evidences.ended >= 2:
            # On a machine busy with trials, threads for matrices this small wait longer than they work.
            with _pools().limit(limits=1):
                found = self._novelty.first(self._promising(rng))
        if found is None:
            found = self._novelty.first(self._candidates.random(_DRAWN, rng))
        return found or self._novelty.random(rng)

    def _promising(self, rng: np.random.Generator) -> Iterator[Vector]:
        """Candidates from the most promising on; none as long as an objective is unknown."""
        evidence = self._evidences.select(_POINTS)
        objectives = len(self._goals.objectives)
        if (np.isfinite(evidence.targets[:, :objectives]).sum(axis=0) < 2).any():
            return
        models = self._models(evidence, rng)
        parents = _parents(evidence, objectives)
        points, active = evidence.vectors[parents], evidence.active[parents]
        random, bred, refined = _CANDIDATES
        vectors = np.concatenate(
            [
                self._candidates.random(random, rng),
                self._candidates.bred(points, active, bred, rng),
            ]
        )
        guessed = self._guessed_activity(evidence)
        worth = models(vectors, guessed(vectors), rays=_FEW_RAYS)
        elite = vectors[np.argsort(-worth, kind="stable")[:_ELITE]]
        around = self._candidates.bred(elite, guessed(elite), refined, rng)
        vectors = np.concatenate([vectors, around])
        worth = np.append(worth, models(around, guessed(around), rays=_FEW_RAYS))
        best = vectors[np.argsort(-worth, kind="stable")[:_TRIED]]
        if self._conditional:
            top = best[:_CHECKED]
            best[:_CHECKED] = top[np.argsort(-models(top, self._active(top)), kind="stable")]
        yield from best

    def _active(self, vectors: Vector) -> Mask:
        if not self._conditional:
            return np.ones(vectors.shape, dtype=bool)
        return np.array([self._novelty.active(vector) for vector in vectors])

    def _guessed_activity(self, evidence: Evidence) -> Callable[[Vector], Mask]:
        """Which parameters matter, learned from the trials; asking the space would take too long."""
        if not self._conditional:
            return lambda vectors: np.ones(vectors.shape, dtype=bool)
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(random_state=0).fit(evidence.vectors, evidence.active)
        return lambda vectors: tree.predict(vectors).reshape(vectors.shape).astype(bool)

    def _models(self, evidence: Evidence, rng: np.random.Generator) -> _Models:
        """The processes on what is known, their hyperparameters renewed when enough trials have ended."""
        features = self._representation(evidence.vectors, evidence.active)
        m = len(self._goals.objectives)
        highest, said = self._evidences.limits()
        targets, noise, front, reference = scaled(evidence, highest)
        ended = self._evidences.ended
        renew = ended - self._fitted_at >= max(1, ended // 20)
        if renew:
            self._fitted_at, self._renewed = ended, True
        posteriors: list[Posterior | None] = []
        for i in range(targets.shape[1]):
            rows = np.flatnonzero(np.isfinite(targets[:, i]))
            if len(rows) < 2:
                posteriors.append(None)
                continue
            if renew:
                some = np.sort(rng.permutation(rows)[:_FITTED])
                arguments = (features[some], targets[some, i], noise[some, i])
                self._thetas[i] = self._kernel.fitted(self._thetas[i], *arguments)
            posterior = Posterior.of(
                self._kernel, self._thetas[i], features[rows], targets[rows, i], noise[rows, i]
            )
            posteriors.append(_believed(posterior, features, targets, noise, i, evidence.running))
        margins = [p for p, once in zip(posteriors[m:], said, strict=True) if p and not (once and len(front))]
        front = np.concatenate([front, targets[evidence.running, :m]]) if len(front) else front
        return _Models(
            self._representation,
            [p for p in posteriors[:m] if p],
            margins,
            front,
            reference,
            directions(m, rng),
        )


@dataclass(frozen=True)
class _Models:
    """The processes of all targets, and the worth of a point by them.

    A limit on an objective's own metric is that objective's reference, once there is a front: below it volume
    counts, above it none. The other constraints count by the probability that they are kept.
    """

    representation: Representation
    objectives: list[Posterior]
    margins: list[Posterior]
    front: Vector
    reference: Vector
    rays: Vector

    def __call__(self, vectors: Vector, active: Mask, rays: int | None = None) -> Vector:
        """Logarithm of expected gain times probability to be feasible (the latter alone at first), (k,)."""
        from scipy.special import log_ndtr  # type: ignore[import-untyped]

        features = self.representation(vectors, active)
        margins = [posterior(features) for posterior in self.margins]
        likely = sum((log_ndtr(-mean / deviation) for mean, deviation in margins), np.zeros(len(vectors)))
        if not len(self.front):
            return likely
        costs = np.array([posterior(features) for posterior in self.objectives])
        means, deviations = costs.transpose(1, 2, 0)
        gain = expected_improvement(means, deviations, self.front, self.reference, self.rays[:rays])
        worth: Vector = np.log(np.maximum(gain, 1e-300)) + likely
        return worth


@cache
def _pools() -> Any:
    """The thread pools of numpy, scipy and scikit-learn, to be limited."""
    import sklearn.tree  # noqa: F401  with scipy, whose matrix library is another than numpy's
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def _believed(
    posterior: Posterior, features: Vector, targets: Vector, noise: Vector, i: int, running: Mask
) -> Posterior:
    """The process as if the trials under way had come out as predicted; their targets are filled in."""
    unknown = np.flatnonzero(running & np.isnan(targets[:, i]))
    if len(unknown) == 0:
        return posterior
    targets[unknown, i] = posterior(features[unknown])[0]
    rows = np.flatnonzero(np.isfinite(targets[:, i]))
    return Posterior.of(posterior.kernel, posterior.theta, features[rows], targets[rows, i], noise[rows, i])


def _parents(evidence: Evidence, objectives: int) -> NDArray[np.intp]:
    """The front; while nothing is feasible, the rows with the lowest violation, shape (k,)."""
    front = np.flatnonzero(front_of(evidence, objectives))
    if len(front):
        return front
    return np.argsort(evidence.violations, kind="stable")[:_ELITE]
