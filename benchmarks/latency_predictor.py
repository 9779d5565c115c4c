"""Latency of models that were not measured, from 10 and 20 that were: our predictor against its peers.

Purpose: how truly few measurements order and bound all other models of a device. Of 15,625 networks with
their latencies on 13 devices, 1,500 are candidates; our predictor says which to measure, and predicts 1,000
others. Rank correlation is Spearman's; "coverage" is the share of the others in their 90 % intervals. A
figure is the mean over devices and seeds.

"ours" knows nothing but the measured models, as on a user's first device. "ours, random" is given a random
draw to learn from, as the peers are; "ridge, our order" is the baseline on the models that we choose. "ours,
other devices" has 100 random measured models of each of the other devices, as on a user's further device.

Acceptance: spearman .97 at 10 and .98 at 20, intervals that hold 85 to 95 %; on networks of our own .95 at
20.

Limit: a device's noise. Cells whose first two nodes can change places are measured twice under two names.
What they differ by is put on the predictions of a regression on 10,000 networks, and "ceiling" is the rank
correlation with that of those predictions themselves: no predictor's is higher but by chance, and the mean
over devices cannot be passed either. "of the ceiling" is ours as a share of it.

Table: nas_bench_201 (--data FILE.parquet with op_01 ... op_23 and latency columns; latencies are clipped at
their .1 percentile). ``--networks FOLDER`` adds 200 networks of the ResNet family with random bits and
pruning, exported and measured on ``--target``; they are made there or found there.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import EDGES, operators
from benchmarks.common import Floats, arguments, data_file, read_table, report
from raysearch.backends.predictor import Predictor, features, fit, most_informative
from raysearch.backends.predictor.operators import IDLE, features_named

NAME = "latency_predictor"
OURS = "ours"
BUDGETS = (10, 20)
CANDIDATES, JUDGED, KNOWN, FOLDS = 1500, 1000, 100, 3
OWN_NETWORKS = 200

Places = NDArray[np.int64]
Method = Callable[[Places, Floats, Places], tuple[Floats, Floats, Floats]]
"""Gives mean, low and high of some models, from others and their costs."""


class Models:
    """Models with their features and counts of operators, and the methods on them."""

    def __init__(self, models: Sequence[Mapping[str, float]]) -> None:
        self.features = list(models)
        names = features_named(models)
        table = np.array([[model.get(name, 0.0) for name in names] for model in models])
        kinds = [name.removeprefix(IDLE) for name in names]
        counted = sorted({kind for kind in kinds if kind.endswith("/count")})
        self.counts = np.stack([table[:, [k == kind for k in kinds]].sum(axis=1) for kind in counted], axis=1)

    def of(self, places: Places) -> list[Mapping[str, float]]:
        """The features of some."""
        return [self.features[place] for place in places]

    def ours(self, known: Sequence[Predictor] = ()) -> Method:
        """Our predictor."""

        def method(measured: Places, costs: Floats, judged: Places) -> tuple[Floats, Floats, Floats]:
            found = fit(self.of(measured), costs.tolist(), known).predict(self.of(judged))
            return found.mean, found.low, found.high

        return method

    def peer(self, make: Callable[[], Any]) -> Method:
        """A regressor of scikit-learn on standardised counts of operators, without intervals."""

        def method(measured: Places, costs: Floats, judged: Places) -> tuple[Floats, Floats, Floats]:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            model = make_pipeline(StandardScaler(), make())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(self.counts[measured], costs / costs.mean())
            mean = model.predict(self.counts[judged]) * costs.mean()
            return mean, mean, mean

        return method

    def most_informative(self, places: Places, count: int) -> Places:
        """Those of some that our predictor would measure."""
        return places[most_informative(self.of(places), count)]


def ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(0.1)


def forest() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(100, random_state=0)


def gaussian_process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-6, 1e9)) * RBF(3.0, (1e-3, 1e9)) + WhiteKernel(0.01, (1e-12, 1e3))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


PEERS = {"ridge": ridge, "random forest": forest, "GP": gaussian_process}


def judge(method: Method, measured: Places, judged: Places, costs: Floats) -> tuple[float, float]:
    """Rank correlation and coverage on the judged models."""
    from scipy.stats import spearmanr

    mean, low, high = method(measured, costs[measured], judged)
    held = (costs[judged] >= low) & (costs[judged] <= high)
    return float(spearmanr(mean, costs[judged])[0]), float(held.mean())


def trial(models: Models, table: Floats, known: Sequence[Predictor], seed: int) -> dict[str, Floats]:
    """Every method on every device with one draw of candidates, shape (devices, budgets, 2) each."""
    drawn = np.random.default_rng(seed).permutation(len(table))
    candidates, judged = drawn[:CANDIDATES], drawn[CANDIDATES:][:JUDGED]
    rows: dict[str, list[list[tuple[float, float]]]] = {}
    for budget in BUDGETS:
        chosen = models.most_informative(candidates, budget)
        for device, costs in enumerate(table.T):
            others = [*known[:device], *known[device + 1 :]]
            methods: dict[str, tuple[Method, Places]] = {
                OURS: (models.ours(), chosen),
                "ours, random": (models.ours(), candidates[:budget]),
                "ours, other devices": (models.ours(others), chosen),
                "ridge, our order": (models.peer(ridge), chosen),
                **{name: (models.peer(make), candidates[:budget]) for name, make in PEERS.items()},
            }
            for name, (method, measured) in methods.items():
                rows.setdefault(name, []).append(judge(method, measured, judged, costs))
    shape = (len(BUDGETS), table.shape[1], 2)
    return {name: np.array(found).reshape(shape).swapaxes(0, 1) for name, found in rows.items()}


def ceiling(cells: Sequence[tuple[str, ...]], costs: Floats, seed: int = 0) -> float:
    """The rank correlation that a device's noise leaves to a predictor that knows all but the noise."""
    from scipy.stats import spearmanr
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    edges = [str(edge) for cell in cells for edge in cell]
    codes = np.unique(edges, return_inverse=True)[1].reshape(len(cells), len(EDGES))
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    truth = cross_val_predict(HistGradientBoostingRegressor(max_iter=300), codes, np.log(costs), cv=folds)
    pairs = np.array(twins(cells), dtype=np.int64).reshape(-1, 2)
    if not len(pairs):
        return float("nan")
    apart = (np.log(costs[pairs[:, 0]]) - np.log(costs[pairs[:, 1]])) / np.sqrt(2)
    noise = np.random.default_rng(seed).choice(np.concatenate([apart, -apart]), len(truth))
    return float(spearmanr(truth, truth + noise)[0])


