"""Whether examples are sound: class indices in range, inputs finite.

Tensors that are held as a whole are looked at from end to end, of other data the first examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter

from torch import Tensor, nn

from raysearch.basics.failures import UserError, attempt
from raysearch.networks.nests import batch_size, map_tensors, names, tensors
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches, is_held
from raysearch.trainables.evaluation import outputs_of

_SIZE, _BATCHES = 64, 4
# What torch's cross entropy leaves out.
_IGNORED = -100


def check_labels(
    examples: Examples,
    collate: Collate | None,
    split: str,
    classes: int,
    of: Callable[[Batch], Tensor] = itemgetter(1),
) -> None:
    """Refuse class indices that the model has no logit for.

    Args:
        examples: of the split.
        collate: the task's.
        split: its name.
        classes: how many logits there are.
        of: the indices of a batch; its targets, if left out.

    Raises:
        ValueError: with the smallest and the largest index.
    """
    known = [labels[labels != _IGNORED] for labels in map(of, _looked_at(examples, collate, split))]
    ends = [int(end) for labels in known if labels.numel() for end in labels.aminmax()]
    if ends and not 0 <= min(ends) <= max(ends) < classes:
        raise UserError(
            f"{split}: labels go from {min(ends)} to {max(ends)}, and the model has {classes} outputs: they "
            f"must be 0 to {classes - 1}"
        )


def check_finite(model: nn.Module, examples: Examples, collate: Collate | None, split: str) -> None:
    """Refuse inputs that are NaN or infinite, unless the model makes finite outputs of them.

    Raises:
        ValueError: with the first such example.
    """
    seen = 0
    for inputs, _ in _looked_at(examples, collate, split):
        for name, x in zip(names(inputs, "input"), tensors(inputs), strict=True):
            if not x.is_floating_point() or not x.dim() or bool(x.isfinite().all()):
                continue
            bad = int((~x.isfinite()).reshape(len(x), -1).any(1).nonzero()[0])
            outputs = outputs_of(model, map_tensors(lambda t, row=bad: t[row : row + 1], inputs))  # type: ignore[misc]
            if not all(bool(t.isfinite().all()) for t in tensors(outputs) if t.is_floating_point()):
                raise UserError(
                    f"{split}: example {seen + bad} has NaN or an infinity in {name}, and so have the "
                    "model's outputs: mend the data"
                )
        seen += batch_size(inputs)


def _looked_at(examples: Examples, collate: Collate | None, split: str) -> Iterable[Batch]:
    if is_held(examples, collate):
        return batches(examples, 16 * _SIZE)
    some = islice(batches(examples, _SIZE, collate=collate), _BATCHES)
    return attempt(lambda: list(some), f"reading the examples of {split}")
