"""A network and data of your own: the next hour of a noisy load is forecast from the two days before it.

    raysearch run examples/own_model/study.yaml

The study file beside this module names ``make_task``.
"""

import math

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import raysearch as rs

HISTORY = 48
HOURS = {"train": 1200, "validation": 400, "test": 400}


class Forecaster(nn.Module):
    """Convolutions over time see the day's shape, an LSTM what came before; (n, 2, 48) to (n,)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv1d(2, width, 5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ReLU(),
        )
        self.memory = nn.LSTM(width, 16, batch_first=True)
        self.hidden, self.last = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The next hour's load."""
        states, _ = self.memory(self.local(x).transpose(1, 2))
        return self.last(torch.relu(self.hidden(states[:, -1]))).squeeze(-1)


def load(hours: int) -> Tensor:
    """Load and temperature for so many hours, (2, hours): a daily and a weekly rhythm, weather, and noise."""
    time = torch.arange(hours) * 2 * math.pi / 24
    weather = torch.cumsum(torch.randn(hours) * 0.1, 0)
    weather = weather - weather.mean()
    shape = torch.sin(time) + 0.5 * torch.sin(2 * time + 1) + 0.3 * torch.sin(time / 7)
    return torch.stack([shape * (1 - 0.1 * weather) + 0.1 * torch.randn(hours), weather])


def windows(hours: int) -> TensorDataset:
    """Each stretch of two days with the load of the hour that follows."""
    series = load(hours + HISTORY)
    x = series.unfold(1, HISTORY, 1)[:, :hours].transpose(0, 1)
    return TensorDataset(x.contiguous(), series[0, HISTORY:])


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """The root of the mean squared error."""
    return float((outputs - targets).square().mean().sqrt())


def make_task(seed: int = 0) -> rs.Task:
    """What the study file calls."""
    torch.manual_seed(seed)
    return rs.Task(
        Forecaster(),
        **{split: windows(hours) for split, hours in HOURS.items()},
        metrics={"rmse": rmse},
        loss=nn.functional.mse_loss,
        name="forecast",
    )