def twins(cells: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    """Pairs of cells that are one network: where nothing connects nodes 1 and 2 they can change places."""
    place = {cell: number for number, cell in enumerate(cells)}
    found = []
    for number, (to_1, to_2, between, to_3, from_1, from_2) in enumerate(cells):
        other = place.get((to_2, to_1, between, to_3, from_2, from_1), number)
        if between == "none" and other > number:
            found.append((number, other))
    return found


def show(rows: Mapping[str, Floats], devices: Sequence[str], ceilings: Floats) -> dict[str, float]:
    """Print the tables; the figures. Rows have shape (seeds, devices, budgets, 2)."""
    print(f"{NAME}: Spearman's rank correlation, mean (standard deviation over seeds); coverage of 90 %")
    print(f"{'':24}" + "".join(f"{f'@{budget}':>16}{'':>8}" for budget in BUDGETS))
    for name, found in rows.items():
        by_seed = found.mean(axis=1)
        cells = ""
        for b in range(len(BUDGETS)):
            cells += f"{by_seed[:, b, 0].mean():>8.4f} ({by_seed[:, b, 0].std():.3f})"
            cells += f"{by_seed[:, b, 1].mean():>8.3f}" if name.startswith(OURS) else " " * 8
        print(f"{name:24}{cells}")
    ours, figures = rows[OURS].mean(axis=0), {"ceiling": round(float(ceilings.mean()), 4)}
    for b, budget in enumerate(BUDGETS):
        figures[f"spearman@{budget}"] = round(float(ours[:, b, 0].mean()), 4)
        figures[f"of the ceiling@{budget}"] = round(float((ours[:, b, 0] / ceilings).mean()), 4)
        figures[f"coverage_90@{budget}"] = round(float(ours[:, b, 1].mean()), 4)
    figures = {name: value for name, value in figures.items() if not np.isnan(value)}
    figures["coverage_90"] = round(float(ours[:, :, 1].mean()), 4)
    print(
        f"{'device':24}" + "".join(f"{f'@{budget}':>8}{'cover':>8}" for budget in BUDGETS) + f"{'ceiling':>9}"
    )
    for device, found, best in zip(devices, ours, ceilings, strict=True):
        print(f"{device:24}" + "".join(f"{s:>8.4f}{c:>8.3f}" for s, c in found) + f"{best:>9.4f}")
        figures |= {
            f"{device}/spearman@{n}": round(float(s), 4) for n, s in zip(BUDGETS, found[:, 0], strict=True)
        }
    return figures


def on_tables(path: Path, seeds: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Our figures and the peers' on the table's devices."""
    table = read_table(path, EDGES)
    columns = [name for name in table.columns if name.startswith("latency_ms/")]
    costs = table[columns].to_numpy(dtype=np.float64)
    costs = costs.clip(min=np.percentile(costs, 0.1, axis=0))
    cells = list(table[list(EDGES)].astype(str).itertuples(index=False, name=None))
    models = Models([features(operators(cell)) for cell in cells])
    past = [
        np.random.default_rng([1, d]).choice(len(cells), KNOWN, replace=False) for d in range(len(columns))
    ]
    known = [fit(models.of(p), costs[p, d].tolist()) for d, p in enumerate(past)]
    trials = [trial(models, costs, known, seed) for seed in range(seeds)]
    rows = {name: np.array([one[name] for one in trials]) for name in trials[0]}
    ceilings = np.array([ceiling(cells, of_device) for of_device in costs.T])
    figures = show(rows, [name.partition("/")[2] for name in columns], ceilings)
    means = {name: found.mean(axis=(0, 1)) for name, found in rows.items() if name != OURS}
    return figures, {
        name: {f"spearman@{budget}": round(float(m[b, 0]), 4) for b, budget in enumerate(BUDGETS)}
        for name, m in means.items()
    }


def on_own_networks(folder: Path, target: str, seeds: int) -> dict[str, float]:
    """Figures on exported networks: a half are candidates, and all that are not measured are judged."""
    from benchmarks.measured_networks import networks
    from raysearch.backends.predictor import operators_of

    paths, latencies = networks(folder, OWN_NETWORKS, target)
    costs, models = np.array(latencies), Models([features(operators_of(path)) for path in paths])
    rows: dict[str, list[list[tuple[float, float]]]] = {}
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).permutation(len(costs))
        for budget in BUDGETS:
            chosen = models.most_informative(drawn[: len(drawn) // 2], budget)
            methods = {OURS: (models.ours(), chosen), "ours, random": (models.ours(), drawn[:budget])}
            methods |= {name: (models.peer(make), drawn[:budget]) for name, make in PEERS.items()}
            for name, (method, measured) in methods.items():
                judged = np.setdiff1d(drawn, measured)
                rows.setdefault(name, []).append(judge(method, measured, judged, costs))
    figures = {}
    print(
        f"{NAME}, {OWN_NETWORKS} networks of our own on {target}: {costs.min():.3f} to {costs.max():.3f} ms"
    )
    for name, found in rows.items():
        mean = np.array(found).reshape(seeds, len(BUDGETS), 2).mean(axis=0)
        print(f"{name:24}" + "".join(f"{s:>8.4f}{c:>8.3f}" for s, c in mean))
        if name == OURS:
            figures = {f"own_spearman@{n}": round(float(m[0]), 4) for n, m in zip(BUDGETS, mean, strict=True)}
            figures |= {
                f"own_coverage_90@{n}": round(float(m[1]), 4) for n, m in zip(BUDGETS, mean, strict=True)
            }
    return figures


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments(__doc__, seeds=20)
    parser.add_argument("--networks", type=Path, metavar="FOLDER", help="add networks of our own, kept there")
    parser.add_argument("--target", default="onnxruntime-cpu", help="where they are measured")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    options = options_of(argv)
    path = data_file(options.data, "nas_bench_201/nas_bench_201.parquet")
    figures, peers = on_tables(path, options.seeds)
    if options.networks:
        figures |= on_own_networks(options.networks, options.target, options.seeds)
    if options.json:
        report(NAME, figures, peers)


if __name__ == "__main__":
    main()
