"""Small models and tasks of all kinds, as users write them, searched to a front whose figures are checked.

Purpose: whatever a user brings works to the end, or is refused before any work. Each case is a model, data,
a loss and a metric; the public API runs three trials over pruning, bits and the learning rate. Every figure
of the front, and of the other trials, is then found again from the ONNX file by code that shares nothing with
raysearch: the file in ONNX Runtime on a split, the metric by numpy, weights and multiply-accumulates from the
file's graph.

Acceptance: in each case two trials or more finish, the front is not empty, and no figure is contradicted.

    python -m benchmarks.own_models [NAME ...] [--json]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.common import refuse, report
from benchmarks.own_models.check import Findings, examine, in_float, search
from benchmarks.own_models.zoo import NAMES, case
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean

NAME = "own_models"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if left out")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    given = parser.parse_args(argv)
    for name in given.names:
        if name not in NAMES:
            refuse(f"there is no case {name!r}; {did_you_mean(name, NAMES)}")
    figures: dict[str, float] = {}
    print(f"{'case':22}{'finished':>9}{'front':>7}{'seconds':>9}  figures", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or NAMES:
            start = time.monotonic()
            findings, floats = tried(name, Path(folder) / name)
            seconds = time.monotonic() - start
            said = "; ".join(findings.wrong) or "reproduced"
            print(f"{name:22}{findings.finished:>9}{findings.front:>7}{seconds:>9.1f}  {said}", flush=True)
            if floats:
                print(f"{'':22}in float: {floats}", flush=True)
            figures |= {f"{name}/good": float(findings.good), f"{name}/seconds": round(seconds, 1)}
    good = sum(value for name, value in figures.items() if name.endswith("/good"))
    print(f"{good:.0f} of {len(given.names or NAMES)} come through")
    if given.json:
        report(NAME, figures, {})


def tried(name: str, folder: Path) -> tuple[Findings, str]:
    """What came of a case, and what stays in float in its quantised trials."""
    try:
        search(case(name), folder)
    except UserError as error:
        return Findings(0, 0, [f"refused: {error}"]), ""
    return examine(case(name), folder), in_float(folder)


if __name__ == "__main__":
    main()
