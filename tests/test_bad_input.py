"""Bad and torn input, each with its sentence and exit code 2: journals, study files, variants, models."""

# ruff: noqa: E501  each line of a table is one case with its sentence
from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_run import STUDY, make_events
from typer.testing import CliRunner, Result

from raysearch import load_variant
from raysearch.basics.failures import UserError
from raysearch.cli.main import app
from raysearch.record.schema import MEND

Lines = list[bytes]
Change = Callable[[dict[str, Any]], object]
NAME = "give a trial's name of letters, digits, '.', '_', '+' and '-', at most 100 of them, and no device's name such as CON"
SPEC = Path(__file__).parent / "golden" / "run_of_0_1_0" / "variants" / "0002"
EVENTS = make_events(3)


def place(kind: str, **fields: Any) -> int:
    """The index of the first event that has these fields."""
    return next(
        i
        for i, e in enumerate(EVENTS)
        if e["event"] == kind and all(e.get(k) == v for k, v in fields.items())
    )


RUN, SESSION, SUGGESTION = 0, 1, place("suggestion", trial="0000")
REPORT, END = place("report", trial="0000", step=1), place("end", trial="0000")
MEASURED = place("report", trial="0000", step=0)


def written(events: list[dict[str, Any]]) -> Lines:
    return [json.dumps(event).encode() + b"\n" for event in events]


def event(index: int, change: Change) -> Callable[[Lines], None]:
    """One event changed as plain data."""

    def apply(lines: Lines) -> None:
        found = json.loads(lines[index])
        change(found)
        lines[index] = json.dumps(found).encode() + b"\n"

    return apply


def put(index: int, **fields: Any) -> tuple[int, Callable[[Lines], None]]:
    return index, event(index, lambda e: e.update(fields))


def without(index: int, name: str) -> tuple[int, Callable[[Lines], None]]:
    return index, event(index, lambda e: e.pop(name))


def raw(index: int, line: bytes) -> tuple[int, Callable[[Lines], None]]:
    return index, lambda lines: lines.__setitem__(index, line)


def study(**fields: Any) -> tuple[int, Callable[[Lines], None]]:
    return put(RUN, study={**STUDY, **fields})


def more(*events: dict[str, Any]) -> tuple[int, Callable[[Lines], None]]:
    """Events after the last."""
    times = [{"time": 1.8e9, **e} for e in events]
    return len(EVENTS) + len(events) - 1, lambda lines: lines.extend(written(times))


def report(**fields: Any) -> dict[str, Any]:
    return {"event": "report", "trial": "0000", "step": 99, "values": {}, "decision": "continue", **fields}


SUGGESTED = {"event": "suggestion", "trial": "0009", "role": "trial", "config": {}, "key": "k", "origin": "x"}
WAITING = (SUGGESTED, report(trial="0009", step=3))

