"""The application over its ASGI interface, without a server."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from served import ask, asked, expected, network_file, servables

from raysearch.basics.failures import UserError
from raysearch.serving import Router, Servable
from raysearch.serving.counts import Counts
from raysearch.serving.http import application as application_module
from raysearch.serving.http import bodies as bodies_module
from raysearch.serving.http.application import Application
from raysearch.serving.inputs import parse
from raysearch.serving.variants import Loaded

BODY = json.dumps({"inputs": [1, 2, 3, 4], "label": 2}).encode()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    with Router(servables(tmp_path), slo_ms=20_000.0) as made:
        yield made


def error(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["error"]


def test_a_prediction_names_variant_and_time(router: Router) -> None:
    for parts in (1, 3):
        status, headers, body = ask(Application(router), "/predict", BODY, parts=parts)
        document = json.loads(body)
        assert (status, document["variant"], document["in_time"]) == (200, "v3", True)
        assert document["outputs"] == pytest.approx(expected([1, 2, 3, 4], 3).tolist())
        assert (headers["x-variant"], document["ms"] > 0) == ("v3", True)
    counts = router.counts()
    assert (counts.labelled, counts.right) == (2, 2)


def test_npy_with_a_label(router: Router) -> None:
    file = io.BytesIO()
    np.save(file, np.ones(4, np.float32))
    kind, label = "application/x-npy", {"x-label": "0"}
    answer = ask(Application(router), "/predict", file.getvalue(), kind, headers=label)
    assert answer[0] == 200
    assert (router.counts().labelled, router.counts().right) == (1, 0)


def test_time_counts_from_when_the_body_is_there(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*given: Any) -> Any:
        time.sleep(0.2)
        return parse(*given)

    monkeypatch.setattr(application_module, "parse", slow)
    router.change(slo_ms=200.0)
    status, _, body = ask(Application(router), "/predict", BODY)
    assert status == 503 or json.loads(body)["ms"] >= 200
    assert router.counts().in_time == 0


def test_a_busy_loop_s_lateness_counts_against_the_deadline(router: Router) -> None:
    application = Application(router)
    application._lateness.before_ms = 30_000.0  # more than the limit of 20,000
    assert ask(application, "/predict", BODY)[0] == 503


def test_bad_requests_get_an_error_each(router: Router) -> None:
    application = Application(router)
    assert error(ask(application, "/predict", b"{"))[0] == 400
    assert error(ask(application, "/predict", b" " * 10_000))[0] == 413
    assert error(ask(application, "/predict", b" " * 10_000, headers={"content-length": "10"}))[0] == 413
    assert error(ask(application, "/predict", BODY, headers={"content-length": "-1"}))[0] == 413
    assert router.counts().bad == 4
    assert error(ask(application, "/other"))[0] == 404
    status, headers, _ = ask(application, "/predict")
    assert (status, headers["allow"]) == (405, "POST")


def test_labels_that_are_no_class_are_let_be(router: Router) -> None:
    for label in ("9" * 5000, "-1", "cat", ""):
        assert ask(Application(router), "/predict", BODY, headers={"x-label": label})[0] == 200
    assert router.counts().labelled == 0


def test_outputs_that_json_does_not_know_are_null(tmp_path: Path) -> None:
    file = network_file(
        tmp_path / "log.onnx",
        [helper.make_node("Log", ["x"], ["y"])],
        (TensorProto.FLOAT, ["batch", 4]),
        ["batch", 4],
    )
    with Router([Servable("größe\r\n→1 100%", file, 0.5)], slo_ms=20_000.0) as router:
        _, headers, body = ask(Application(router), "/predict", b'{"inputs": [1, 0, -1, 1]}')
    said = json.loads(body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said["outputs"] == [0.0, None, None, 0.0]
    assert said["variant"] == "größe\r\n→1 100%"
    assert headers["x-variant"] == "gr%C3%B6%C3%9Fe%0D%0A%E2%86%921 100%25"


def test_slow_senders_are_given_up(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies_module, "_PATIENCE_S", 0.05)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/predict", "method": "POST", "headers": [], "query_string": b""}
    asyncio.run(Application(router)(scope, receive, send))
    assert sent[0]["status"] == 408


def test_too_late_is_503_with_retry_after(router: Router) -> None:
    application = Application(router)
    assert ask(application, "/limits", b'{"slo_ms": 0.001}')[0] == 200
    status, headers, body = ask(application, "/predict", BODY)
    assert (status, headers["retry-after"]) == (503, "1")
    assert "fastest" in json.loads(body)["error"]


def test_limits_are_told_and_changed(router: Router) -> None:
    application = Application(router)
    told = json.loads(ask(application, "/limits")[2])
    assert (told["slo_ms"], [v["name"] for v in told["variants"]]) == (20_000.0, ["v1", "v2", "v3"])
    changed = json.loads(ask(application, "/limits", b'{"slo_ms": 30000, "reserve": 0.1}')[2])
    assert (changed["slo_ms"], changed["reserve"], router.limits.slo_ms) == (30_000, 0.1, 30_000)
    huge = b'{"slo_ms": 1' + b"0" * 400 + b"}"
    for body in (huge, b'{"rule": ["a"]}', b'{"rule": null}', b'{"rule": 5}'):
        assert error(ask(application, "/limits", body))[0] == 400
    for body in (b'{"slo": 1}', b"[]", b"{", b'{"slo_ms": "x"}', b'{"slo_ms": NaN}', b'{"self": 1}'):
        assert error(ask(application, "/limits", body))[0] == 400
    assert error(ask(application, "/limits", b"{}", "text/plain"))[0] == 415
    assert error(ask(application, "/limits", b"{" + b" " * 10_000))[0] == 413
    assert router.limits.slo_ms == 30_000


def test_a_token_is_asked_for(router: Router) -> None:
    application = Application(router, token="secret")
    for path, body in (("/predict", BODY), ("/limits", b""), ("/metrics", b""), ("/", b""), ("/events", b"")):
        assert ask(application, path, body)[0] == 401
        assert ask(application, path, body, headers={"authorization": "Bearer other"})[0] == 401
    assert ask(application, "/healthz")[0] == 200
    assert ask(application, "/predict", BODY, headers={"authorization": "Bearer secret"})[0] == 200
    assert ask(application, "/", query="token=secret")[0] == 200
    assert ask(application, "/limits", query="token=secret")[0] == 401
    assert ask(application, "/predict", BODY, headers={"authorization": "Bearer sécret"})[0] == 401
    other = Application(router, token="sécret→")
    assert ask(other, "/limits", headers={"authorization": "Bearer sécret→"})[0] == 200
    assert ask(other, "/", query="token=s%C3%A9cret%E2%86%92")[0] == 200


def test_metrics_and_page(router: Router) -> None:
    application = Application(router)
    ask(application, "/predict", BODY)
    status, headers, body = ask(application, "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"raysearch_right_total 1" in body
    status, headers, body = ask(application, "/")
    assert status == 200
    assert b"EventSource" in body
    assert b"http://" not in body.replace(b"http://www.w3.org", b"")  # it asks nobody else
    assert "default-src 'self'" in headers["content-security-policy"]


def test_an_event_ends_its_stream(router: Router) -> None:
    status, headers, body = ask(Application(router), "/events")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    retry, data, end = body.decode().split("\n", 2)
    assert (retry, end) == ("retry: 500", "\n")
    event = json.loads(data.removeprefix("data: "))
    assert event["limits"]["rule"] == "plan"
    assert event["counts"]["requests"] == 0
    assert len(event["variants"]) == 3


def test_changes_go_to_all_replicas_and_one_that_cannot_is_told(router: Router) -> None:
    told: list[Any] = []

    class Others:
        async def change(self, changes: Any) -> None:
            told.append(changes)
            if "max_memory_mb" in changes:
                raise UserError("replica 2 has no room")

        async def counts(self) -> Counts:
            return Counts()

    application = Application(router, board=Others())
    assert ask(application, "/limits", b'{"slo_ms": 5}')[0] == 200
    assert error(ask(application, "/limits", b'{"max_memory_mb": 5}')) == (400, "replica 2 has no room")
    assert error(ask(application, "/limits", b'{"slo_ms": 0}'))[0] == 400
    assert told == [{"slo_ms": 5}, {"max_memory_mb": 5}]
    assert router.limits.slo_ms == 20_000  # it follows as the others do


def test_a_sender_that_leaves_is_served_no_more(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    run, ran = Loaded.run, list[int]()

    def slow(self: Loaded, feeds: Any) -> Any:
        ran.append(len(feeds))
        time.sleep(0.05)
        return run(self, feeds)

    monkeypatch.setattr(Loaded, "run", slow)

    async def play() -> None:
        application = Application(router)
        asking = [asyncio.create_task(asked(application, "/predict", BODY)) for _ in range(20)]
        await asyncio.sleep(0.02)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    asyncio.run(play())
    router.close()
    assert sum(ran) < 20
    assert router.counts().given_up == 20 - sum(ran)
