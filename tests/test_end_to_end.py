"""The command as a user runs it, on the embedded digits: a search, its files, a kill and a resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from raysearch import StudyResult, load_variant, tasks
from raysearch.record import journal
from raysearch.record.run_record import RunRecord

STUDY = """
task: digits
parent:
  architecture:
    family: resnet
    stages: 2
    stem: {width: 8}
    stage1: {depth: 1, width: 8, kernel: 3, block: basic}
    stage2: {depth: 1, width: 16, kernel: 3, block: basic}
  epochs: 2
space:
  architecture: {resnet: {stages: 2, depth: [1, 2], width: [8, 16]}}
  pruning: {channel_pruning: {max_ratio: 0.5, multiple: 4}}
  bits: {bit_widths: {weights: [4, 8, 32], activations: [8, 32]}}
  teacher: {teachers: [parent, null]}
objectives: [maximize accuracy, minimize size_mb, minimize macs]
constraints: [macs <= 1.0 parent]
search:
  num_trials: 4
  epochs: 2
  workers: 1
  screen: 1
  evaluate_first: [{architecture: {stage1: {depth: 2, width: 16}, stage2: {depth: 2, width: 16}}}]  # large
"""
# What differs between two runs of the same study: clocks, and what is measured by them.
CLOCKS = ("latency_ms/onnxruntime-cpu", "throughput/onnxruntime-cpu")


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raysearch.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def story(folder: Path) -> list[dict]:
    """The journal without clocks, and without the sessions that tell of the kills."""
    events = []
    for event in journal.read(folder):
        if event["event"] in ("suggestion", "report", "end"):
            event = {k: v for k, v in event.items() if k not in ("time", "measurements")}
            if "values" in event:
                event["values"] = {k: v for k, v in event["values"].items() if k not in CLOCKS}
            events.append(event)
    return events


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_run_leaves_what_it_promises_and_a_killed_one_goes_on_to_the_same_end(tmp_path):
    study = tmp_path / "digits.yaml"
    folder = tmp_path / "one" / "whole"  # what stands beside a run is taken over
    study.write_text(STUDY)
    output = finish(start("run", str(study), "--out", str(folder)))
    assert str(folder / "report.html") in output
    check_files(folder)
    check_accuracy(folder)
    check_what_breaks_a_static_constraint_costs_no_epoch(StudyResult(folder).record)
    whole = story(folder)
    assert story(killed_and_resumed(study, tmp_path / "other" / "killed", len(whole) // 2)) == whole
    document = json.loads(finish(start("resume", str(folder), "--json")))
    assert story(folder) == whole, "a finished run is only reported again"
    assert len(document["front"]) == len(pd.read_csv(folder / "front.csv"))


def check_files(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} >= {
        "journal.jsonl",
        "study.yaml",
        "trials.csv",
        "front.csv",
        "report.html",
        "variants",
    }
    front = pd.read_csv(folder / "front.csv", dtype={"trial": str})
    assert len(front) >= 2
    for name in front["trial"]:
        assert {p.name for p in (folder / "variants" / name).iterdir()} == {
            "model.onnx",
            "spec.json",
            "weights.safetensors",
            "metrics.json",
            "README.md",
        }


def check_accuracy(folder: Path) -> None:
    """The files have what is claimed."""
    split = tasks.digits().validation
    x, labels = (t.numpy() for t in split.tensors)
    front = pd.read_csv(folder / "front.csv", dtype={"trial": str}).set_index("trial")
    for name, claimed in front["accuracy"].items():
        session = onnxruntime.InferenceSession(folder / "variants" / name / "model.onnx")
        (logits,) = session.run(None, {session.get_inputs()[0].name: x})
        assert np.mean(logits.argmax(1) == labels) == pytest.approx(claimed, abs=5e-4)
        rebuilt = load_variant(folder / "variants" / name).eval()
        with torch.no_grad():
            same = rebuilt(torch.from_numpy(x)).argmax(1).numpy() == logits.argmax(1)
        assert same.mean() >= 0.99


def check_what_breaks_a_static_constraint_costs_no_epoch(record: RunRecord) -> None:
    limit = record.parent.reports[0]["macs"]
    broken = [t for t in record.searched() if t.reports[0]["macs"] > limit]
    assert broken
    assert all(t.step == 0 and t.outcome == "stopped" for t in broken)


def killed_and_resumed(study: Path, folder: Path, events: int) -> Path:
    """A run that is killed once so many events are there, and resumed."""
    process = start("run", str(study), "--out", str(folder))
    while process.poll() is None and (not (folder / "journal.jsonl").exists() or len(story(folder)) < events):
        time.sleep(0.05)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finish(start("resume", str(folder)))
    return folder


OWN_MODULE = """
from own_layers import Digits, network
from raysearch import Task

def make(examples):
    return Task(network(), Digits(0, examples), Digits(400, examples), Digits(800, examples), name="own")
"""
OWN_LAYERS = """
from torch import nn
from torch.utils.data import Dataset
from raysearch import tasks

class Digits(Dataset):
    def __init__(self, first, examples):
        self.first, self.examples, self.data = first, examples, tasks.digits().train
    def __len__(self):
        return self.examples
    def __getitem__(self, i):
        return self.data[self.first + i]

def network():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
"""
OWN_STUDY = """
task: {import: "own_task:make", examples: 200}
space: {training: {lr: {loguniform: [1e-3, 1e-2]}}}
objectives: [maximize accuracy, minimize size_mb]
search: {num_trials: 2, epochs: 1, workers: 1}
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_a_task_beside_its_study_file_runs_and_goes_on_from_anywhere(tmp_path, monkeypatch):
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    for name, text in {"own_task.py": OWN_MODULE, "own_layers.py": OWN_LAYERS, "s.yaml": OWN_STUDY}.items():
        (home / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    process = start("run", "home/s.yaml", "--out", str(folder))
    journal_file = folder / "journal.jsonl"
    while process.poll() is None and not (journal_file.exists() and b"report" in journal_file.read_bytes()):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    monkeypatch.chdir("/")
    document = json.loads(finish(start("resume", str(folder), "--json")))
    assert document["complete"]
    assert document["trials"]["finished"] == 2
    home.rename(tmp_path / "gone")
    process = start("resume", str(folder))
    assert f"task.module_folder: {home}" in process.communicate(timeout=60)[0]
    assert process.returncode == 2


@pytest.mark.parametrize("command", ["run", "resume", "report", "check"])
def test_what_is_missing_is_said_in_one_sentence(command, tmp_path):
    process = start(command, str(tmp_path / "nothing"))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1