JOURNALS: dict[str, tuple[tuple[int, Callable[[Lines], None]], str]] = {
    "no JSON": (raw(3, b"oops\n"), "is damaged: Expecting value at character 1"),
    "cut in the middle": (raw(3, b'{"event": "rep\n'), "is damaged: Unterminated string starting at character 11"),
    "NUL bytes": (raw(3, b"\0" * 4096 + b"\n"), "is damaged: it holds 4096 NUL bytes, as a power loss leaves them"),
    "NUL bytes before an event": (
        (3, lambda lines: lines.__setitem__(3, b"\0\0" + lines[3])),
        "is damaged: it holds 2 NUL bytes, as a power loss leaves them",
    ),
    "an empty line": (raw(3, b"\n"), "is damaged: Expecting value at character 1"),
    "no UTF-8": (raw(3, b'{"event": "\xff"}\n'), "is damaged: it is no text in UTF-8 (invalid start byte)"),
    "too deep": (raw(3, b"[" * 100_000 + b"\n"), "is damaged: it is nested too deeply"),
    "a huge number": (raw(3, b"9" * 5000 + b"\n"), "is damaged: it holds a number that is too long"),
    "two events in a line": (
        (3, lambda lines: lines.__setitem__(3, lines[3].strip() + lines[3])),
        "is damaged: Extra data at character {extra}",
    ),
    "a list": (raw(3, b"[1]\n"), "is no event: it has no field 'event'"),
    "a kind that is a number": (put(3, event=3), "is no event: it has no field 'event'"),
    "no time": (without(REPORT, "time"), "(report of 0000) has no time: give seconds since 1970"),
    "a time that is a text": (put(REPORT, time="now"), "(report of 0000) has time 'now': give seconds since 1970"),
    "an infinite time": (put(REPORT, time=1e999), "(report of 0000) has time inf: give seconds since 1970"),
    "no study": (without(RUN, "study"), "(run) has no study: give the study, a mapping"),
    "a study that is a list": (put(RUN, study=[]), "(run) has study []: give the study, a mapping"),
    "a version that is a text": (put(RUN, version="1"), "(run) has version '1': give a whole number from 1 on"),
    "metrics without a unit": (
        put(RUN, metrics={"accuracy": None}),
        "(run) has metrics {'accuracy': None}: give a unit for each metric",
    ),
    "no metric": (put(RUN, metrics={}), "(run) has metrics {}: give a unit for each metric, at least one"),
    "no objectives": (study(objectives=None), "(run) has study.objectives None: give a list of texts"),
    "no objective": (
        study(objectives=["accuracy"]),
        '(run) has study.objectives in which objective "accuracy" is not "maximize METRIC" or "minimize METRIC"',
    ),
    "a space that is a number": (study(space=3), "(run) has study.space 3: give a mapping"),
    "a screen that is a text": (
        study(search={"epochs": 2, "screen": "x"}),
        "(run) has study.search.screen 'x': give a whole number from 1 on",
    ),
    "workers that are a text": (
        put(SESSION, workers="many"),
        "(session) has workers 'many': give a whole number from 1 on, or null",
    ),
    "an infinite number of epochs": (
        study(search={"epochs": 1e999}),
        "(run) has study.search.epochs inf: give a whole number from 1 on",
    ),
    "a target out of the folder": (
        study(targets=["../x"]),
        "(run) has study.targets ['../x']: give a list of targets, their names of " + NAME.partition(" of ")[2],
    ),
    "a second beginning": (
        (5, lambda lines: lines.insert(5, lines[0])),
        "is a second beginning, the event 'run', which is the first line's",
    ),
    "an unknown action": (
        put(SESSION, action="pause"),
        "(session) has action 'pause': give one of start, resume, finish, interrupt, timeout, storage, error",
    ),
    "half a trial": (put(SESSION, num_trials=1.5), "(session) has num_trials 1.5: give a whole number, or null"),
    "endless minutes": (
        put(SESSION, max_minutes=1e999),
        "(session) has max_minutes inf: give minutes, or null",
    ),
    "an unknown role": (
        put(SUGGESTION, role="rival"),
        "(suggestion of 0000) has role 'rival': give one of reference, trial",
    ),
    "a config that is a text": (
        put(SUGGESTION, config="x"),
        "(suggestion of 0000) has config 'x': give a config, a mapping of its parts",
    ),
    "bits that are no numbers": (
        put(SUGGESTION, config={"bits": {"stem": {"weights": "x"}}}),
        "(suggestion of 0000) has config {'bits': {'stem': {'weights': 'x'}}}: give a config, a mapping of its parts",
    ),
    "no key": (without(SUGGESTION, "key"), "(suggestion of 0000) has no key: give a text"),
    "a path for a name": (put(SUGGESTION, trial="../../x"), f"(suggestion) has trial '../../x': {NAME}"),
    "an absolute name": (put(SUGGESTION, trial="/etc/passwd"), f"(suggestion) has trial '/etc/passwd': {NAME}"),
    "a name with NUL": (put(SUGGESTION, trial="a\0b"), f"(suggestion) has trial 'a\\x00b': {NAME}"),
    "a device for a name": (put(SUGGESTION, trial="CON"), f"(suggestion) has trial 'CON': {NAME}"),
    "a device's file for a name": (put(SUGGESTION, trial="nul.txt"), f"(suggestion) has trial 'nul.txt': {NAME}"),
    "an endless name": (put(SUGGESTION, trial="a" * 300), f"(suggestion) has trial '{'a' * 56}...: {NAME}"),
    "a name that is a number": (put(SUGGESTION, trial=7), f"(suggestion) has trial 7: {NAME}"),
    "a trial suggested twice": (more({**SUGGESTED, "trial": "0000"}), "suggests trial '0000' a second time"),
    "a step that is a text": (
        put(REPORT, step="one"),
        "(report of 0000) has step 'one': give a whole number from 0 on",
    ),
    "an infinite step": (put(REPORT, step=1e999), "(report of 0000) has step inf: give a whole number from 0 on"),
    "a step before the first": (put(REPORT, step=-1), "(report of 0000) has step -1: give a whole number from 0 on"),
    "a step that is true": (put(REPORT, step=True), "(report of 0000) has step True: give a whole number from 0 on"),
    "values that are a list": (put(REPORT, values=[1]), "(report of 0000) has values [1]: give a number for each metric"),
    "a value that is a text": (
        put(REPORT, values={"accuracy": "0.9"}),
        "(report of 0000) has values {'accuracy': '0.9'}: give a number for each metric",
    ),
    "an unknown decision": (
        put(REPORT, decision="wait"),
        "(report of 0000) has decision 'wait': give one of continue, stop, pause",
    ),
    "no decision": (
        without(REPORT, "decision"),
        "(report of 0000) has no decision: give one of continue, stop, pause",
    ),
    "notes that are a text": (put(REPORT, notes="x"), "(report of 0000) has notes 'x': give a list of texts"),
    "a prediction without models": (
        put(MEASURED, measurements=[{"target": "cpu", "interval": [1, 2]}]),
        "(report of 0000) has measurements [{'target': 'cpu', 'interval': [1, 2]}]: give a list of measurements, "
        "each with its target",
    ),
    "a measurement whose operators are a number": (
        put(MEASURED, measurements=[{"target": "cpu", "operators": 3}]),
        "(report of 0000) has measurements [{'target': 'cpu', 'operators': 3}]: give a list of measurements, each "
        "with its target",
    ),
    "a measurement without a target": (
        put(MEASURED, measurements=[{"noise": 0.1}]),
        "(report of 0000) has measurements [{'noise': 0.1}]: give a list of measurements, each with its target",
    ),
    "a noise that is a text": (
        put(MEASURED, measurements=[{"target": "cpu", "noise": "low"}]),
        "(report of 0000) has measurements [{'target': 'cpu', 'noise': 'low'}]: give a list of measurements, each "
        "with its target",
    ),
    "a report of nobody": (more(report(trial="0042")), "is a report of trial '0042' before its suggestion"),
    "a report after the end": (more(report()), "is a report of trial '0000', which has ended"),
    "a step that goes back": (
        more(*WAITING, report(trial="0009", step=2)),
        "is a report of trial '0009' at step 2, which reported step 3 before",
    ),
    "a step twice": (
        more(*WAITING, report(trial="0009", step=3)),
        "is a report of trial '0009' at step 3, which reported step 3 before",
    ),
    "a promotion of one that has ended": (
        more({"event": "promotion", "trial": "0000"}),
        "is a promotion of trial '0000', which has ended",
    ),
    "a promotion of one that goes on": (
        more(*WAITING, {"event": "promotion", "trial": "0009"}),
        "is a promotion of trial '0009', which does not wait",
    ),
    "an unknown outcome": (
        put(END, outcome="lost"),
        "(end of 0000) has outcome 'lost': give one of finished, stopped, failed",
    ),
    "an end twice": (
        more({"event": "end", "trial": "0000", "outcome": "failed"}),
        "is an end of trial '0000', which has ended",
    ),
    "a traceback out of the folder": (
        put(END, traceback="failures/../../x.txt"),
        "(end of 0000) has traceback 'failures/../../x.txt': give a file of the run's, failures/NAME.txt",
    ),
    "a traceback that is a script": (
        put(END, traceback="javascript:alert(1)"),
        "(end of 0000) has traceback 'javascript:alert(1)': give a file of the run's, failures/NAME.txt",
    ),
    "final figures before the end": (
        more(SUGGESTED, {"event": "final", "trial": "0009", "values": {}}),
        "gives final figures of trial '0009', which has not ended",
    ),
    "parts that are a number": (
        more({"event": "final", "trial": "0000", "values": {}, "parts": {"accuracy": 1}}),
        "(final of 0000) has parts {'accuracy': 1}: give a list of numbers for each metric",
    ),
}  # fmt: skip


