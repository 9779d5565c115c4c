"""Compression of real networks at 100 evaluations: surrogate-assisted, C-TAEA alone, NSGA-II, our default.

Purpose: repeat a published comparison (Ferreira et al., surrogate-based constrained multi-objective
optimisation for the compression of CNNs). A VGG-style network and a ResNet are trained once; a design of
seven variables prunes and quantises them without training them again. The rate of non-zero weights is
minimised and the accuracy on the validation split maximised, subject to an accuracy of at most 0.05 below the
parent's. The surrogate-assisted search is named by the criteria that choose the objectives' and the
constraint's regressors (--all runs all 16); C-TAEA alone runs as 10 generations of 10 and 20 of 5. The study
spends 1,000 generations on the surrogates, this table 30: more is slower by as much (--generations).

Figure: the hypervolume of the feasible non-dominated set of all real evaluations, with the non-zero rate from
0 to 1 and the accuracy from the limit to 1 scaled to [0, 1], the reference at their worst corner.

Acceptance: the surrogate-assisted search beats C-TAEA alone and our default beats both, p < 0.05 by Dunn's
test with Holm's correction after Friedman's, over the blocks of both networks.

Limit: 1 would be a network of zeros that is always right; "all together" is the front of all that any method
evaluated.

Data: scikit-learn's digits, or --data PATH of an .npz archive of CIFAR-10 images, or its folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import nn

from benchmarks.common import Floats, arguments, report
from raysearch.basics.extras import load
from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.architectures.resnet import StagePlan as Stage
from raysearch.search_spaces.pruning.one_shot import decode_one_shot, one_shot, one_shot_identity
from raysearch.searchers.base import Config, Searcher
from raysearch.searchers.encoding import Encoding
from raysearch.searchers.model_based import ModelBased
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.surrogate.regressors import CRITERIA, Criterion
from raysearch.searchers.surrogate.surrogate_assisted import SurrogateAssisted
from raysearch.searchers.tune import parameters_of
from raysearch.trainables.data.batches import Examples
from raysearch.trainables.data.cifar import cifar10_images
from raysearch.trainables.data.digits import digits
from raysearch.trainables.data.splits import Splits
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.models.resnet import build_resnet
from raysearch.trainables.models.vgg import build_vgg
from raysearch.trainables.pruning.one_shot import measure_compressed
from raysearch.trainables.task import accuracy, cross_entropy
from raysearch.trainables.training.epoch import train_epoch
from raysearch.trainables.training.schedule import cosine

NAME = "surrogate_compression"
BUDGET = 100
TOLERATED = 0.05  # accuracy below the parent's
EPOCHS = 12
LR = 3e-3
# The study's best on VGG16, its worst, and the criterion that looks at ranks.
VERSIONS: tuple[tuple[Criterion, Criterion], ...] = (
    ("random", "mape"),
    ("mape", "mse"),
    ("spearman", "spearman"),
)
PLAIN = {"c-taea, 10 generations of 10": 10, "c-taea, 20 generations of 5": 5}
ALL = "all together"
BOTH = "both"
DEFAULT = "model_based"
PARAMETERS = parameters_of(one_shot())
NETS: dict[str, Callable[[int, int], nn.Module]] = {
    "vgg": lambda channels, classes: build_vgg(((8, 8), (16, 16), (32, 32)), (64, 64), channels, classes),
    "resnet": lambda channels, classes: build_resnet(
        ResNetPlan(8, (Stage(1, 8), Stage(1, 16), Stage(1, 32))), channels, classes
    ),
}

OURS: dict[str, Callable[..., Searcher]] = {DEFAULT: ModelBased, "nsga2": NSGA2, "random": RandomSearch}

Method = Callable[["Compression", int], list[Config]]


@dataclass
class Compression:
    """The real problem on one trained network; a design is evaluated once and then looked up.

    Args:
        net: trained.
        examples: what accuracy is measured on.
        limit: the lowest accuracy allowed.
    """

    net: nn.Module
    examples: Examples
    limit: float
    known: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def goals(self) -> Goals:
        """Objectives and the constraint."""
        return Goals.parse(["minimize nonzero_rate", "maximize accuracy"], [f"accuracy >= {self.limit}"])

    def __call__(self, config: Config) -> dict[str, float]:
        """The values of a design."""
        key = one_shot_identity(config)[0]
        if key not in self.known:
            self.known[key] = measure_compressed(self.net, decode_one_shot(config), self.examples)
        return self.known[key]

    def merit(self, values: list[dict[str, float]]) -> float:
        """The hypervolume of the feasible designs among these, in [0, 1]."""
        costs = [(v["nonzero_rate"], (1 - v["accuracy"]) / (1 - self.limit)) for v in values]
        return hypervolume(np.array(costs), np.ones(2))


def trained(build: Callable[[int, int], nn.Module], splits: Splits) -> nn.Module:
    """A network trained for ``EPOCHS`` epochs from seed 0."""
    torch.manual_seed(0)
    net = build(splits.image_shape[0], len(splits.classes))
    optimizer = torch.optim.AdamW(net.parameters())
    generator = torch.Generator().manual_seed(0)
    for epoch in range(EPOCHS):
        train_epoch(
            net,
            splits.train,
            lambda module, x, y: cross_entropy(module(x), y),
            optimizer,
            batch_size=64,
            lr=lambda share, epoch=epoch: LR * cosine((epoch + share) / EPOCHS),  # type: ignore[misc]
            generator=generator,
        )
    return net.eval()


def problem(build: Callable[[int, int], nn.Module], splits: Splits) -> Compression:
    """The compression of a freshly trained network."""
    net = trained(build, splits)
    return Compression(
        net,
        splits.validation,
        evaluate(net, splits.validation, {"accuracy": accuracy})["accuracy"] - TOLERATED,
    )


def searched(make: Callable[..., Searcher]) -> Method:
    """One searcher, one evaluation at a time."""

    def run(compression: Compression, seed: int) -> list[Config]:
        searcher, configs = make(compression.goals, seed=seed), []
        for trial in map(str, range(BUDGET)):
            config = searcher.ask(trial)
            if config is None:
                break
            configs.append(config)
            searcher.tell(trial, 1, compression(config))
            searcher.end(trial, "finished")
        return configs

    return run


def plain_ctaea(population: int) -> Method:
    """C-TAEA on the real problem, generation by generation."""
    from pymoo.algorithms.moo.ctaea import CTAEA
    from pymoo.core.problem import Problem
    from pymoo.util.ref_dirs import get_reference_directions

    encoding = Encoding(PARAMETERS)

    def run(compression: Compression, seed: int) -> list[Config]:
        algorithm = CTAEA(get_reference_directions("das-dennis", 2, n_partitions=population - 1))
        space = Problem(n_var=len(encoding), n_obj=2, n_ieq_constr=1, xl=0.0, xu=1.0)
        algorithm.setup(space, termination=("n_gen", BUDGET // population), seed=seed)
        configs: list[Config] = []
        while algorithm.has_next():
            offspring = algorithm.ask()
            new = [encoding.decode(x) for x in offspring.get("X")]
            values = [compression(config) for config in new]
            costs = np.array([compression.goals.costs(v) for v in values])
            offspring.set("F", costs, "G", compression.limit + costs[:, 1:])
            algorithm.tell(infills=offspring)
            configs += new
        return configs

    return run


def methods(versions: Sequence[tuple[Criterion, Criterion]], generations: int) -> dict[str, Method]:
    """What is compared, by the name of its row."""
    rows = {name: plain_ctaea(population) for name, population in PLAIN.items()}
    for name, searcher in OURS.items():
        rows[name] = searched(partial(searcher, PARAMETERS, identity=one_shot_identity))
    for objectives_by, constraints_by in versions:
        make = partial(
            SurrogateAssisted,
            PARAMETERS,
            identity=one_shot_identity,
            objectives_by=objectives_by,
            constraints_by=constraints_by,
            generations=generations,
        )
        rows[f"surrogate {objectives_by}/{constraints_by}"] = searched(make)
    return rows


def dunn(figures: dict[str, Floats]) -> tuple[float, dict[tuple[str, str], float]]:
    """Friedman's p over all methods, and Dunn's for each pair, over blocks (n,) of each method.

    Dunn's test compares ranks, here those inside a block, so that what differs between blocks does not count.
    """
    from scipy.stats import friedmanchisquare, rankdata  # type: ignore[import-untyped]

    names = list(figures)
    ranks = rankdata(np.array([figures[name] for name in names]), axis=0)
    posthoc = load("scikit_posthocs", "peers").posthoc_dunn(list(ranks), p_adjust="holm").to_numpy()
    p = {(a, b): float(posthoc[i, j]) for (i, a), (j, b) in product(enumerate(names), repeat=2)}
    return float(friedmanchisquare(*figures.values()).pvalue), p


def measure(splits: Splits, chosen: dict[str, Method], seeds: int) -> dict[str, dict[str, Floats]]:
    """The hypervolume by net and method, shape (seeds,); under "both" those of all nets together."""
    found: dict[str, dict[str, Floats]] = {}
    for net, build in NETS.items():
        compression = problem(build, splits)
        found[net] = {}
        for name, method in chosen.items():
            start = time.process_time()
            runs = [method(compression, seed) for seed in range(seeds)]
            found[net][name] = np.array([compression.merit([compression(c) for c in run]) for run in runs])
            spent = (time.process_time() - start) / seeds
            print(f"{net:8}{name:32}{found[net][name].mean():.3f}   {spent:.1f} CPU-s a run", flush=True)
        found[net][ALL] = np.full(seeds, compression.merit(list(compression.known.values())))
    found[BOTH] = {name: np.concatenate([found[net][name] for net in NETS]) for name in (*chosen, ALL)}
    return found


def show(found: dict[str, dict[str, Floats]]) -> None:
    """Print mean and spread by method and net."""
    print(
        f"\n{NAME}: hypervolume, mean (standard deviation over seeds)\n{'':32}"
        + "".join(f"{n:>16}" for n in found)
    )
    for name in found[BOTH]:
        cells = (f"{found[net][name].mean():.3f} ({found[net][name].std():.3f})" for net in found)
        print(f"{name:32}" + "".join(f"{cell:>16}" for cell in cells))


def compared(found: dict[str, dict[str, Floats]]) -> dict[str, float]:
    """Print Friedman's and Dunn's p-values; those over both nets, by "p A above B"."""
    results = {net: dunn({n: v for n, v in rows.items() if n != ALL}) for net, rows in found.items()}
    print(f"\n{'p (Friedman)':62}" + "".join(f"{results[net][0]:>10.1e}" for net in found))
    p_values = {}
    better = [n for n in found[BOTH] if n.startswith("surrogate") or n == DEFAULT]
    for a, b in product(better, [n for n in found[BOTH] if n != ALL]):
        if found[BOTH][a].mean() > found[BOTH][b].mean():
            p_values[f"p {a} above {b}"] = results[BOTH][1][a, b]
            print(f"{f'p (Dunn) {a} above {b}':62}" + "".join(f"{results[n][1][a, b]:>10.1e}" for n in found))
    return p_values


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    parser = arguments(__doc__, seeds=5)
    parser.add_argument("--all", action="store_true", help="all 16 ways of choosing regressors")
    parser.add_argument(
        "--generations", type=int, default=30, help="of C-TAEA on the surrogates (default 30)"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    versions = list(product(CRITERIA, CRITERIA)) if options.all else VERSIONS
    splits = cifar10_images(options.data) if options.data else digits()
    found = measure(splits, methods(versions, options.generations), options.seeds)
    show(found)
    p_values = compared(found)
    if options.json:
        means = {
            name: {net: round(float(rows[name].mean()), 4) for net, rows in found.items()}
            for name in found[BOTH]
        }
        ours = {
            f"hv {name} {net}": v
            for name, row in means.items()
            if name not in PLAIN
            for net, v in row.items()
        }
        report(NAME, {**ours, **p_values}, {name: means[name] for name in PLAIN})


if __name__ == "__main__":
    main()
