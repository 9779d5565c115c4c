"""Compress a vision transformer on scikit-learn's digits: attention, class token, positions.

python examples/vit_digits.py [TRIALS]
"""

import sys

import torch
from ray import tune
from torch import Tensor, nn

import raysearch as rs
from raysearch import search_spaces as spaces
from raysearch.trainables.data.digits import digits


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a skip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, tokens, width)."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Sixteen patches of 2 x 2 pixels and a class token; (n, 1, 8, 8) to logits (n, 10)."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads=4) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the class token."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def main(trials: int) -> None:
    """Search, and print the front."""
    torch.manual_seed(0)
    splits = digits()
    task = rs.Task(ViT(), splits.train, splits.validation, splits.test, name="vit-digits")
    study = rs.Study(
        task,
        space={
            "pruning": spaces.channel_pruning(max_ratio=0.6),
            "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
            "training": {"lr": tune.loguniform(1e-3, 1e-2), "batch_size": 64},
        },
        objectives=["maximize accuracy", "minimize latency_ms/onnxruntime-cpu", "minimize size_mb"],
        epochs=6,
    )
    result = study.run(num_trials=trials)
    print(result.front[["trial", "accuracy", "size_mb", "latency_ms/onnxruntime-cpu"]].to_string(index=False))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
