from __future__ import annotations

import pytest

from raysearch.basics.spelling import did_you_mean, nearest

WORDS = ("accuracy", "size_mb", "latency_ms/onnxruntime-cpu", "macs")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("acuracy", "accuracy"),
        ("size", "size_mb"),  # it begins it
        ("latency_ms", "latency_ms/onnxruntime-cpu"),
        ("la", None),  # two letters begin too much
        ("temperature", None),
    ],
)
def test_the_nearest_word(word: str, expected: str | None) -> None:
    assert nearest(word, WORDS) == expected


def test_the_sentence_names_the_nearest_and_all_that_is_known() -> None:
    assert did_you_mean("max", ("macs", "size")) == "did you mean 'macs'? (known: macs, size)"
    assert did_you_mean("qqq", ("macs",)) == "known: macs"
    assert did_you_mean("qqq", ()) == "known: none"


def test_of_a_long_list_the_rest_is_counted() -> None:
    words = [f"w{i:03d}" for i in range(30)]
    assert did_you_mean("qqq", words).endswith("w023 and 6 more")
