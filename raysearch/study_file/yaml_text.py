"""Reading the text of a study file: YAML as people write it, overrides of keys, and import paths."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from raysearch.basics.failures import UserError, failure
from raysearch.basics.spelling import did_you_mean

_MERGE, _TEXT, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("merge", "str", "timestamp"))


class _Loader(yaml.SafeLoader):
    """YAML of texts, numbers, truth values, lists and mappings, whose keys are texts.

    ``1e-4`` is a number (PyYAML reads it as text), a date is a text, and no key is silently repeated. A key
    is what is written: layers of nn.Sequential are called 0 and 0.10.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = f"line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{line} has a list or a mapping as a key: give a text")
            if key.value in seen:
                raise UserError(f"{line} repeats the key {key.value!r}")
            seen.add(key.value)
            if key.tag != _MERGE:
                key.tag = _TEXT
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, name: str, *, mapping: bool = True) -> Any:
    """Read YAML.

    Args:
        text: the YAML.
        name: what to call it in messages.
        mapping: whether the whole must be a mapping.

    Raises:
        UserError: it is not YAML, repeats a key, holds what is no plain data, or is no mapping where one is
            needed.
    """
    try:
        document = yaml.load(text, Loader=_Loader)
        _check_plain(document)
    except RecursionError:
        raise UserError(f"{name} is nested too deeply, or holds itself by an alias") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{name} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if mapping and not isinstance(document, dict):
        raise UserError(f"{name} is {'empty' if document is None else 'not a mapping of keys'}")
    return document


def _check_plain(value: Any) -> None:
    """Refuse what only YAML's own tags make (sets, bytes, dates): a journal cannot hold it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_plain(item)
    elif not isinstance(value, str | int | float | None):
        raise UserError(f"{value!r} is a {type(value).__name__}: give a text, a number, a list or a mapping")


def override_key(document: dict[str, Any], override: str) -> None:
    """Give a key of a document another value, as ``--set`` asks.

    Args:
        document: changed in place.
        override: "search.num_trials=64": a key's path and its new value in YAML.

    Raises:
        ValueError: it has another form, or the path leads through what is no mapping.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"--set {override!r} is not KEY=VALUE, such as a.key=3")
    *sections, last = path.strip().split(".")
    place: Any = document
    for section in sections:
        if place.get(section) is None:
            place[section] = {}
        place = place[section]
        if not isinstance(place, dict):
            raise UserError(f"--set {override!r}: {section} is {place!r}, which has no keys")
    try:
        place[last] = parse_yaml(text, "--set", mapping=False)
    except ValueError as error:
        raise UserError(f"--set {override!r}: {error}") from None


def import_object(where: str, folder: Path | None = None) -> Any:
    """The object at "module:name".

    Args:
        where: the import path.
        folder: looked in first; then come the working directory and ``sys.path``.

    Raises:
        UserError: the path has another form, the folder is gone, the module or the name does not exist, or
            another module of this name is imported already.
    """
    module_name, colon, name = where.partition(":")
    if not colon or not module_name or not name:
        raise UserError(f'task.import is {where!r}: give "module:function"')
    if folder is not None and not folder.is_dir():
        raise UserError(
            f"task.module_folder: {folder}, the place of {module_name}, does not exist: put it back, or go "
            f"on from where the study file is now, by raysearch run FILE --out DIR"
        )
    module = _import_module(where, module_name, [str(folder or os.getcwd()), os.getcwd()])
    if not hasattr(module, name):
        public = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise UserError(f"task.import {where!r}: {module_name} has no {name!r}; {did_you_mean(name, public)}")
    return getattr(module, name)


def _import_module(where: str, name: str, places: list[str]) -> ModuleType:
    """A module looked for in these places first; they stay in ``sys.path``, for what it imports later."""
    sys.path[:0] = [place for place in dict.fromkeys(places) if place not in sys.path]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        looked = " and ".join(dict.fromkeys(places))
        raise UserError(f"task.import {where!r}: {error}; looked in {looked} and sys.path") from None
    except Exception as error:  # whatever a user's module raises
        raise UserError(f"task.import {where!r}: importing {name} failed: {failure(error)}") from error
    meant = Path(places[0], *name.split(".")).with_suffix(".py").resolve()
    found = Path(getattr(module, "__file__", None) or ".").resolve()
    if meant.is_file() and found != meant:
        raise UserError(f"task.import {where!r} is {meant}, but {found} is imported already: rename one")
    return module
