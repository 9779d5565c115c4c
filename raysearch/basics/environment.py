"""Environment variables that hold while something is started, and leave what a user has set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

#: Every five seconds Ray's agent looks at all processes, for a tenth of a second and for a dashboard that is
#: not there: what is measured or served meanwhile waits.
NO_DASHBOARD = {"REPORTER_UPDATE_INTERVAL_MS": "600000"}


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process, and of those that it starts, while the context lasts."""
    own = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
