"""The loss of many masks at once.

Masks of the same layers are stacked, and the layers computed for all of them together (torch.func.vmap). What
does not depend on those layers' weights is computed once and kept: searching a network's last layer costs no
more than that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap

from raysearch.trainables.masks.masks import Mask, Units
from raysearch.trainables.masks.resumable import Resumable, Start

Loss = Callable[[Tensor, Tensor], Tensor]
Floats = NDArray[np.float64]

_TOGETHER = 1024  # masks times examples that are computed at once: more fall out of a core's cache
_GRADIENT_BATCH = 125


class MaskedLoss:
    """The loss of a model under masks, on some examples.

    Args:
        model: copied; evaluated on the CPU in evaluation mode.
        units: what the masks drop.
        x: the examples' inputs, (n, ...).
        y: their labels, (n,).
        loss: of logits and labels, the mean over examples.
        size: how many examples one evaluation sees.
        rescale: whether outputs are first brought to the unpruned model's mean and spread: pruning shrinks
            logits, which changes the loss and not the predicted classes.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Units,
        x: Tensor,
        y: Tensor,
        loss: Loss,
        size: int,
        *,
        rescale: bool = False,
    ) -> None:
        self.units, self.x, self.y, self.size = units, x, y, min(size, len(x))
        self._model = Resumable(model, x)
        self._known: tuple[object, list[Start]] | None = None
        self._vectorised = True
        self.rows = torch.arange(self.size)
        self.loss = self._rescaled(loss) if rescale else loss

    def _rescaled(self, loss: Loss) -> Loss:
        with torch.no_grad():
            unpruned = self._model.run({}, self.x[self.rows])
        mean, spread = unpruned.mean(), unpruned.std()

        def of_rescaled(output: Tensor, labels: Tensor) -> Tensor:
            normal = (output - output.mean()) / output.std().clamp_min(1e-6)
            return loss(normal * spread + mean, labels)

        return of_rescaled

    def draw(self, rng: np.random.Generator) -> None:
        """Take other examples for the evaluations to come."""
        self.on(rng.choice(len(self.x), self.size, replace=False))

    def on(self, rows: NDArray[np.intp]) -> MaskedLoss:
        """Itself, with these examples for the evaluations to come."""
        self.rows, self._known = torch.from_numpy(rows), None
        return self

    def magnitudes(self) -> Floats:
        """The sum of squares of the weights that each unit multiplies, (units,)."""
        return self.units.magnitudes(self._model.parameters)

    def losses(self, masks: Mask, varying: Sequence[str] | None = None) -> Floats:
        """The losses of masks (k, units), shape (k,); infinite where a loss is not a number.

        Args:
            masks: flat vectors.
            varying: the layers in which they differ; left out, any may.
        """
        varying = list(self.units.sizes) if varying is None else varying
        slices, total = self.units.slices, torch.from_numpy(masks).float()
        stacked = {n: total[:, slices[n]] for n in varying}
        fixed = {n: total[0, s] for n, s in slices.items() if n not in stacked}
        chunk = max(1, _TOGETHER // len(masks))
        with torch.no_grad():
            starts = self._starts(fixed, tuple(varying), chunk)
            parts = [self._logits(start, stacked, fixed) for start in starts]
            logits, labels = torch.cat(parts, dim=1), self.y[self.rows]
            values = np.array([float(self.loss(of_one, labels)) for of_one in logits])
            return np.where(np.isnan(values), np.inf, values)

    def _logits(self, start: Start, stacked: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        """The logits of a part of the examples, (k, n, classes)."""

        def of_one(masks: dict[str, Tensor]) -> Tensor:
            return self._model.run(self._masked({**fixed, **masks}), start)

        count = len(next(iter(stacked.values())))
        if self._vectorised and count > 1:
            try:
                logits: Tensor = vmap(of_one)(stacked)
                return logits
            except RuntimeError:  # the model holds an operation that vmap does not know
                self._vectorised = False
        return torch.stack([of_one({n: m[i] for n, m in stacked.items()}) for i in range(count)])

    def _starts(self, fixed: dict[str, Tensor], varying: tuple[str, ...], chunk: int) -> list[Start]:
        """For each part of the examples what does not depend on the varying layers."""
        key = (varying, chunk, tuple(m.numpy().tobytes() for m in fixed.values()))
        if self._known is None or self._known[0] != key:
            ones = {n: torch.ones(self.units.sizes[n]) for n in varying}
            parameters, changing = self._masked({**fixed, **ones}), self.units.parameters(varying)
            parts = torch.split(self.x[self.rows], chunk)
            self._known = (key, [self._model.start(parameters, part, changing) for part in parts])
        return self._known[1]

    def _masked(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.units.masked(self._model.parameters, masks)

    def gains(self, mask: Mask) -> tuple[Floats, Floats]:
        """How the loss depends on each unit of one mask: its slope and the slope's mean square, (units,).

        The slope is the derivative by the unit's mask; the square (over small batches, as if for single
        examples) stands for the curvature: the diagonal of the empirical Fisher information.
        """
        flat = torch.from_numpy(mask).float().requires_grad_(True)
        masks = {n: flat[s] for n, s in self.units.slices.items()}
        masked = self._masked(masks)
        slope, square = torch.zeros(len(mask)), torch.zeros(len(mask))
        parts = torch.split(self.rows, _GRADIENT_BATCH)
        for rows in parts:
            value = self.loss(self._model.run(masked, self.x[rows]), self.y[rows])
            (gradient,) = torch.autograd.grad(value, flat, retain_graph=True)
            slope += gradient * len(rows) / len(self.rows)
            square += gradient.square() * len(rows) ** 2 / len(self.rows)
        return slope.numpy().astype(np.float64), square.numpy().astype(np.float64)
