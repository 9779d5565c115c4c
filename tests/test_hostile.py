"""Nothing in a run folder, a study, a checkpoint or a cache executes code, ends in a traceback, or leaves its folder."""

# ruff: noqa: E501
from __future__ import annotations

import ast
import copy
import json
import pickle
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_run import STUDY, make_events, write_run
from safetensors.torch import save_file
from sweep_events import events as sweep_events

from raysearch import load_variant
from raysearch.backends.exported import load_program
from raysearch.backends.inputs import example_of
from raysearch.basics.failures import UserError
from raysearch.basics.names import is_plain
from raysearch.record.repair import repair
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord
from raysearch.record.schema import Reader
from raysearch.reporting.cards import write_cards
from raysearch.reporting.html import render
from raysearch.study_file import allocation_file, build
from raysearch.sweeps.table import write_sweep
from raysearch.trainables.models.weights_file import read_weights

ROOT = Path(__file__).parents[1]
PACKAGE = [ROOT / name for name in ("raysearch", "backends", "trainables", "search_spaces")]
SCRIPT = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
VALUES: list[Any] = [
    None, True, -1, 10**400, 1e999, float("nan"), "", "x", "../x", "\0", "\ud800", SCRIPT, [], {}, [[]], {"a": {}},
    [1, "x"], {"../x": 1e999},
]  # fmt: skip


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def changed(value: Any, random_: random.Random) -> Any:
    """Plain data with one place, wherever it is, replaced, left out, or given another name."""
    places = list(_places(value))
    path = random_.choice(places)
    value = copy.deepcopy(value)
    *before, last = path
    inner = value
    for key in before:
        inner = inner[key]
    how = random_.random()
    if how < 0.7:
        inner[last] = random_.choice(VALUES)
    elif how < 0.85:
        del inner[last]
    elif isinstance(inner, dict):
        inner[random_.choice(["../x", SCRIPT, "x", "event"])] = inner.pop(last)
    return value


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def torn(content: bytes, random_: random.Random) -> bytes:
    """Bytes of which one is another, some are cut out, or some are zero."""
    at, size = random_.randrange(len(content)), random_.randrange(1, 200)
    how = random_.randrange(3)
    if how == 0:
        return content[:at] + bytes([random_.randrange(256)]) + content[at + 1 :]
    return content[:at] + (b"" if how == 1 else b"\0" * size) + content[at + size :]


def sentence_or_nothing(work: Callable[[], object]) -> bool:
    """Whether it works; where it does not, it says so in a sentence."""
    said = ""
    try:
        work()
    except UserError as error:
        said = str(error)
        return False
    finally:
        assert len(said.splitlines()) < 20
    return True