def run_folder(place: Path, lines: Lines) -> Path:
    place.mkdir(exist_ok=True)
    (place / "journal.jsonl").write_bytes(b"".join(lines))
    return place


def told(*arguments: str) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("name", JOURNALS)
def test_a_bad_line_of_a_journal(name: str, tmp_path: Path) -> None:
    (index, apply), sentence = JOURNALS[name]
    lines = written(EVENTS)
    extra = len(lines[3])
    apply(lines)
    folder = run_folder(tmp_path / "run", lines)
    mend = MEND if index else ""
    expected = f"{folder}/journal.jsonl line {index + 1} {sentence.replace('{extra}', str(extra))}{mend}"
    for command in ("report", "resume"):
        done = told(command, str(folder))
        assert (done.exit_code, done.output.strip()) == (2, f"raysearch: {expected}")
    as_json = told("report", str(folder), "--json")
    assert (as_json.exit_code, json.loads(as_json.output)) == (2, {"error": expected})


NO_STUDY = (
    "holds a journal whose first line, the event 'run' with the study, is missing: put it back, or run the"
)
WHOLE = {
    "no journal": (lambda lines: None, "is not a run folder: it has no journal.jsonl"),
    "an empty journal": (
        lambda lines: lines.clear(),
        "holds an empty journal: nothing was started there, so run the study again",
    ),
    "only a torn line": (
        lambda lines: lines.__setitem__(slice(None), [b'{"event": "ru']),
        "holds an empty journal: nothing was started there, so run the study again",
    ),
    "a session before the run": (lambda lines: lines.pop(0), f"{NO_STUDY} study again in another folder"),
    "a later version": (
        event(RUN, lambda e: e.update(version=9, study=3)),
        "has version 9, this raysearch reads up to 1: upgrade it",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_journal_that_says_nothing(name: str, tmp_path: Path) -> None:
    change, sentence = WHOLE[name]
    lines = written(EVENTS)
    change(lines)
    folder = run_folder(tmp_path / "run", lines)
    if name == "no journal":
        (folder / "journal.jsonl").unlink()
    place = folder / "journal.jsonl" if "version" in name else folder
    for command in ("report", "resume"):
        done = told(command, str(folder))
        assert (done.exit_code, done.output.strip()) == (2, f"raysearch: {place} {sentence}")


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "with a byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "with CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "with a torn last line": lambda text: text + b'{"event": "session", "ti',
    "with NUL bytes at the end": lambda text: text + b"\0" * 4096,
    "with half a line and NUL bytes": lambda text: text + b'{"event"' + b"\0" * 100,
    "with what a later version adds": lambda text: (
        text + b'{"event": "weather", "time": 1.8e9, "sun": true}\n'
    ),
    "with half a pair of surrogates": lambda text: text.replace(b'"reason": ""', b'"reason": "\\ud800 "'),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_a_journal_that_are_read(name: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [FORMS[name](b"".join(written(EVENTS)))])
    done = told("report", str(folder), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["trials"] == {
        "finished": 3, "stopped": 0, "failed": 0, "waiting": 0, "unfinished": 0,
    } or sum(json.loads(done.output)["trials"].values()) == 3  # fmt: skip


STUDIES: dict[str, tuple[str, str]] = {
    "an empty file": ("", "study.yaml is empty"),
    "a list": ("- a\n", "study.yaml is not a mapping of keys"),
    "no YAML": ("task: [digits\n", "study.yaml is not YAML (line 2): expected ',' or ']', but got '<stream end>'"),
    "code": (
        "task: !!python/object/apply:os.system [echo]\n",
        "study.yaml is not YAML (line 1): could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    "a key twice": ("task: digits\ntask: mnist\n", "study.yaml: line 2 repeats the key 'task'"),
    "an alias of itself": ("task: &a [*a]\n", "study.yaml is nested too deeply, or holds itself by an alias"),
    "no task": ("objectives: []\n", "the key task is missing"),
    "an unknown task": ("task: ../digits\n", "task '../digits' is unknown; {known}"),
    "a list of tasks": (
        "task: [digits]\n",
        'task is [\'digits\']: give a name, {name: ..., folder: ...} or {import: "module:function"}',
    ),
    "endless minutes": (
        "task: digits\nsearch: {max_minutes: .inf}\n",
        "search.max_minutes is inf: give a finite number",
    ),
    "a text for a number": (
        "task: digits\nsearch: {epochs: many}\n",
        "search.epochs is 'many': give a whole number",
    ),
    "an unknown searcher": ("task: digits\nsearch: {searcher: os.system}\n", "searcher is 'os.system'; {known}"),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_a_bad_study_file(name: str, tmp_path: Path) -> None:
    text, sentence = STUDIES[name]
    file = tmp_path / "study.yaml"
    file.write_text(text)
    done = told("check", str(file))
    before, _, more = sentence.replace("{file}", str(file)).partition("{known}")
    assert done.exit_code == 2
    assert done.output.strip().startswith(f"raysearch: {before}"), done.output
    assert more or "{known}" in sentence or done.output.strip() == f"raysearch: {before}"


def spec_with(change: Change) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        spec = {
            "version": 2, "architecture": None, "pruning": [], "varying": {}, "bits": {}, "exclude": [],
            "inputs": {"shape": [1, 8, 8], "dtype": "float32"},
        }  # fmt: skip
        change(spec)
        (folder / "spec.json").write_text(json.dumps(spec))

    return apply


COPY = "take the variant from a copy of the run"
VARIANTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no spec": (lambda f: (f / "spec.json").unlink(), "{f} holds no variant: give a folder such as RUN/variants/0007"),
    "a torn spec": (
        lambda f: (f / "spec.json").write_text('{"version": 2'),
        "{f}/spec.json is damaged: JSONDecodeError: Expecting ',' delimiter: line 1 column 14 (char 13); " + COPY,
    ),
    "a spec that is a list": (
        lambda f: (f / "spec.json").write_text("[]"),
        "{f}/spec.json is damaged: AttributeError: 'list' object has no attribute 'get'; " + COPY,
    ),
    "no pruning": (spec_with(lambda s: s.pop("pruning")), "{f}/spec.json is damaged: KeyError: 'pruning'; " + COPY),
    "a type of torch's that is none": (
        spec_with(lambda s: s["inputs"].update(dtype="load")),
        "{f}/spec.json is damaged: ValueError: {'shape': [1, 8, 8], 'dtype': 'load'} is no form of an input; " + COPY,
    ),
    "an input of a terabyte": (
        spec_with(lambda s: s["inputs"].update(shape=[10**12])),
        "{f}/spec.json is damaged: ValueError: {'shape': [1000000000000], 'dtype': 'float32'} is no form of an "
        "input; " + COPY,
    ),
    "another version": (
        spec_with(lambda s: s.update(version=[])),
        "{f}/spec.json has version [], this raysearch rebuilds 2: run the model file beside it, or rebuild it with "
        "the raysearch that wrote it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_bad_variant(name: str, tmp_path: Path) -> None:
    change, sentence = VARIANTS[name]
    folder = Path(shutil.copytree(SPEC, tmp_path / "0002"))
    change(folder)
    with pytest.raises(UserError) as error:
        load_variant(folder)
    assert str(error.value) == sentence.replace("{f}", str(folder))


def test_there_are_sixty_kinds_and_more() -> None:
    assert len(JOURNALS) + len(WHOLE) + len(STUDIES) + len(VARIANTS) >= 60
