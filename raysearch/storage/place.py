"""Where a run lives: a folder of a disk, a ``Path``, or of a bucket (s3://..., gs://...), a ``Remote``.

Only storage whose files appear whole or not at all is taken.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from raysearch.basics import extras
from raysearch.basics.failures import UserError

_PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "memory": None}


@dataclass(frozen=True)
class Remote:
    """A place in a bucket.

    Attributes:
        url: such as "s3://bucket/runs/cifar", without a slash at its end.
    """

    url: str

    def __truediv__(self, inside: str | Path) -> Remote:
        return Remote(f"{self.url}/{PurePosixPath(inside)}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """What it lies in."""
        return Remote(self.url.rpartition("/")[0])

    @property
    def key(self) -> str:
        """How its file system calls it."""
        return self.url.partition("://")[2]

    @property
    def system(self) -> Any:
        """Its file system, one a process."""
        import fsspec

        protocol = self.url.partition("://")[0]
        options: dict[str, Any] = {"use_listings_cache": False}  # others write there too
        if protocol == "s3":
            # Waiting is ours, and said.
            options["config_kwargs"] = {
                "connect_timeout": 5,
                "read_timeout": 60,
                "retries": {"total_max_attempts": 1},
            }
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what cannot be done is said here
        system = fsspec.filesystem(protocol, **{**options, **fsspec.config.conf.get(protocol, {})})
        if protocol == "s3":
            system.retries = 1
        return system


Place = Path | Remote


def folder_of(given: str | Path | Remote) -> Place:
    """The place that a user names, by a path or a URL.

    Raises:
        MissingExtra: its package is not installed.
        UserError: it is in no storage that a run can live in.
    """
    if isinstance(given, Remote):
        return _inside_bucket(given)
    text = str(given)
    # A Path has lost one of the slashes.
    found = re.match(r"(s3|s3a|gs|gcs|memory):/+(.*)$|([A-Za-z][\w+.-]*)://(.*)$", text, re.DOTALL)
    if found is None:
        return Path(given)
    protocol = {"s3a": "s3", "gcs": "gs"}.get(found[1], found[1] or found[3])
    if protocol == "file":
        return Path(found[4])
    if protocol not in _PACKAGES:
        raise UserError(
            f"{text} is in {protocol}://, and a run lives in a folder of a disk or in {_known()}: name one "
            "of these, or mount it and give the path"
        )
    inside = found[2].strip("/")
    if not inside:
        raise UserError(f"{text} names no bucket: write {protocol}://BUCKET/FOLDER")
    package = _PACKAGES[protocol]
    if package is not None:
        extras.check(*package)
    return _inside_bucket(Remote(f"{protocol}://{inside}"))


def _inside_bucket(place: Remote) -> Remote:
    """A place as it is, unless it is a whole bucket: a run lies beside others, in something."""
    if "/" not in place.key:
        raise UserError(f"{place} is a whole bucket: name a folder in it, such as {place}/runs/NAME")
    return place


def _known() -> str:
    return " or ".join(f"{protocol}://" for protocol, package in _PACKAGES.items() if package)


def resolved(given: str | Path | Remote) -> Place:
    """The same place, whatever the working directory is later."""
    place = folder_of(given)
    return place.resolve() if isinstance(place, Path) else place
