"""Several studies on one cluster: each says that it is there, and the workers are divided among them.

What a study says stands in the cluster's own store, with its driver's job: a driver that was killed is not
counted any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

import ray
from ray.experimental import internal_kv

_PREFIX = b"raysearch-study:"

Claims = Callable[[], tuple[list[int | None], int]]


@contextmanager
def announced(asked: int | None) -> Iterator[Claims]:
    """Say that a study is at work, which asks for so many workers, None: for any number.

    Yields:
        What all studies at work ask for, the earliest first, and which of them is this one; two or three
        calls to the cluster's head.
    """
    job = ray.get_runtime_context().get_job_id()
    mine = _PREFIX + f"{time.time():017.6f}:{uuid4().hex}:{job}".encode()
    internal_kv._internal_kv_put(mine, str(asked or "").encode())
    try:
        yield lambda: _claims(mine, asked)
    finally:
        internal_kv._internal_kv_del(mine)


def _claims(mine: bytes, asked: int | None) -> tuple[list[int | None], int]:
    keys = sorted(internal_kv._internal_kv_list(_PREFIX))
    if len(keys) > 1:
        jobs = ray._private.state.state.job_table()  # type: ignore[no-untyped-call]
        alive = {job["JobID"] for job in jobs if not job["IsDead"]}
        keys = [key for key in keys if key.decode().split(":")[-1] in alive]
    said = {key: int(internal_kv._internal_kv_get(key) or 0) or None for key in keys}
    said[mine] = asked
    order = sorted(said)
    return [said[key] for key in order], order.index(mine)


def shares(places: int, claims: Sequence[int | None]) -> list[int]:
    """So many places dealt out in turn to whoever claims more than it has; None claims any number."""
    given = [0] * len(claims)
    while places > 0:
        wanting = [i for i, claim in enumerate(claims) if claim is None or given[i] < claim]
        if not wanting:
            break
        for i in wanting[:places]:
            given[i] += 1
        places -= len(wanting)
    return given
