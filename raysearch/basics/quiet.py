"""Running a library without what it prints, logs and warns of where all goes well."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir", "absl")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While it lasts, torch's exporters are silent; exceptions come through."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def silent() -> Iterator[Callable[[], str]]:
    """While it lasts, nothing reaches the process's standard error, whatever a library in C++ writes there.

    Yields:
        What was written so far, when called; also afterwards.
    """
    sys.stderr.flush()
    kept, said = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115 - it is read after this ends

    def written() -> str:
        said.seek(0)
        return said.read().decode(errors="replace")

    os.dup2(said.fileno(), 2)
    try:
        yield written
    finally:
        os.dup2(kept, 2)
        os.close(kept)