def test_no_reader_can_execute_what_it_reads() -> None:
    """No unpickling, no evaluation, no YAML with constructors, anywhere in the package."""
    bad = []
    for file in (f for folder in PACKAGE for f in folder.rglob("*.py")):
        for call in (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            unsafe = (
                name
                in (
                    "eval",
                    "exec",
                    "pickle.load",
                    "pickle.loads",
                    "joblib.load",
                    "yaml.unsafe_load",
                    "dill.load",
                )
                or (name == "torch.load" and given.get("weights_only") != "True")
                or (name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False")
                or (name == "torch.export.load" and not file.match("backends/exported.py"))
                or (name == "yaml.load" and given.get("Loader") != "_Loader")
            )
            # The contract of targets unpickles what it has pickled; a child process what its parent sends it.
            if unsafe and "testing" not in file.parts and not file.match("tpu/child.py"):
                bad.append(f"{file}:{call.lineno} {name}")
    assert not bad


def test_a_journal_of_any_line_is_read_or_refused(tmp_path: Path) -> None:
    events, random_ = make_events(4), random.Random(0)
    read, refused = 0, 0
    for i in range(250):
        lines = list(events)
        at = random_.randrange(len(lines))
        lines[at] = changed(lines[at], random_)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "journal.jsonl").write_bytes(text if i % 2 else torn(text, random_))

        def work(folder: Path = folder, draws: bool = i % 25 == 1) -> None:
            result = RunResult(folder)
            result.write_tables()
            assert repr(result) + result._repr_html_()
            assert all(is_plain(name) for name in result.record.trials)
            if draws:
                render(result)

        done = sentence_or_nothing(work)
        read, refused = read + done, refused + (not done)
    assert read > 20
    assert refused > 50


def test_what_was_repaired_is_read(tmp_path: Path) -> None:
    events, random_ = make_events(6), random.Random(1)
    text = "".join(json.dumps(event) + "\n" for event in events).encode()
    lost = []
    for i in range(60):
        folder = tmp_path / f"run{i}"
        folder.mkdir()
        content = torn(torn(text, random_), random_)
        (folder / "journal.jsonl").write_bytes(content)
        if content.partition(b"\n")[0] != text.partition(b"\n")[0]:
            with pytest.raises(UserError, match=r"line 1 .* nothing can be used without it"):
                repair(folder)
            continue
        found = repair(folder)
        record = RunRecord.load(folder)
        assert record.header
        if found:
            assert (found.backup / "journal.jsonl").read_bytes() == content[: content.rfind(b"\n") + 1]
            lost.append(len(found.dropped))
        assert repair(folder) is None
    assert len(lost) > 20


def test_a_study_file_of_any_content_is_read_or_refused(tmp_path: Path) -> None:
    random_ = random.Random(2)
    text = (ROOT / "tests" / "golden" / "run_of_0_1_0" / "study.yaml").read_bytes()
    file = tmp_path / "study.yaml"
    for _ in range(300):
        file.write_bytes(torn(text, random_))
        sentence_or_nothing(lambda: build.load(file))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [touch x]", "!!python/name:os.system", "!!python/module:os"]
)
def test_a_study_file_executes_nothing(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(f"task: {tag}\n")
    with pytest.raises(UserError, match="could not determine a constructor"):
        build.load(tmp_path / "study.yaml")
    assert not (tmp_path / "x").exists()


def test_an_allocation_file_of_any_content_is_read_or_refused(tmp_path: Path) -> None:
    random_ = random.Random(3)
    text = (
        b"curves:\n  accuracy: {kind: polynomial, coefficients: [90, -10]}\n  size_mb: {kind: polynomial, "
        b"coefficients: [4, -4]}\nnames: [a, b, c]\nfloor: 85\nimportances: [0.5, 0.3, 0.2]\n"
    )  # fmt: skip
    file = tmp_path / "budget.yaml"
    for _ in range(300):
        file.write_bytes(torn(text, random_))
        sentence_or_nothing(lambda: allocation_file.load(file))


def test_a_variant_of_any_spec_is_rebuilt_or_refused(tmp_path: Path) -> None:
    random_ = random.Random(4)
    spec = {
        "version": 2, "task": "digits", "inputs": {"shape": [1, 8, 8], "dtype": "float32"}, "varying": {},
        "classes": 10, "pruning": [["stem.conv", [0]]], "exclude": [], "weight_bits": 8, "unsigned_bits": 8,
        "architecture": {"family": "resnet", "stem": {"width": 4}, "stages": [{"depth": 1, "width": 4}]},
        "bits": {"stem": {"weights": 8, "activations": 8}}, "own_model": False, "own_architecture": False,
    }  # fmt: skip
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    for _ in range(60):
        (tmp_path / "spec.json").write_text(json.dumps(changed(spec, random_)))
        assert not sentence_or_nothing(lambda: load_variant(tmp_path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_of_any_bytes_are_read_or_refused(suffix: str, tmp_path: Path) -> None:
    random_, file = random.Random(5), tmp_path / f"weights{suffix}"
    weights = {"conv.weight": torch.zeros(3, 4), "conv.bias": torch.ones(3)}
    save_file(weights, file) if suffix == ".safetensors" else torch.save(weights, file)
    whole = file.read_bytes()
    for _ in range(100):
        file.write_bytes(torn(whole, random_))
        sentence_or_nothing(lambda: read_weights(file))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    made = tmp_path / "made"
    file = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(2), "x": Bomb(made)}, file)
    with pytest.raises(UserError):
        read_weights(file)
    with pytest.raises(pickle.UnpicklingError):  # as a trial reads its checkpoint
        torch.load(file, weights_only=True)
    np.savez(tmp_path / "data.npz", x=np.array([Bomb(made)], dtype=object), allow_pickle=True)
    with (
        np.load(tmp_path / "data.npz", allow_pickle=False) as archive,
        pytest.raises(ValueError, match="allow_pickle"),
    ):
        archive["x"]
    assert not made.exists()


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/b", "a\\b", "..", ".", "", "a\0", "CON", "nul.txt", "a.", " a", "a" * 101]
)
def test_names_that_are_no_files(name: str) -> None:
    assert not is_plain(name)
    line = {
        "event": "suggestion",
        "time": 1,
        "trial": name,
        "role": "trial",
        "config": {},
        "key": "k",
        "origin": "x",
    }
    with pytest.raises(UserError, match="has trial"):
        Reader(1)(json.dumps(line).encode(), "journal.jsonl line 3")


