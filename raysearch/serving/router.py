"""The rule in a program of one's own: sessions of all variants, a queue, and threads that serve it. No Ray.

router = Router("runs/digits", slo_ms=20)
reply = router.predict(image)      # the outputs, the variant that made them, and the time that it took
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.record.results import RunResult
from raysearch.serving.counts import Counts
from raysearch.serving.hall import Hall, named, open_hall
from raysearch.serving.inputs import Feed, checked
from raysearch.serving.limits import Limits
from raysearch.serving.station import Station
from raysearch.serving.variants import Front, Loaded, Servable, read_front
from raysearch.storage import Place


class TooLate(RuntimeError):
    """Not even the fastest variant would answer, or would have answered, in time.

    Attributes:
        retry_after_s: when it is worth while to ask again.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        outputs: of the network, without the batch's axis.
        variant: the name of the one that made them.
        ms: from the request's arrival to its answer.
        in_time: whether that is within the limit.
    """

    outputs: tuple[NDArray[Any], ...]
    variant: str
    ms: float
    in_time: bool


@dataclass(eq=False)
class _Request:
    feed: Feed
    arrived: float
    slo_ms: float
    answer: Future[Reply] = field(default_factory=Future)


class Router:
    """Serves a front: for each request the most accurate variant with which all that wait are in time.

    Args:
        front: a run folder, an exported one, a result, or ``Servable`` variants.
        slo_ms: how long after its arrival a request is to be answered, in milliseconds.
        workers: threads that serve at once, one inference each.
        **limits: see ``Limits``.

    Raises:
        UserError: nothing can be served; the variants' inputs differ; a limit is out of its range.
    """

    def __init__(
        self,
        front: Front | RunResult | str | Place | Sequence[Servable],
        slo_ms: float = 20.0,
        *,
        workers: int = 1,
        **limits: Any,
    ) -> None:
        self._limits = Limits(slo_ms=slo_ms).changed(limits)
        self._hall = open_hall(read_front(front), self._limits)
        self._station: Station[_Request] = Station(self._limits.make(), self._hall.costs, workers)
        self._counts = Counts()
        self._last: dict[int, str] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._reopening = threading.Lock()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"raysearch-serving-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def limits(self) -> Limits:
        """What it keeps to."""
        return self._limits

    @property
    def hall(self) -> Hall:
        """What serves now."""
        return self._hall

    def counts(self) -> Counts:
        """What it has done so far, as a copy."""
        with self._lock:
            return replace(
                self._counts,
                used=self._counts.used.copy(),
                taken=self._counts.taken.copy(),
                waiting=len(self._station),
            )

    def predict(self, inputs: Any) -> Reply:
        """Answer one example.

        Args:
            inputs: an array, with or without a batch axis of 1; of several inputs a mapping by name.

        Raises:
            BadInput: it is no input of the network.
            TooLate: not even the fastest variant would answer in time.
        """
        return self.submit(checked(inputs, self._hall.ports)).result()

    def submit(self, feed: Feed, waited_ms: float = 0.0, after_ms: float = 0.0) -> Future[Reply]:
        """Queue an example that was checked (see ``inputs.parse``); the answer, or ``TooLate``, follows.

        Whoever cancels the answer takes the example out of the queue.

        Args:
            feed: a batch of one.
            waited_ms: how long ago it arrived.
            after_ms: how long its answer will take to whoever waits for it, once it is there.
        """
        now = _now()
        with self._lock:
            request = _Request(feed, now - waited_ms, self._limits.slo_ms)
            refusal = self._refusal(now, request, after_ms)
            if refusal is None:
                self._changed.notify()
            else:
                self._counts.refused += 1
        if refusal is None:
            request.answer.add_done_callback(lambda answer: self._left(request, answer))
        else:
            request.answer.set_exception(refusal)
        return request.answer

    def count(self, update: Callable[[Counts], None]) -> None:
        """Count what is seen outside: bad input, and labels."""
        with self._lock:
            update(self._counts)

    def change(self, /, **changes: Any) -> Limits:
        """Change limits from the next request on; see ``Limits``.

        Raises:
            UserError: a limit is unknown or out of its range, or not even the smallest model fits the memory.
        """
        with self._reopening:
            limits = self._limits.changed(changes)
            same = limits.max_memory_mb == self._limits.max_memory_mb
            self._enter(
                limits, self._hall if same else open_hall(self._hall.front, limits, self._hall.loaded)
            )
        return limits

    def update(self, front: Front | RunResult | str | Place | Sequence[Servable]) -> None:
        """Serve another front of the same task, from when its sessions are there; no request is lost.

        Raises:
            UserError: it cannot be served, or takes other inputs; then the old one goes on.
        """
        with self._reopening:
            hall = open_hall(read_front(front), self._limits)
            if hall.ports != self._hall.ports:
                raise UserError(
                    f"the new front takes {named(hall.ports)}, the one that is served"
                    f" {named(self._hall.ports)}: serve it by itself"
                )
            self._enter(self._limits, hall)

    def check_alive(self) -> None:
        """Raise RuntimeError where a thread that serves has ended."""
        if not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a thread that serves has ended")

    def close(self) -> None:
        """Let in no more, answer those that wait, and end."""
        with self._lock:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enter(self, limits: Limits, hall: Hall) -> None:
        with self._lock:
            self._limits, self._hall = limits, hall
            self._station.rule, self._station.costs = limits.make(), hall.costs

    def _refusal(self, now: float, request: _Request, after_ms: float) -> TooLate | None:
        """Let a request into the queue, or say why it is not."""
        if self._closing:
            return TooLate("the server is shutting down", 1.0)
        late = self._station.arrive(now, request, request.arrived + request.slo_ms - after_ms)
        if late is None:
            return None
        text = f"not even the fastest variant would be in time: {late:.1f} ms beyond {request.slo_ms:g} ms"
        return TooLate(text, late / 1e3)

    def _left(self, request: _Request, answer: Future[Reply]) -> None:
        if answer.cancelled():
            with self._lock:
                self._counts.given_up += self._station.leave(request)

    def _work(self, worker: int) -> None:
        while True:
            with self._changed:
                while not len(self._station):
                    if self._closing:
                        return
                    self._changed.wait()
                start = _now()
                hall, taken = self._hall, self._station.take(start, worker)
                self._counts.given_up += len(taken.expired)
            for request in taken.expired:
                text = f"not even the fastest variant could answer within {request.slo_ms:g} ms any more"
                _fail(request, TooLate(text, hall.costs.pace / 1e3))
            if taken.choice is None:
                continue
            served = self._serve(worker, hall.loaded[taken.choice.variant], taken.requests)
            with self._lock:
                self._station.done(worker)
                if served:  # what replies cost counts too: the next request waits for it
                    hall.costs.observe(taken.choice.variant, len(taken.requests), _now() - start)

    def _serve(self, worker: int, loaded: Loaded, requests: Sequence[_Request]) -> bool:
        """Answer a batch; says whether the network could run it as one."""
        try:
            outputs = loaded.run([request.feed for request in requests])
        except Exception as error:  # a runtime's own errors share no class, and the worker has to go on
            if len(requests) > 1:  # one that it cannot run is no reason to fail the others
                for request in requests:
                    self._serve(worker, loaded, [request])
                return False
            with self._lock:
                self._counts.failed += len(requests)
            for request in requests:
                _fail(request, error)
            return False
        end, name = _now(), loaded.variant.name
        replies = [
            Reply(output, name, end - request.arrived, end - request.arrived <= request.slo_ms)
            for request, output in zip(requests, outputs, strict=True)
        ]
        with self._lock:
            self._counts.switches += self._last.get(worker, name) != name
            self._last[worker] = name
            for reply in replies:
                self._counts.answered(name, reply.ms, reply.in_time, loaded.variant.quality)
        for request, reply in zip(requests, replies, strict=True):
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_result(reply)
        return True


def _fail(request: _Request, error: Exception) -> None:
    if request.answer.set_running_or_notify_cancel():
        request.answer.set_exception(error)


def _now() -> float:
    return 1e3 * time.perf_counter()
