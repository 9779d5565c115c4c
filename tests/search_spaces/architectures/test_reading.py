from __future__ import annotations

import copy
import json
from dataclasses import dataclass

import pytest

from raysearch.search_spaces.architectures.reading import Recording, read_part

CONFIG = {"width": 8, "block": {"kind": "conv", "kernel": 3}, "extra": {"rate": 0.1}}
ALL = {("width",), ("block",), ("extra",)}


@dataclass
class Plan:
    width: int
    block: dict
    extra: dict


@pytest.mark.parametrize(
    ("read", "paths"),
    [
        (lambda a: a["width"], {("width",)}),
        (lambda a: a.get("width"), {("width",)}),
        (lambda a: a.get("depth", 3), {("depth",)}),
        (lambda a: "width" in a, {("width",)}),
        (lambda a: a["block"]["kernel"], {("block",), ("block", "kernel")}),
        (lambda a: a.pop("width"), {("width",)}),
        (lambda a: a.setdefault("width", 1), {("width",)}),
        (list, ALL),
        (lambda a: [*a.keys()], ALL),
        (lambda a: Plan(**a), ALL),
        (lambda a: {**a}, ALL),
        (dict, ALL),
        (lambda a: a.copy(), ALL),
        (lambda a: a | {"depth": 1}, ALL),
        (lambda a: {"depth": 1} | a, ALL),
        (lambda a: dict(a.items()), ALL),
        (lambda a: a["block"].values(), {("block",), ("block", "kind"), ("block", "kernel")}),
    ],
)
def test_what_is_read_is_noted(read, paths):
    found = set()
    read(Recording(CONFIG, found))
    assert found == paths


@pytest.mark.parametrize("whole", [json.dumps, copy.deepcopy, copy.copy])
def test_what_takes_it_whole_has_read_it(whole):
    found = set()
    whole(Recording(CONFIG, found))
    assert found >= ALL


def test_it_is_a_dict_and_shows_itself_without_being_read():
    found = set()
    recording = Recording(CONFIG, found)
    assert isinstance(recording, dict)
    assert repr(recording) == repr(CONFIG)
    assert not found
    match recording:
        case {"width": 8, "block": {"kind": kind}}:
            assert kind == "conv"
    assert found == {("width",), ("block",), ("block", "kind")}


def test_what_was_read_is_kept():
    config = {"block": {"one_of": "conv", "conv": {"kind": "conv", "kernel": 3}, "pool": {}}, "width": 8}
    kept = {"block": {"one_of": "conv", "conv": {"kernel": 3}}}
    assert read_part(config, {("block",), ("block", "kernel")}) == kept
    assert read_part(config, {("width",)}) == {"width": 8}
    assert read_part({"a": config["block"]}, {("a",)}) == {
        "a": {"one_of": "conv", "conv": {"kind": "conv", "kernel": 3}}
    }
    assert read_part({"a": {"b": 1}, "c": 2}, {("a",)}) == {"a": {"b": 1}}
    assert read_part({"a": {"one_of": "none", "none": None}}, {("a",)}) == {
        "a": {"one_of": "none", "none": None}
    }
