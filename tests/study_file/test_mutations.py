"""Whatever is wrong with a study file is told in a sentence: small changes of a valid one, at random."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.basics.failures import UserError
from raysearch.study import study_of
from raysearch.study_file.schema import parse
from raysearch.study_file.yaml_text import parse_yaml
from raysearch.sweeps.sweep import plan_of

STUDY = yaml.safe_load("""
task: {name: digits, seed: 0}
parent:
  architecture:
    {family: resnet, stages: 1, stem: {width: 8}, stage1: {depth: 1, width: 8, kernel: 3, block: basic}}
  training: {lr: 0.003, batch_size: 64}
space:
  architecture: {resnet: {stages: 1, depth: [1, 2], width: [8, 16]}}
  pruning: {channel_pruning: {max_ratio: 0.8, multiple: 4, criterion: [magnitude, random]}}
  bits: {bit_widths: {weights: [2, 8, 32], activations: [8, 32]}}
  teacher: {teachers: {names: [parent, null], temperature: [1, 8], weight: 0.5}}
  training: {lr: {loguniform: [0.0001, 0.01]}, batch_size: {choice: [32, 64]}, weight_decay: 0.01}
objectives: [maximize accuracy, minimize latency_ms/onnxruntime-cpu, minimize size_mb]
constraints: [accuracy >= parent - 0.02, size_mb <= 0.5 parent]
targets: [onnxruntime-cpu]
search:
  num_trials: 8
  epochs: 3
  searcher: {name: nsga2, population: 8}
  scheduler: {name: successive_halving, eta: 3.0}
  grace: 1
  seed: 0
  max_minutes: 10
  resources: {cpu: 1, gpu: 0}
  workers: 1
  evaluate_first: [{bits: {stem: {weights: 8, activations: 8}}, training: {lr: 0.001}}]
sweep: {parts: [stage1], ratios: [0.0, 0.2, 0.4, 0.6], multiple: 4}
""")  # fmt: skip

ODD = st.one_of(
    st.sampled_from(
        [None, True, "", "abc", "é", 0, -1, 1.5, 1e300, 10**30, float("nan"), float("inf"), [], {}]
    ),
    st.sampled_from(
        [[1], [None], ["a", 1], {"a": 1}, {"choice": []}, {"uniform": [1, 0]}, {"name": "x"}, [[]]]
    ),
    st.integers(-3, 100),
    st.floats(),
    st.text(max_size=4),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The study with one to three values replaced, left out, given twice or put under another key."""
    document = copy.deepcopy(STUDY)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(places(document))))
        place = document
        for key in way:
            place = place[key]
        change = draw(st.sampled_from(["replace", "replace", "drop", "rename", "wrap"]))
        if change == "replace":
            place[last] = copy.deepcopy(draw(ODD))
        elif change == "wrap":
            place[last] = draw(st.sampled_from([[place[last]], {"a": place[last]}, [place[last]] * 2]))
        elif change == "drop" or isinstance(place, list):
            del place[last]
        else:
            place[draw(st.one_of(st.text(max_size=3), st.just("stage9"), st.just("0")))] = place.pop(last)
        if not list(places(document)):
            break
    return document


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mistake_is_told_by_the_parser(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    with contextlib.suppress(UserError):
        parse(parse_yaml(text, "study.yaml"))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mistake_is_told_before_any_work(document: dict[str, Any]) -> None:
    with contextlib.suppress(UserError):
        file = parse(document)
        study_of(file)
        plan_of(file)


def test_the_study_that_is_changed_is_valid() -> None:
    assert study_of(parse(copy.deepcopy(STUDY))).epochs == 3
