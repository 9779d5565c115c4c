"""A module at work in a process of its own, which answers one request after another.

What it imports stays there: JAX starts threads and takes memory, libtpu locks the device and reads the
environment. Requests and answers are pickles on the process's standard input and output.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from raysearch.backends.base import MeasurementError
from raysearch.basics.failures import failure


class Child:
    """A process that runs a module whose main part is ``serve``.

    Args:
        module: its dotted name.
        environment: variables that it gets beside this process's.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        weakref.finalize(self, _end, self._process)

    def ask(self, request: str, limit_s: float, **arguments: Any) -> Any:
        """The answer to a request.

        Args:
            request: its name.
            limit_s: after so many seconds the process is ended.
            arguments: of what answers it.

        Raises:
            MeasurementError: what answers it fails, its time is over, or the process dies.
        """
        process, over = self._process, threading.Event()
        assert process.stdin is not None
        assert process.stdout is not None

        def stop() -> None:
            over.set()
            process.kill()

        timer = threading.Timer(limit_s, stop)
        timer.start()
        try:
            pickle.dump((request, arguments), process.stdin)
            process.stdin.flush()
            done, answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            reason = f"took longer than {limit_s:g} s" if over.is_set() else f"ended: {self._last_words()}"
            raise MeasurementError(f"cannot {request} the model: its process {reason}") from None
        finally:
            timer.cancel()
        if not done:
            raise MeasurementError(answer)
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {status}"


def serve(answers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests by name until there are no more. What libraries print goes to the standard error."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, answers[request](**arguments))
        except MeasurementError as error:
            answer = (False, str(error))
        except Exception as error:  # of a library that has no base class for what it refuses
            answer = (False, failure(error))
        pickle.dump(answer, out)
        out.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
