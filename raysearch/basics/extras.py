"""Packages that only some users need, imported when first used; where absent, it says what to install."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from raysearch.basics.failures import UserError


class MissingExtra(ImportError, UserError):
    """An optional package is not installed; the message names the command that installs it."""


def load(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: its dotted name, such as "botorch".
        extra: the extra of raysearch that brings it.

    Raises:
        MissingExtra: it is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise _missing(module.split(".")[0], extra) from error


def check(package: str, extra: str) -> None:
    """Refuse to go on without an optional package, which is not imported.

    Args:
        package: its name, such as "nni".
        extra: the extra of raysearch that brings it.

    Raises:
        MissingExtra: it is not installed; the message names the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise _missing(package, extra)


def _missing(package: str, extra: str) -> MissingExtra:
    return MissingExtra(f'{package} is not installed: run `pip install "raysearch[{extra}]"`', name=package)
