"""Exported torch programs, read without running what is in the file.

torch unpickles a program's example inputs and its odd constants, and evaluates the text of its symbolic
sizes: a file of somebody else's could run code by either. Here tensors and plain data alone are unpickled,
and such a text holds nothing but names, numbers, operators and calls.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

from raysearch.basics.failures import UserError

_EXPRESSION = re.compile(r"[\w\s()+\-*/%,.<>=&|~!]*")
_NAME = re.compile(r"'\w+'")
_UNSAFE = re.compile(
    r"__|\.\s*[A-Za-z_]|[A-Za-z_)]\s*\.|\b(?:eval|exec|open|compile|getattr|lambda|import|input|breakpoint)\b"
)


def load_program(path: Path) -> Any:
    """The exported program of a ``.pt2`` file.

    Raises:
        UserError: the text of a size in it is none.
        Exception: it is no such file, or unpickling it would run code; torch's, zip's and json's own errors.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                _check(json.loads(archive.read(name)), path)
    with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
        return torch.export.load(str(path))


def _check(value: Any, path: Path) -> None:
    """Refuse the text of a size that is more than a size."""
    if isinstance(value, dict):
        text = value.get("expr_str")
        plain = _NAME.sub("", text) if isinstance(text, str) else ""
        if not _EXPRESSION.fullmatch(plain) or _UNSAFE.search(plain):
            raise UserError(f"{path.name} has the size {str(text)[:60]!r}, which is none: it could run code")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check(item, path)
