"""What a process of tests/backends/runtimes/tpu/test_child.py answers."""

import os
import sys
import time

from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.tpu.child import serve


def double(number: int) -> int:
    print("a library prints what it likes", flush=True)
    return 2 * number


def refuse() -> None:
    raise MeasurementError("cannot run net.pt2: it is too large")


def break_down() -> None:
    raise KeyError("weights")


def die() -> None:
    print("the device is locked", file=sys.stderr, flush=True)
    os._exit(3)


def wait(seconds: float) -> None:
    time.sleep(seconds)


def variable(name: str) -> str:
    return os.environ[name]


if __name__ == "__main__":
    serve({answer.__name__: answer for answer in (double, refuse, break_down, die, wait, variable)})
