"""What ``benchmarks.serving`` really serves: a router in its program, HTTP, a killed replica, bad input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving_client import Answer, Client, npy, replay
from benchmarks.serving_front import WIDTHS, held_out, make_front, write_table
from benchmarks.serving_server import PORT, command, replicas, resident_mb, server
from raysearch.serving.inputs import checked
from raysearch.serving.router import Router
from raysearch.serving.variants import Servable, read_front

HTTP_MS, ROUTER_MS = 50.0, 20.0
ATTAINED = 0.99
_OVERLOAD = 1.5  # of what the most accurate variant can bear
_FASTEST_CLIENT = 200.0  # requests a second
_BAD = 10_000
_ROUNDS = 3  # in which the players take turns: a stall of the machine's own is nobody's

Figures = dict[str, float]


def front_in(folder: Path) -> Sequence[Servable]:
    """The front to serve, made where the folder has none; the worst variant first."""
    if not (folder / "front.csv").is_file():
        make_front(folder, WIDTHS)
    return read_front(folder).variants


def router_alone(folder: Path, arrivals: NDArray[np.float64], seconds: float) -> Figures:
    """The router in this process, at 20 ms, and each variant alone until one attains the bar."""
    front = front_in(folder)
    images, labels = held_out()

    def played(variants: Sequence[Servable]) -> tuple[float, float]:
        with Router(variants, slo_ms=ROUTER_MS) as router:
            feeds = [checked(image, router.hall.ports) for image in images]
            start, sent = time.perf_counter() + 0.1, []
            for number, arrival in enumerate(trace):
                if (left := start + arrival / 1e3 - time.perf_counter()) > 0:
                    time.sleep(left)
                sent.append(router.submit(feeds[number % len(feeds)]))
            replies = [None if answer.exception() else answer.result() for answer in sent]
        kept = [r is not None and r.in_time for r in replies]
        right = [
            int(r.outputs[0].argmax()) == labels[n % len(labels)]
            for n, r in enumerate(replies)
            if r is not None and r.in_time
        ]
        return float(np.mean(kept)), float(np.mean(right)) if right else 0.0

    trace = _cut(arrivals, _rate(front, _FASTEST_CLIENT * 2), seconds / _ROUNDS)
    return _beside_static("router", played, front)


def over_http(folder: Path, arrivals: NDArray[np.float64], seconds: float) -> Figures:
    """The same over HTTP at 50 ms: this client on one core, the server on the other."""
    front = front_in(folder)
    images, labels = held_out()
    trace = _cut(arrivals, _rate(front, _FASTEST_CLIENT), seconds / _ROUNDS)

    def played(variants: Sequence[Servable]) -> tuple[float, float]:
        command("serve", str(_alone(folder, variants)), "--update", "--port", str(PORT))
        answers = asyncio.run(replay(Client(PORT), trace.tolist(), images, labels))
        return _judged(answers, labels)

    with server(folder, HTTP_MS):
        played(front)  # what a server and its clients take once
        return _beside_static("http", played, front)


def killed(folder: Path, seconds: float = 15.0, rate: float = 60.0) -> Figures:
    """Two replicas, one of them killed in the middle: what failed, and what was under way then."""
    images, labels = held_out()
    arrivals = np.arange(0, 1e3 * seconds, 1e3 / rate)

    async def play(process: int) -> tuple[list[Answer], int]:
        client = Client(PORT)
        sending = asyncio.create_task(replay(client, arrivals.tolist(), images, labels))
        await asyncio.sleep(seconds / 2)
        under_way = client.under_way  # with both replicas: at least what the one held
        os.kill(replicas(process)[0], signal.SIGKILL)
        return await sending, under_way

    with server(folder, HTTP_MS, "--replicas", "2", pinned=False) as process:
        answers, under_way = asyncio.run(play(process))
    front = {variant.name: variant for variant in front_in(folder)}
    wrong = _wrong(answers, images, front)
    failed = sum(a.status not in (200, 503) for a in answers)
    refused = sum(a.status == 503 for a in answers)
    return {
        "killed_failed": failed,
        "killed_held": under_way,
        "killed_wrong": wrong,
        "killed_refused": refused,
    }


def bad_inputs(folder: Path, count: int = _BAD) -> Figures:
    """Requests that are no input, good ones among them: their answers, and what the replica holds."""
    images, labels = held_out()
    kinds = _bad_bodies(images)

    async def play() -> tuple[Counter[int], list[Answer]]:
        client, statuses, good = Client(PORT), Counter[int](), []
        slow = [asyncio.create_task(_slow_sender()) for _ in range(20)]
        for first in range(0, count - len(slow), 20):
            sent = [
                client.post("/predict", *kinds[(first + n) % len(kinds)], time.perf_counter())
                for n in range(min(20, count - len(slow) - first))
            ]
            statuses.update(a.status for a in await asyncio.gather(*sent))
            good += await replay(client, [0.0], images[:1], labels[:1])
        statuses.update(await asyncio.gather(*slow))
        return statuses, good

    with server(folder, HTTP_MS) as process:
        asyncio.run(play_little(kinds))
        replica = replicas(process)[0]
        before = resident_mb(replica)
        statuses, good = asyncio.run(play())
        grown = resident_mb(replica) - before
    errors = sum(number for status, number in statuses.items() if 400 <= status < 500)
    unharmed = sum(a.status == 200 for a in good) / len(good)
    print(f"  bad input: {dict(sorted(statuses.items()))}", flush=True)
    sent = sum(statuses.values())
    return {"bad_sent": sent, "bad_answered": errors, "bad_grown_mb": grown, "bad_good": unharmed}


async def play_little(kinds: Sequence[tuple[bytes, str]], rounds: int = 50) -> None:
    """What a server takes once, before its memory is looked at."""
    client = Client(PORT)
    for n in range(rounds):
        await client.post("/predict", *kinds[n % len(kinds)], time.perf_counter())


def _bad_bodies(images: NDArray[np.float32]) -> list[tuple[bytes, str]]:
    image = images[0]
    whole = json.dumps({"inputs": image.tolist()}).encode()
    broken = image.copy()
    broken[0, 0, 0] = np.nan
    as_json, as_npy = "application/json", "application/x-npy"
    return [
        (json.dumps({"inputs": image[:, :-1].tolist()}).encode(), as_json),
        (npy(image[:, :-1]), as_npy),
        (npy(image.astype(np.float64)), as_npy),
        (npy(broken), as_npy),
        (whole.replace(b"[[[", b"[[[NaN, ", 1), as_json),
        (whole[: len(whole) // 2], as_json),
        (b"no JSON at all", as_json),
        (b"\x80\x04\x95\x10\x00", as_npy),
        (b"[" * 20_000, as_json),
        (b"0" * 3_000_000, as_json),
        (whole, "text/plain"),
    ]


async def _slow_sender() -> int:
    """Begins a request, and goes on so slowly that it is given up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900"
        writer.write(head + b"\r\n\r\n")
        for _ in range(40):
            writer.write(b" ")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    return int((await reader.readline()).split()[1])
    except (OSError, IndexError):
        return 0
    finally:
        writer.close()
    return 0


