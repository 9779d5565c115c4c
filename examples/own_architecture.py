"""Search an architecture of one's own, on made signals: each block is a convolution or mixes channels.

python examples/own_architecture.py [TRIALS]
"""

import sys
from typing import Any

import torch
from ray import tune
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import raysearch as rs
from raysearch import search_spaces as spaces

BLOCKS = 3


class Residual(nn.Module):
    """A block beside a skip; (n, width, length) to the same."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """What the block adds to its input."""
        return torch.relu(x + self.layers(x))


class Net(nn.Module):
    """Signals (n, 2, 64) to logits (n, 4)."""

    def __init__(self, width: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, width, 5, 2, 2), nn.BatchNorm1d(width), nn.ReLU())
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the mean over time."""
        return self.head(self.blocks(self.stem(x)).mean(2))


def block(width: int, chosen: dict[str, Any]) -> nn.Module:
    """A block of either kind."""
    if chosen["kind"] == "conv":
        kernel = chosen["kernel"]
        return Residual(nn.Conv1d(width, width, kernel, padding=kernel // 2), nn.BatchNorm1d(width))
    hidden = chosen["times"] * width
    wide = (nn.Conv1d(width, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU())
    return Residual(*wide, nn.Conv1d(hidden, width, 1))


def build(architecture: dict[str, Any]) -> nn.Module:
    """The network of a draw from SPACE: blocks beyond the number that it names are not read."""
    width = architecture["width"]
    chosen = [architecture[f"block{i + 1}"] for i in range(architecture["blocks"])]
    return Net(width, [block(width, each) for each in chosen])


def kinds() -> Any:
    """What a block may be; what only the other kind has is inactive."""
    conv = {"kind": "conv", "kernel": tune.choice([3, 5, 9])}
    return tune.choice([conv, {"kind": "mix", "times": tune.randint(1, 4)}])


SPACE = {
    "width": tune.qrandint(8, 32, 8),
    "blocks": tune.randint(1, BLOCKS + 1),
    **{f"block{i + 1}": kinds() for i in range(BLOCKS)},
}


def signals(count: int, seed: int) -> TensorDataset:
    """Sines, squares, saws and chirps in two channels, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    phase = 6.28 * torch.rand(count, 2, 1, generator=generator)
    rate = 0.2 + 0.3 * torch.rand(count, 1, 1, generator=generator)
    time = torch.arange(64.0)
    turn = rate * time + phase
    chirp = (turn * (1 + time / 64)).sin()
    shapes = torch.stack([turn.sin(), turn.sin().sign(), (turn / 3.14) % 2 - 1, chirp])
    waves = shapes[labels, torch.arange(count)]
    return TensorDataset(waves + 0.3 * torch.randn(waves.shape, generator=generator), labels)


def main(trials: int) -> None:
    """Search, and print the front."""
    train, validation, test = signals(1200, 0), signals(400, 1), signals(400, 2)
    conv = {"kind": "conv", "kernel": 5}
    parent = {"architecture": {"width": 32, "blocks": 2, "block1": conv, "block2": conv}}
    task = rs.Task(build, train, validation, test, parent=parent, name="own-architecture")
    study = rs.Study(
        task,
        space={
            "architecture": SPACE,
            "pruning": spaces.channel_pruning(max_ratio=0.6),
            "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
        },
        objectives=["maximize accuracy", "minimize latency_ms/onnxruntime-cpu", "minimize size_mb"],
        epochs=4,
    )
    result = study.run(num_trials=trials)
    print(result.front[["trial", "accuracy", "size_mb", "latency_ms/onnxruntime-cpu"]].to_string(index=False))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
