"""Random networks of the ResNet family, exported and measured on a target: examples for a latency predictor.

Architecture, pruning ratios and bits are drawn as a random search draws them. The networks are untrained,
since latency does not depend on the weights; images are 32 x 32 noise. What is made is kept in a folder,
from which a
later call goes on: a folder for each, and latencies_TARGET.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from raysearch import Task, backends
from raysearch import search_spaces as spaces
from raysearch.backends.base import Form
from raysearch.backends.protocol import Figures, Inference, Protocol, measure, undisturbed
from raysearch.objectives import Goals
from raysearch.search_spaces.plans import TrialPlan
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.tune import parameters_of
from raysearch.trainables.export.deployment import as_deployed, write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.models.ready import ReadyBuilder
from raysearch.trainables.pruning.progressive import compress
from raysearch.trainables.setup import FILES

SHAPE, CLASSES, EXAMPLES = (3, 32, 32), 10, 256
PARENT = spaces.ResNetPlan(16, (spaces.StagePlan(3, 16), spaces.StagePlan(3, 32), spaces.StagePlan(3, 64)))
BLOCKS = ("basic", "plain", "separable")
SHORT = Protocol(
    settle_ms=2, block_ms=2, round_samples=10, min_rounds=2, max_rounds=2, pause_s=0.05, warm_s=0.03, max_s=1
)
"""Settings of some .3 s a network."""


def networks(folder: Path, count: int, target: str) -> tuple[list[Path], list[float]]:
    """ONNX files of random networks, and their latencies in ms; those that the folder lacks are made.

    Args:
        folder: is made if need be.
        count: of networks.
        target: the backend's name; it runs the same network in the form that it wants.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task, backend, record = noise_task(), backends.get(target), folder / f"latencies_{target}.json"
    known: dict[str, float] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    example = feed_of(task.example_input())
    parent = export(task, TrialPlan(architecture=PARENT), folder / "parent", backend.form, 0)
    reference = backend.load(parent).runner(example)
    if "parent" not in known:
        known["parent"] = float(np.percentile(measured(reference, reference).reference_ms, 10))
    for number, plan in enumerate(plans(count)):
        if str(number) not in known:
            path = export(task, plan, folder / str(number), backend.form, number)
            ratio = measured(backend.load(path).runner(example), reference).ratio
            known[str(number)] = ratio * known["parent"]
            record.write_text(json.dumps(known), encoding="utf-8")
    numbers = [str(number) for number in range(count)]
    return [folder / number / FILES["uint8"] for number in numbers], [known[number] for number in numbers]


def noise_task() -> Task:
    """Images of noise, and the network that others are compared with."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(EXAMPLES, *SHAPE, generator=generator)
    labels = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
    examples = TensorDataset(images, labels)
    return Task(
        model=ReadyBuilder(PARENT, SHAPE, CLASSES),
        train=examples,
        validation=examples,
        test=examples,
        parent={"architecture": PARENT.encode(), "training": {}},
        name="noise",
    )


def plans(count: int, seed: int = 0) -> list[TrialPlan]:
    """Plans of random networks, no two alike: 1 to 3 stages of up to 3 blocks, 8 to 64 channels."""
    bound = spaces.bind(
        {
            "architecture": spaces.resnet(stages=(1, 3), kernel=(3, 5), block=BLOCKS),
            "pruning": spaces.channel_pruning(criterion=("magnitude",)),
            "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
        }
    )
    search = RandomSearch(
        parameters_of(bound.domains),
        Goals.parse(["minimize latency"]),
        seed=seed,
        identity=lambda config: (bound.variant(config).key, bound.variant(config).active),
    )
    configs = (search.ask(str(number)) for number in range(count))
    return [bound.variant(config).plan for config in configs if config is not None]


def export(task: Task, plan: TrialPlan, folder: Path, form: Form, seed: int) -> Path:
    """Build a network, prune and quantise it, and write what is not there yet; its file of this form."""
    missing = {kind for kind in ("uint8", form) if not (folder / FILES[kind]).exists()}
    if missing:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(seed)
        network = task.build(plan.architecture).eval()
        compress(network, task, plan, seed)
        write_files(as_deployed(network.eval(), task, plan, seed), folder, missing)
    return folder / FILES[form]


def measured(candidate: Inference, reference: Inference) -> Figures:
    """A short measurement of a network against the reference."""
    with undisturbed():
        return measure(candidate, reference, SHORT)
