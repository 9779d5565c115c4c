"""Compress a small U-Net that finds discs in noisy images, taught by the unpruned network.

python examples/segmentation.py [TRIALS]
"""

import sys

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import raysearch as rs
from raysearch import search_spaces as spaces

SIDE = 32


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution, its norm, and a rectifier."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two scales down, two up, with a skip at each; (n, 1, 32, 32) to logits (n, 2, 32, 32)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = block(1, width), block(width, 2 * width)
        self.bottom = block(2 * width, 2 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2)
        self.join2 = block(4 * width, width)
        self.up1 = nn.Upsample(scale_factor=2, mode="nearest")
        self.join1 = block(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of background and disc."""
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        x = self.up2(self.bottom(self.pool(coarse)))
        x = self.join2(torch.cat([x, coarse], 1))
        return self.head(self.join1(torch.cat([self.up1(x), fine], 1)))


def discs(n: int) -> TensorDataset:
    """Noisy images (n, 1, 32, 32) of a disc each, and masks (n, 32, 32)."""
    grid = torch.arange(SIDE)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    centre, radius = torch.randint(8, SIDE - 8, (n, 2, 1, 1)), torch.randint(3, 8, (n, 1, 1))
    masks = ((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 <= radius**2).long()
    return TensorDataset(masks.unsqueeze(1) + 0.7 * torch.randn(n, 1, SIDE, SIDE), masks)


def iou(logits: Tensor, masks: Tensor) -> float:
    """The discs' intersection over union, over all images."""
    found, right = logits.argmax(1) == 1, masks == 1
    return float((found & right).sum() / (found | right).sum().clamp(min=1))


def main(trials: int) -> None:
    """Search, and print the front."""
    torch.manual_seed(0)
    task = rs.Task(
        UNet(), train=discs(256), validation=discs(96), test=discs(96), metrics={"iou": iou}, name="discs"
    )
    study = rs.Study(
        task,
        space={
            "pruning": spaces.channel_pruning(max_ratio=0.6),
            "bits": spaces.bit_widths(weights=(4, 8, 32), activations=(8, 32)),
            "teacher": spaces.teachers("parent", None),
        },
        objectives=["maximize iou", "minimize latency_ms/onnxruntime-cpu", "minimize size_mb"],
        parent={"training": {"lr": 5e-3, "batch_size": 32}},
        epochs=4,
    )
    result = study.run(num_trials=trials)
    print(result.front[["trial", "iou", "size_mb", "latency_ms/onnxruntime-cpu"]].to_string(index=False))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