def hostile_events() -> list[dict[str, Any]]:
    """A journal whose every text is a script."""
    study = {
        **STUDY, "task": {"name": SCRIPT}, "parent": {"architecture": {"family": SCRIPT}, "training": {SCRIPT: 1}},
        "search": {**STUDY["search"], "searcher": {"name": SCRIPT}, "scheduler": SCRIPT},
        "space": {"training": {SCRIPT: {SCRIPT: [1, 2]}}},
    }  # fmt: skip
    events = make_events(12)
    for event in events:
        if event["event"] == "run":
            units = {"accuracy": SCRIPT, SCRIPT: SCRIPT}
            event |= {
                "study": study,
                "metrics": units,
                "software": {SCRIPT: SCRIPT},
                "machine": {SCRIPT: SCRIPT},
            }
        elif event["event"] == "suggestion":
            event |= {"origin": SCRIPT, "key": SCRIPT}
            event["config"] |= {"teacher": {"name": SCRIPT}, SCRIPT: SCRIPT}
            event["config"]["training"][SCRIPT] = SCRIPT
        elif event["event"] == "report":
            event["notes"] = [SCRIPT]
            event["values"] |= {SCRIPT: 1.0, f"test_{SCRIPT}": 1.0}
            for measured in event["measurements"]:
                measured |= dict.fromkeys(("runtime", "version", "device", "source"), SCRIPT)
        elif event["event"] == "end":
            event["reason"] = SCRIPT
    return events


def test_pages_and_cards_show_a_script_as_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", hostile_events())
    result = RunResult(folder)
    write_cards(result.record, folder)
    pages = [
        render(result),
        result._repr_html_(),
        *(f.read_text() for f in folder.glob("variants/*/README.md")),
    ]
    for page in pages:
        assert not re.search(r"<script>alert|<img src=x", page)
    assert "&lt;script&gt;alert" in pages[0]
    assert "&lt;script&gt;alert" in pages[-1]


def test_the_page_of_a_sweep_shows_a_script_as_text(tmp_path: Path) -> None:
    text = json.dumps(sweep_events()).replace('"left', json.dumps(SCRIPT)[:-1] + "left")
    folder = write_run(tmp_path / "run", json.loads(text))
    write_sweep(folder)
    assert not re.search(r"<script>alert|<img src=x", (folder / "sweep.html").read_text())


class Grown(torch.nn.Module):
    """A program with a size that varies, and a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2].flatten() + torch.arange(2 * x.shape[0])


@pytest.fixture
def program(tmp_path: Path) -> Path:
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(Grown(), (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "model.pt2")
    return tmp_path / "model.pt2"


def with_entry(program: Path, ending: str, change: Callable[[bytes], bytes]) -> None:
    """Rewrite the file with one of its entries changed."""
    with zipfile.ZipFile(program) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert sum(name.endswith(ending) for name in entries) == 1
    with zipfile.ZipFile(program, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith(ending) else content)


def test_an_exported_program_is_read(program: Path) -> None:
    assert load_program(program).module()(torch.ones(5, 4)).shape == (10,)
    assert example_of(program, 4)["x"].shape == (4, 4)


def test_an_exported_program_is_not_unpickled(program: Path, tmp_path: Path) -> None:
    made, bomb = tmp_path / "made", tmp_path / "bomb"
    torch.save({"x": Bomb(made)}, bomb)
    with_entry(program, "sample_inputs/model.pt", lambda _: bomb.read_bytes())
    with pytest.raises(UserError, match="is no exported program"):
        example_of(program, 4)
    assert not made.exists()
    torch.export.load(str(program))  # as torch itself reads it
    assert made.exists(), "it was a bomb"


def test_sizes_of_an_exported_program_are_not_evaluated(program: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    text = f"__import__('pathlib').Path('{made}').touch()"
    with_entry(
        program,
        "models/model.json",
        lambda found: re.sub(
            rb'"expr_str": "[^"]*"', lambda _: b'"expr_str": ' + json.dumps(text).encode(), found
        ),
    )
    with pytest.raises(UserError, match=r"has the size .__import__.*which is none: it could run code"):
        example_of(program, 4)
    assert not made.exists()
