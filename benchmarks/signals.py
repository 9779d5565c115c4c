"""Made signals of four kinds, as a task for one-dimensional networks."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import TensorDataset

from raysearch import Task
from raysearch.search_spaces import Conv1dPlan, Stage1dPlan
from raysearch.trainables.models.ready import ReadyBuilder

CHANNELS, LENGTH, KINDS = 2, 64, 4


def signals(n: int, seed: int) -> TensorDataset:
    """Examples ((2, 64), class): noise over a sine, a square wave, a saw or a burst, of any frequency.

    The second channel has half of the first with the other sign; the noise of both has a deviation of 0.6.
    """
    generator = np.random.default_rng(seed)
    time, labels = np.linspace(0, 1, LENGTH), generator.integers(KINDS, size=n)
    turns = generator.uniform(2, 5, (n, 1)) * time + generator.uniform(size=(n, 1))
    center = generator.uniform(0.3, 0.7, (n, 1))
    sine, envelope = np.sin(2 * np.pi * turns), np.exp(-(((time - center) / 0.1) ** 2))
    kinds = np.stack([sine, np.sign(sine), 2 * (turns % 1) - 1, np.sin(8 * np.pi * turns) * envelope])
    clean = kinds[labels, np.arange(n), None] * np.array([[1.0], [-0.5]])
    noisy = clean + 0.6 * generator.standard_normal(clean.shape)
    return TensorDataset(torch.tensor(noisy, dtype=torch.float32), torch.tensor(labels))


def signal_task() -> Task:
    """The signals, and a network of two stages."""
    parent = Conv1dPlan(16, (Stage1dPlan(1, 16, 9), Stage1dPlan(1, 32, 5)))
    return Task(
        model=ReadyBuilder(parent, (CHANNELS, LENGTH), KINDS),
        train=signals(1200, 0),
        validation=signals(400, 1),
        test=signals(400, 2),
        parent={"architecture": parent.encode(), "training": {"lr": 3e-3, "batch_size": 32}},
        name="signals",
    )
