"""The router, with real sessions: right replies, deadlines, limits that change, another front."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from served import expected, front_folder, network_file, onnx_file, servables

from raysearch.basics.failures import MissingFile, UserError
from raysearch.serving import Reply, Router, Servable, TooLate
from raysearch.serving import hall as hall_module
from raysearch.serving.inputs import BadInput, checked
from raysearch.serving.variants import Loaded, load

X = np.arange(4, dtype=np.float32)
PATIENT = 20_000.0  # ms: whatever else the machine does


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    with Router(servables(tmp_path), slo_ms=PATIENT) as made:
        yield made


def number(name: str) -> int:
    return int(name.removeprefix("v"))


def test_an_idle_router_gives_the_most_accurate_variant_s_outputs(router: Router) -> None:
    reply = router.predict(X)
    assert (reply.variant, reply.in_time) == ("v3", True)
    assert reply.outputs[0] == pytest.approx(expected(X, 3))
    assert 0 < reply.ms < PATIENT
    counts = router.counts()
    assert (counts.requests, counts.in_time, dict(counts.used)) == (1, 1, {"v3": 1})


def test_replies_are_those_of_the_variant_that_they_name_whatever_the_batch(router: Router) -> None:
    inputs = [X + n for n in range(200)]
    answers = [router.submit(checked(x, router.hall.ports)) for x in inputs]
    for x, answer in zip(inputs, answers, strict=True):
        reply = answer.result()
        assert reply.outputs[0] == pytest.approx(expected(x, number(reply.variant)), rel=1e-4)
    assert router.counts().requests == 200


def test_what_cannot_be_in_time_is_told_when_to_come_again(tmp_path: Path) -> None:
    with Router(servables(tmp_path), slo_ms=1e-3) as router:
        with pytest.raises(TooLate, match="not even the fastest") as refused:
            router.predict(X)
        assert refused.value.retry_after_s > 0
        counts = router.counts()
        assert (counts.refused + counts.given_up, counts.attained) == (1, 0.0)


def test_limits_change_from_the_next_request_on(router: Router) -> None:
    assert router.change(slo_ms=1e-3).slo_ms == 1e-3
    with pytest.raises(TooLate):
        router.predict(X)
    router.change(slo_ms=PATIENT, rule="static")
    assert router.predict(X).variant == "v3"
    for wrong in ({"slo": 3}, {"slo_ms": 0}, {"slo_ms": "fast"}, {"reserve": 1}, {"rule": "best"}):
        with pytest.raises(UserError):
            router.change(**wrong)
    assert router.limits.slo_ms == PATIENT


def test_memory_holds_the_smallest_models(tmp_path: Path) -> None:
    variants = [Servable(f"v{n}", onnx_file(tmp_path / f"v{n}" / "model.onnx", n, size=4), n) for n in (1, 2)]
    with Router(variants, slo_ms=PATIENT) as router:
        held = [one.memory_mb for one in router.hall.loaded]
        assert all(memory >= 0.2 for memory in held)  # a file of 256 x 256 floats
        router.change(max_memory_mb=max(held) * 1.01)
        assert len(router.hall.loaded) == 1
        assert router.predict(X).variant == router.hall.loaded[0].variant.name
        router.change(max_memory_mb=None)
        assert len(router.hall.loaded) == 2
        with pytest.raises(UserError, match="the smallest model"):
            router.change(max_memory_mb=0.01)
        assert len(router.hall.loaded) == 2


def test_a_model_that_cannot_fit_is_not_even_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = servables(tmp_path, (1, 2))
    model = onnx.load(large.file)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1000, 5000), np.float32), "unused"))
    onnx.save(model, large.file)
    opened: list[str] = []

    def seen(variant: Servable) -> Loaded:
        opened.append(variant.name)
        return load(variant)

    monkeypatch.setattr(hall_module, "load", seen)
    with Router([small, large], slo_ms=PATIENT, max_memory_mb=19.0) as router:
        assert [one.variant for one in router.hall.loaded] == [small]
    with pytest.raises(UserError, match=r"the smallest model, v2, holds 20\.\d MB"):
        Router([large], max_memory_mb=19.0)
    assert opened == ["v1"]


def test_another_front_follows_without_a_lost_request(tmp_path: Path) -> None:
    before, after = front_folder(tmp_path / "a", (1, 2)), front_folder(tmp_path / "b", (7, 8))
    with Router(before, slo_ms=PATIENT) as router:
        seen: list[str] = []
        ending = threading.Event()

        def ask() -> None:
            while not ending.is_set():
                reply = router.predict(X)
                assert reply.outputs[0] == pytest.approx(expected(X, number(reply.variant)))
                seen.append(reply.variant)

        asking = threading.Thread(target=ask)
        asking.start()
        router.update(after)
        while seen[-1:] != ["v8"]:
            time.sleep(0.001)
        ending.set()
        asking.join()
        assert set(seen) <= {"v1", "v2", "v7", "v8"}
        assert router.counts().requests == len(seen) == router.counts().in_time
        with pytest.raises(UserError, match=r"takes x0 \(float32 of shape \(5\)\)"):
            router.update(front_folder(tmp_path / "c", (1,), size=5))
        assert router.predict(X).variant == "v8"


def test_bad_input_and_bad_fronts_are_refused(router: Router, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"float32 of shape \(4\)"):
        router.predict(np.zeros(5))
    with pytest.raises(MissingFile):
        Router([Servable("gone", tmp_path / "gone.onnx", 0.5)])
    with pytest.raises(UserError, match="holds no variant"):
        Router([])
    with pytest.raises(UserError, match="not known"):
        Router([Servable("v1", tmp_path / "v1" / "model.onnx", float("nan"))])
    torn = tmp_path / "torn.onnx"
    torn.write_bytes((tmp_path / "v1" / "model.onnx").read_bytes()[:500])
    with pytest.raises(UserError, match="cut off"):
        Router([Servable("torn", torn, 0.5)])
    other = onnx_file(tmp_path / "other.onnx", 1, size=5)
    with pytest.raises(UserError, match="take the same inputs"):
        Router([Servable("v1", tmp_path / "v1" / "model.onnx", 0.5), Servable("other", other, 0.6)])


def test_several_inputs(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "two.onnx", 5, inputs=2)
    with Router([Servable("v5", file, 0.5)], slo_ms=PATIENT) as router:
        assert router.predict({"x0": X, "x1": X}).outputs[0] == pytest.approx(expected(2 * X, 5))
        with pytest.raises(BadInput, match="the network has x0, x1"):
            router.predict(X)


def test_a_closed_router_answers_those_that_wait_and_no_more(tmp_path: Path) -> None:
    router = Router(servables(tmp_path), slo_ms=PATIENT)
    answers = [router.submit(checked(X, router.hall.ports)) for _ in range(20)]
    router.close()
    assert all(answer.result().in_time for answer in answers)
    with pytest.raises(TooLate, match="shutting down"):
        router.predict(X)
    with pytest.raises(RuntimeError, match="ended"):
        router.check_alive()


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Have inferences take longer; the sizes of their batches."""
    run, sizes = Loaded.run, list[int]()

    def slow(self: Loaded, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[tuple[NDArray[Any], ...]]:
        sizes.append(len(feeds))
        time.sleep(seconds)
        return run(self, feeds)

    monkeypatch.setattr(Loaded, "run", slow)
    return sizes


def test_what_comes_while_it_closes_is_refused_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Router(servables(tmp_path), slo_ms=PATIENT)
    slowed(monkeypatch, 0.02)
    feed = checked(X, router.hall.ports)
    before = [router.submit(feed) for _ in range(20)]
    router.change(slo_ms=PATIENT / 2)  # what comes now would be served first
    closing = threading.Thread(target=router.close)
    closing.start()
    while not router._closing:
        time.sleep(0.001)
    with pytest.raises(TooLate, match="shutting down"):
        router.submit(feed).result(timeout=10)
    closing.join()
    assert all(answer.result(timeout=1).in_time for answer in before)


def test_what_nobody_waits_for_any_more_is_not_run(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = slowed(monkeypatch, 0.05)
    answers = [router.submit(checked(X, router.hall.ports)) for _ in range(20)]
    while not sizes:
        time.sleep(0.001)
    assert all(answer.cancel() for answer in answers)
    router.close()
    assert sum(sizes) < 20
    assert router.counts().given_up == 20 - sum(sizes)


def in_batches(
    monkeypatch: pytest.MonkeyPatch, variant: Servable, feeds: Sequence[dict[str, NDArray[Any]]]
) -> tuple[list[Future[Reply]], list[int], int]:
    """Answers to examples that wait together behind the first, the sizes of batches, and how many failed."""
    monkeypatch.setattr(hall_module, "measure", _gaining)
    with Router([variant], slo_ms=PATIENT) as router:
        sizes = slowed(monkeypatch, 0.1)
        answers = [router.submit(feed) for feed in feeds]
        router.close()
        return answers, sizes, router.counts().failed


def _gaining(loaded: Sequence[Loaded]) -> list[dict[int, float]]:
    sizes = (1, 2, 4, 8) if all(one.open_batch for one in loaded) else (1,)
    return [dict.fromkeys(sizes, 1.0) for _ in loaded]


def test_one_that_the_network_cannot_run_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word beyond the vocabulary among eight others."""
    file = network_file(
        tmp_path / "words.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        (TensorProto.INT64, ["batch", 2]),
        ["batch", 2],
        {"table": np.arange(10, dtype=np.float32)},
    )
    feeds = [{"x": np.array([[1, 99 if n == 5 else n]])} for n in range(9)]
    answers, sizes, failed = in_batches(monkeypatch, Servable("words", file, 0.5), feeds)
    assert max(sizes) > 1
    assert [n for n, answer in enumerate(answers) if answer.exception()] == [5]
    assert [a.result().outputs[0].tolist() for a in answers[6:]] == [[1.0, 6.0], [1.0, 7.0], [1.0, 8.0]]
    assert failed == 1


def test_examples_of_several_lengths_are_run_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = network_file(
        tmp_path / "sum.onnx",
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        (TensorProto.FLOAT, ["batch", "length"]),
        ["batch", 1],
        {"axis": np.array([1])},
    )
    feeds = [{"x": np.ones((1, 3 + n % 5), np.float32)} for n in range(9)]
    answers, sizes, failed = in_batches(monkeypatch, Servable("sum", file, 0.5), feeds)
    assert [answer.result().outputs[0].tolist() for answer in answers] == [[3.0 + n % 5] for n in range(9)]
    assert (set(sizes), failed) == ({1}, 0)


def test_several_threads_ask_several_workers(tmp_path: Path) -> None:
    with Router(servables(tmp_path), slo_ms=PATIENT, workers=2) as router:
        wrong: list[object] = []

        def ask(first: int) -> None:
            for n in range(first, first + 50):
                reply = router.predict(X + n)
                if not np.allclose(reply.outputs[0], expected(X + n, number(reply.variant)), rtol=1e-4):
                    wrong.append(reply)

        threads = [threading.Thread(target=ask, args=(100 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert router.counts().in_time == 200
