"""What switching variants at run time is worth: the rule beside its rivals, simulated and real.

Purpose: the rule "plan" of ``raysearch.serving`` against every static variant, SlackFit, a rule by arrival
rate and an oracle that knows all arrivals.

- Simulated: two public traces, deadlines of 20 and 50 ms, sped up to 3, 5 and 10 times the speed at which the
  most accurate variant alone still attains .99. The variants' times and accuracies are those of the networks
  of ``serving_front`` as they were measured (recorded/serving_front.csv), or of ``--front``. A rule's figure
  is accuracy times attained share ("plan@code/20/x3"). "noisy": log-normal service times (sigma .3, 2 % of
  them threefold).
- Batches: two variants of 1 and 3 ms, eight together of which take 3 and 14, at more requests a second than
  the faster one bears one by one ("plan_batches@1500").
- A decision: 20 variants, 100 that wait, in microseconds of processor time; the median ("decision_us").
- Real, with ``--real SECONDS``: the router alone at 20 ms and HTTP on Ray Serve at 50 ms over the last trace;
  a replica killed; 10,000 bad requests. See ``serving_real``.

Acceptance: simulated, plan within .001 of the oracle, attained >= .999, above SlackFit, the rate and every
static variant, >= .99 attained where times are noisy; with batches above SlackFit, attained >= .99; 20 us a
decision; real, attained >= .99 and more accurate than the best static variant that attains it; no wrong reply
and no more failures than the killed replica held; an error for each bad request, memory flat.

Limit: the oracle.

Table: ``--data`` or ../shared/data/traces; ``--trace FILE`` another one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.common import data_file, report
from raysearch.serving.latencies import Latencies
from raysearch.serving.policy import ArrivalRate, Plan, Rule, SlackFit, Static, oracle
from raysearch.serving.simulation.simulator import Outcome, drawn, simulate
from raysearch.serving.simulation.traces import poisson, read_trace

NAME = "serving"
TRACES = {"code": "traces/azure_llm_2023_code.csv", "conv": "traces/azure_llm_2023_conv.csv"}
DEADLINES = (20.0, 50.0)
LOADS = (3, 5, 10)
BATCHED_RATES = (1500, 2000)
ATTAINED = 0.99
FRONT = Path(__file__).parent / "recorded" / "serving_front.csv"

Floats = NDArray[np.float64]


class Bench:
    """A front on a trace.

    Args:
        table: with columns "latency_ms" and "accuracy", a row a variant.
        arrivals: in ms.
    """

    def __init__(self, table: pd.DataFrame, arrivals: Floats) -> None:
        table = table.sort_values("accuracy")
        self.times, self.accuracies = table["latency_ms"].tolist(), table["accuracy"].tolist()
        self.arrivals = arrivals

    def run(self, rule: Rule, slo_ms: float, speed: float, *, noisy: bool = False) -> Outcome:
        """A rule over the trace at a speed."""
        costs = Latencies([{1: time} for time in self.times])
        service = drawn(self.times, seed=1) if noisy else None
        return simulate(self.arrivals / speed, slo_ms, rule, costs, self.accuracies, service=service)

    def bearable(self, slo_ms: float) -> float:
        """The highest speed at which the most accurate variant alone attains the bar, to a per cent."""
        low, high = 1e-3, 1e5
        while high / low > 1.01:
            middle = (low * high) ** 0.5
            alone = self.run(Static(slo_ms, len(self.times) - 1), slo_ms, middle).attained
            low, high = (middle, high) if alone >= ATTAINED else (low, middle)
        return low

    def rules(self, slo_ms: float) -> Mapping[str, Callable[[], Rule]]:
        """The rules that are compared, by name."""
        static = {f"static{n}": partial(Static, slo_ms, n) for n in range(len(self.times))}
        return {
            "plan": partial(Plan, slo_ms),
            "slackfit": partial(SlackFit, slo_ms),
            "rate": partial(ArrivalRate, slo_ms),
            **static,
        }


def simulated(name: str, bench: Bench, figures: dict[str, float]) -> None:
    """Add the figures of a trace, and print them."""
    for slo_ms in DEADLINES:
        bearable = bench.bearable(slo_ms)
        for load in LOADS:
            speed, case = bearable * load, f"{name}/{slo_ms:g}/x{load}"
            figures[f"oracle@{case}"] = oracle(bench.arrivals / speed, slo_ms, bench.times, bench.accuracies)
            for rule, make in bench.rules(slo_ms).items():
                found = bench.run(make(), slo_ms, speed)
                figures[f"{rule}@{case}"] = found.effective
                if rule == "plan":
                    figures[f"attained@{case}"] = found.attained
            noisy = bench.run(Plan(slo_ms), slo_ms, speed, noisy=True)
            figures[f"noisy_attained@{case}"], figures[f"noisy@{case}"] = noisy.attained, noisy.effective
            rivals = {r: figures[f"{r}@{case}"] for r in bench.rules(slo_ms) if r != "plan"}
            best = max(rivals, key=lambda rival: rivals[rival])
            plan, attained = figures[f"plan@{case}"], figures[f"attained@{case}"]
            print(
                f"{case:14} oracle {figures[f'oracle@{case}']:.4f}  plan {plan:.4f} (attained {attained:.4f},"
                f" noisy {noisy.attained:.4f})  SlackFit {rivals['slackfit']:.4f}  rate {rivals['rate']:.4f}"
                f"  best rival {best} {rivals[best]:.4f}",
                flush=True,
            )


def batched(figures: dict[str, float], seconds: float = 20.0, slo_ms: float = 20.0) -> None:
    """Add the figures of loads that are borne in batches only."""
    times = [{1: 1.0, 2: 1.3, 4: 1.9, 8: 3.0}, {1: 3.0, 2: 5.0, 4: 8.0, 8: 14.0}]
    for rate in BATCHED_RATES:
        for name, rule in (("plan", Plan(slo_ms)), ("slackfit", SlackFit(slo_ms))):
            found = simulate(poisson(rate, seconds, 1), slo_ms, rule, Latencies(times), (0.9, 0.95))
            figures[f"{name}_batches@{rate}"] = found.effective
            if name == "plan":
                figures[f"batches_attained@{rate}"] = found.attained
        print(
            f"batches, {rate} a second: plan {figures[f'plan_batches@{rate}']:.4f}, SlackFit"
            f" {figures[f'slackfit_batches@{rate}']:.4f}"
        )


def decision_us(variants: int = 20, waiting: int = 100, repeats: int = 500) -> float:
    """The median processor time of a decision of the rule, in microseconds."""
    rng = np.random.default_rng(0)
    costs = Latencies([{1: float(t)} for t in np.geomspace(0.1, 10, variants)])
    rule, taken = Plan(20.0), []
    for _ in range(repeats):
        deadlines = array("d", np.sort(rng.uniform(5, 20, waiting)))
        start = time.thread_time_ns()
        rule.choose(0.0, deadlines, costs)
        taken.append(time.thread_time_ns() - start)
    return float(np.median(taken)) / 1e3


def front_table(given: Path | None) -> pd.DataFrame:
    """The recorded front, or that of a folder, measured now."""
    if given is None:
        return pd.read_csv(FRONT)
    from raysearch.serving.variants import load, measure, read_front

    variants = read_front(given).variants
    times = measure([load(variant) for variant in variants])
    rows = [(v.name, t[1], v.quality) for v, t in zip(variants, times, strict=True)]
    return pd.DataFrame(rows, columns=["variant", "latency_ms", "accuracy"])


def main(argv: list[str] | None = None) -> None:
    """Print every figure, and with --json all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trace", type=Path, action="append", help="a CSV file of arrivals, in place of the two"
    )
    parser.add_argument("--data", type=Path, help="the folder of all tables")
    parser.add_argument("--front", type=Path, help="a run folder or exported front, measured now")
    parser.add_argument("--real", type=float, metavar="SECONDS", help="serve a trace for so long, too")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    options = parser.parse_args(argv)
    paths = {p.stem: p for p in options.trace or ()} or {
        name: data_file(options.data, file) for name, file in TRACES.items()
    }
    traces = {name: read_trace(path) for name, path in paths.items()}
    table, figures = front_table(options.front), dict[str, float]()
    for name, arrivals in traces.items():
        simulated(name, Bench(table, arrivals), figures)
    batched(figures)
    figures["decision_us"] = decision_us()
    print(f"a decision takes {figures['decision_us']:.1f} us")
    if options.real:
        from benchmarks.serving_real import all_real

        with tempfile.TemporaryDirectory() as folder:
            place = options.front or Path(folder) / "front"
            figures |= all_real(place, list(traces.values())[-1], options.real)
    if options.json:
        report(NAME, {name: round(value, 5) for name, value in figures.items()}, {})


if __name__ == "__main__":
    main()