def _beside_static(
    name: str, played: Callable[[Sequence[Servable]], tuple[float, float]], front: Sequence[Servable]
) -> Figures:
    """The whole front's figures, and those of the most accurate variant that attains the bar alone.

    All take turns.
    """
    players = {"the front": front, **{f"{one.name} alone": [one] for one in reversed(front)}}
    found: dict[str, list[tuple[float, float]]] = {player: [] for player in players}
    for _ in range(_ROUNDS):
        for player, variants in players.items():
            found[player].append(played(variants))
    figures: Figures = {}
    for player, rounds in found.items():
        attained, accuracy = np.mean(rounds, axis=0).tolist()
        print(f"  {name}: {player} attains {attained:.4f} at accuracy {accuracy:.4f}", flush=True)
        if not figures:
            figures = {f"{name}_attained": attained, f"{name}_accuracy": accuracy}
        elif attained >= ATTAINED:
            return figures | {f"{name}_static_attained": attained, f"{name}_static_accuracy": accuracy}
    return figures


def _judged(answers: Sequence[Answer], labels: NDArray[np.int64]) -> tuple[float, float]:
    """The share in time, and of those the share that is right."""
    good = [(n, a) for n, a in enumerate(answers) if a.status == 200 and a.ms <= HTTP_MS]
    right = [int(np.argmax(a.document["outputs"])) == labels[n % len(labels)] for n, a in good]
    return len(good) / len(answers), float(np.mean(right)) if right else 0.0


def _wrong(answers: Sequence[Answer], images: NDArray[np.float32], front: dict[str, Servable]) -> int:
    """How many answers are not what the variant that they name gives for their image."""
    from raysearch.serving.variants import load

    loaded = {name: load(variant) for name, variant in front.items()}
    wrong = 0
    for number, answer in enumerate(answers):
        if answer.status == 200:
            one = loaded[answer.document["variant"]]
            (expected,) = one.run([checked(images[number % len(images)], one.ports)])[0]
            wrong += not np.allclose(answer.document["outputs"], expected, rtol=1e-3, atol=1e-3)
    return wrong


def _rate(front: Sequence[Servable], most: float) -> float:
    """Requests a second: more than the most accurate variant can bear, no more than a client can send."""
    from raysearch.serving.variants import load, measure

    return min(_OVERLOAD * 1e3 / measure([load(front[-1])])[0][1], most)


def _cut(arrivals: NDArray[np.float64], rate: float, seconds: float) -> NDArray[np.float64]:
    """The beginning of a trace that is sped up to a mean rate."""
    faster = arrivals * (1e3 * len(arrivals) / arrivals[-1] / rate)
    return faster[faster < 1e3 * seconds]


def _alone(folder: Path, variants: Sequence[Servable]) -> Path:
    """A folder that serves some of a front's variants."""
    place = folder / ("only-" + "-".join(variant.name for variant in variants))
    place.mkdir(exist_ok=True)
    for variant in variants:
        with contextlib.suppress(FileExistsError):
            (place / variant.name).symlink_to(folder / variant.name)
    write_table(place, variants)
    return place


def all_real(folder: Path, arrivals: NDArray[np.float64], seconds: float) -> Figures:
    """Every figure of this module."""
    parts: list[Any] = [
        lambda: router_alone(folder, arrivals, seconds),
        lambda: over_http(folder, arrivals, seconds),
        lambda: killed(folder),
        lambda: bad_inputs(folder),
    ]
    figures: Figures = {}
    for part in parts:
        found = part()
        for name, value in found.items():
            print(f"{name:28}{value:>12.4f}", flush=True)
        figures |= found
    return figures
