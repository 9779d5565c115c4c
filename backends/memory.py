"""How much memory this process came to hold at most while something was done in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets the peak of the resident set


@dataclass
class Peak:
    """The most memory beyond what was held before, in 10^6 bytes; None where the system does not say."""

    mb: float | None = None


@contextmanager
def peak_growth() -> Iterator[Peak]:
    """Watch how much more memory the process comes to hold; Linux only, elsewhere it stays None."""
    peak = Peak()
    try:
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        before = _held("VmRSS")
    except (OSError, KeyError):
        yield peak
        return
    yield peak
    peak.mb = max(0.0, _held("VmHWM") - before)


def _held(name: str) -> float:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e6
