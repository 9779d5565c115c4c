"""What ``raysearch profile`` has learnt of a target on this machine, kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from raysearch import backends
from raysearch.backends.base import Backend
from raysearch.backends.sent import Sent
from raysearch.basics.caching import cache_folder


def store(backend: Backend, profile: Mapping[str, Any]) -> Path | None:
    """Keep a target's profile, replacing an earlier one.

    Returns:
        Its file; None where nothing is kept between runs.
    """
    path = _file(backend)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(profile, indent=1) + "\n", encoding="utf-8")
    return path


def stored(backend: Backend) -> dict[str, Any] | None:
    """The profile of a target, as its runtime and device are now; None where there is none."""
    path = _file(backend)
    if path is None or not path.exists():
        return None
    with suppress(ValueError):  # it was being written
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and type(found.get("channel_multiple")) is int:
            return found
    return None


def channel_multiple(backend: Backend) -> int:
    """Pruned layers keep a multiple of this many channels: as its profile found, else as its runtime says.

    Of targets elsewhere as their runtime says: what depends on whether they answer is no part of a study.
    """
    here = not isinstance(backend, Sent) and backend.unavailable() is None
    if here and (profile := stored(backend)) is not None:
        return int(profile["channel_multiple"])
    return backend.channel_multiple


def _file(backend: Backend) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    what = json.dumps([backends.spec_of(backend), backend.version(), backend.device()], sort_keys=True)
    return folder / "profiles" / f"{backend.name}-{hashlib.sha256(what.encode()).hexdigest()[:12]}.json"
