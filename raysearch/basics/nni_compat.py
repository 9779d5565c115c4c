"""NNI 3.0 beside a torch that it was not written for (it was last released in 2023).

What it takes to use its pruners and its hub of search spaces with torch 2.15:

- its ``nni.nas`` imports pytorch_lightning, which it does not declare: the extra ``nni`` brings it;
- on import it looks at each name of ``torch.nn``, and warns of those that have become no modules: not shown;
- it logs what it does to stdout, where commands print JSON: its loggers tell errors alone.

Its tracer (and with it ``ModelSpeedup``) does need patches, and is not used: torch-pruning removes channels.
"""

from __future__ import annotations

import logging
import warnings
from types import ModuleType

from raysearch.basics import extras


def load_nni(module: str) -> ModuleType:
    """Import a module of NNI.

    Args:
        module: its dotted name, such as "nni.compression.pruning".

    Raises:
        MissingExtra: NNI, or pytorch_lightning, is not installed.
    """
    extras.check("nni", "nni")
    if module.startswith("nni.nas"):
        extras.check("pytorch_lightning", "nni")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = extras.load(module, "nni")
    logging.getLogger("nni").setLevel(logging.ERROR)
    return found
