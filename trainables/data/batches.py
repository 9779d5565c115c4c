"""Batches ``(inputs, targets)`` of whatever examples a task has: data sets, iterable ones, data loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from raysearch.basics.failures import UserError, first_line
from raysearch.networks.nests import Nest

Examples = Dataset[Any] | DataLoader[Any]
Collate = Callable[[list[Any]], Any]
Batch = tuple[Nest, Nest]


def batches(
    examples: Examples,
    size: int,
    generator: torch.Generator | None = None,
    collate: Collate | None = None,
) -> Iterator[Batch]:
    """Batches ``(inputs, targets)`` of examples, shuffled if a generator is given.

    Tensors that are held as a whole (a TensorDataset, or a Subset of one) are indexed, which for small images
    is many times faster than a DataLoader. An IterableDataset is read in its own order. Of a DataLoader, its
    data set, its ``collate_fn`` and its sampler are taken, its batch size and its worker processes are not.

    Args:
        examples: pairs (inputs, target) before or after collating; of a longer tuple the last is the target
            and the others are the tuple of inputs.
        size: examples of a batch, >= 1.
        generator: decides the order.
        collate: makes a batch of a list of examples; torch's ``default_collate`` if left out.

    Raises:
        ValueError: the examples do not collate, or a batch is no pair.
    """
    examples, collate, sampler = _unpacked(examples, collate)
    held = _held(examples) if collate is None and sampler is None else None
    if held is not None:
        yield from _indexed(*held, size, generator)
        return
    order = sampler and _drawn(sampler, generator)
    shuffle = generator is not None and sampler is None and not isinstance(examples, IterableDataset)
    loader = DataLoader(
        examples,
        batch_size=size,
        shuffle=shuffle,
        sampler=order,
        generator=generator,
        collate_fn=collate or _default,
    )
    yield from map(_pair, loader)


def is_held(examples: Examples, collate: Collate | None = None) -> bool:
    """Whether the examples are rows of tensors that are in memory as a whole."""
    data, collate, sampler = _unpacked(examples, collate)
    return collate is None and sampler is None and _held(data) is not None


def count(examples: Examples) -> int:
    """How many examples one pass sees.

    Raises:
        ValueError: they have no length.
    """
    examples, _, sampler = _unpacked(examples, None)
    try:
        return len(examples if sampler is None else sampler)  # type: ignore[arg-type]
    except TypeError:
        kind = type(examples).__name__
        raise UserError(f"the {kind} has no length: give it a __len__, as the schedule needs one") from None


def first(examples: Examples, n: int) -> Examples:
    """The first ``n`` examples, of the same kind as all."""
    dataset, _, sampler = _unpacked(examples, None)
    few: Any
    if isinstance(dataset, IterableDataset):
        few = list(islice(dataset, n))
    else:
        order = range(len(dataset)) if sampler is None else _drawn(sampler, None)  # type: ignore[arg-type]
        few = Subset(dataset, list(islice(order, n)))
    if not isinstance(examples, DataLoader):
        return few  # type: ignore[no-any-return]
    return DataLoader(few, batch_size=examples.batch_size, collate_fn=examples.collate_fn)


def _unpacked(
    examples: Examples, collate: Collate | None
) -> tuple[Dataset[Any], Collate | None, Iterable[Any] | None]:
    """The data set, what collates it, and a sampler other than those of all examples in order or shuffled."""
    if not isinstance(examples, DataLoader):
        return examples, collate, None
    own, sampler = examples.collate_fn, examples.sampler
    if examples.batch_size is None:
        raise UserError(
            "a DataLoader without a batch_size, or with a batch_sampler, makes batches of its own, but their "
            "size is a setting of the training: give one with a batch_size and perhaps a sampler"
        )
    collate = collate if own is default_collate else own
    plain = isinstance(examples.dataset, IterableDataset) or (
        type(sampler) in (RandomSampler, SequentialSampler)
        and len(sampler) == len(examples.dataset)  # type: ignore[arg-type]
        and not getattr(sampler, "replacement", False)
    )
    return examples.dataset, collate, None if plain else sampler


def _drawn(sampler: Iterable[Any], generator: torch.Generator | None) -> list[Any]:
    """One pass of a sampler; without a generator always the same."""
    seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return list(sampler)


def _held(examples: Dataset[Any]) -> tuple[tuple[Tensor, ...], Tensor] | None:
    """The tensors that hold a data set, and its rows in them; None where examples are made one by one."""
    if type(examples) is Subset:
        held = _held(examples.dataset)
        return held and (held[0], held[1][torch.as_tensor(examples.indices, dtype=torch.long)])
    if isinstance(examples, TensorDataset) and type(examples).__getitem__ is TensorDataset.__getitem__:
        return examples.tensors, torch.arange(len(examples))
    return None


def _indexed(
    tensors: tuple[Tensor, ...], rows: Tensor, size: int, generator: torch.Generator | None
) -> Iterator[Batch]:
    if generator is not None:
        rows = rows[torch.randperm(len(rows), generator=generator)]
    for part in torch.split(rows, size) if len(rows) else ():
        yield _pair([tensor[part] for tensor in tensors])


def _default(examples: list[Any]) -> Any:
    try:
        return default_collate(examples)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"the examples do not collate into a batch ({first_line(error)}): give the task collate=, a "
            "function of a list of examples that returns (inputs, targets)"
        ) from error


def _pair(batch: Any) -> Batch:
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise UserError(
            f"a batch is a {type(batch).__name__}, not a pair (inputs, targets): let the data set give "
            "pairs, or give the task collate=, a function of a list of examples that returns one"
        )
    *inputs, targets = batch
    return (inputs[0] if len(inputs) == 1 else tuple(inputs)), targets
