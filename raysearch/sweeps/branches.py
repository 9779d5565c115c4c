"""A network's branches measured: what each is worth, and how the network answers when one alone is pruned.

    branches = Branches(model, example_input, [f"branches.{i}" for i in range(12)])
    table = branches.responses(task.validation)
    together = branches.together(task.validation)
    whole, without = branches.left_out(task.validation)

``raysearch.allocation`` fits curves to the tables and divides a budget over them; ``pruned`` builds the
network of a division. A branch is a submodule, such as a view's or a stage, or the root layer of a dependency
group.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from raysearch import backends
from raysearch.backends.base import values_of
from raysearch.backends.measurement.service import MeasurementService
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.networks.capture import capture
from raysearch.networks.copying import copy_of
from raysearch.networks.groups import channel_group, take_apart
from raysearch.networks.nests import Nest, map_tensors, tensors
from raysearch.search_spaces.keys import belongs, part_of
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan, kept_channels
from raysearch.sweeps.left_out import metric_without
from raysearch.trainables.data.batches import Examples
from raysearch.trainables.evaluation import Metric, evaluate, outputs_of
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.pruning import prune
from raysearch.trainables.quantization import fold_batch_norm, size_mb
from raysearch.trainables.task import accuracy

RATIOS = tuple(i / 8 for i in range(8))
_MEGABYTE = 1e6
_FLOAT_BYTES = 4


class Branches:
    """The branches of a trained network.

    Args:
        model: not changed; its weights are looked at whenever a method is called.
        example_input: a batch that it takes: a tensor (n, ...), a tuple of them or a mapping.
        names: of the branches; None makes each dependency group a branch, named by its root layer.
        multiple: kept channels are multiples of this.
        criterion: which channels go first: "magnitude" or "random".

    Attributes:
        groups: for each branch, the root layers of the dependency groups that are its own. A group whose
            channels are tied to another branch's, or to the output, is nobody's and stays whole.

    Raises:
        ValueError: an unknown branch, one inside another, one without channels of its own, or a model that
            torch-pruning cannot take apart.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: Nest,
        names: Sequence[str] | None = None,
        *,
        multiple: int = 1,
        criterion: str = "magnitude",
    ) -> None:
        self.model, self.example_input = model, example_input
        self.multiple, self.criterion = multiple, criterion
        # The graph is read from a copy, which it holds on to.
        graph, self._widths = take_apart(copy_of(model), example_input)
        tied = {root: _tied(graph, root, width) for root, width in self._widths.items()}
        self.names = tuple(self._widths if names is None else names)
        self.groups = _owned(model, tied, self.names)
        self._layers = {name: self._own_layers(name, tied) for name in self.names}

    def ratio(self, name: str, ratio: float) -> float:
        """The share of a branch's channels that really goes at a ratio, as channels are whole."""
        widths = [self._widths[root] for root in self.groups[name]]
        return 1 - sum(kept_channels(w, ratio, self.multiple) for w in widths) / sum(widths)

    def pruned(self, ratios: Mapping[str, float]) -> nn.Module:
        """A copy of the network with each branch pruned at its ratio, in [0, 1); others stay whole.

        Raises:
            ValueError: an unknown branch, or a ratio outside [0, 1).
        """
        for name, ratio in ratios.items():
            if name not in self.groups:
                raise UserError(f"there is no branch {name!r}; {did_you_mean(name, self.names)}")
            if not 0 <= ratio < 1:
                raise UserError(f"branch {name!r} has the ratio {ratio}: it must be in [0, 1)")
        roots = {root: ratio for name, ratio in ratios.items() for root in self.groups[name]}
        network = copy_of(self.model)
        prune(network, self.example_input, PruningPlan(roots, self.criterion, self.multiple))
        return network

    def size_mb(self, name: str, network: nn.Module | None = None) -> float:
        """The megabytes of a branch's own parameters, as float32, in a network that ``pruned`` made.

        What the layers behind the branch lose on their inputs is not counted: a network is never larger than
        its branches' sizes and the rest say.
        """
        modules = dict((network or self.model).named_modules())
        own = (p.numel() for n in self._layers[name] for p in modules[n].parameters(recurse=False))
        return float(sum(own) * _FLOAT_BYTES / _MEGABYTE)

    def latency_ms(
        self,
        name: str,
        network: nn.Module | None = None,
        *,
        target: str,
        service: MeasurementService | None = None,
    ) -> float:
        """The latency of a branch by itself, on what the network gives it for one example.

        Args:
            name: of the branch.
            network: one that ``pruned`` made; None: the unpruned one.
            target: where it is measured.
            service: measures each structure once; give the same one again where branches look alike.

        Raises:
            ValueError: the network never calls the branch by itself.
        """
        network = network or self.model
        branch = network.get_submodule(name)
        inputs = self._inputs_of(branch, network)
        if not tensors(inputs):
            raise UserError(
                f"the branch {name!r} cannot be timed: the network never calls it with an input; time the "
                "layers inside it, or leave target out"
            )
        backend = backends.get(target)
        if "latency_ms" not in backend.figures:
            raise UserError(f"target {backend.name} says nothing of latency: name another")
        form = backend.form
        with tempfile.TemporaryDirectory(prefix="raysearch-branch-") as folder:
            captured = fold_batch_norm(capture(branch, inputs))
            path = write_files(captured, Path(folder), [form])[form]
            content, example = path.read_bytes(), feed_of(inputs)
        measured = (service or MeasurementService()).measure(target, content, example)
        return values_of(measured)[f"latency_ms/{backend.name}"]

    def _inputs_of(self, branch: nn.Module, network: nn.Module) -> Nest:
        """What the network gives the branch for one example, where it is called first."""
        found: list[Nest] = []

        def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(named or (given[0] if len(given) == 1 else given))

        handle = branch.register_forward_pre_hook(note, with_kwargs=True)
        try:
            outputs_of(network, map_tensors(lambda t: t[:1], self.example_input))
        finally:
            handle.remove()
        return found[0] if found else ()

    def left_out(self, examples: Examples, *, metric: Metric = accuracy) -> tuple[float, dict[str, float]]:
        """The network's accuracy, and that without each branch; for ``allocation.importances_left_out``.

        Args:
            examples: to measure on.
            metric: of logits and labels, higher is better.

        Raises:
            ValueError: a branch that cannot be left out, see ``left_out.metric_without``.
        """
        without = metric_without(self.model, self.names, examples, metric)
        return _value(self.model, examples, metric), without

    def responses(
        self,
        examples: Examples,
        *,
        ratios: Sequence[float] = RATIOS,
        metric: Metric = accuracy,
        retrain: Callable[[nn.Module], None] | None = None,
        target: str | None = None,
        service: MeasurementService | None = None,
    ) -> pd.DataFrame:
        """Prune one branch at a time, and measure: the table that ``allocation.branches_of`` takes.

        Args:
            examples: to measure on, none of them trained on.
            ratios: shares of a branch's channels to remove, in [0, 1); those that remove as many are one row.
            metric: of logits and labels, higher is better.
            retrain: applied to every network, the unpruned one too, before it is measured: a short training,
                say. Without it a curve shows what pruning breaks, much of which training repairs.
            target: where latencies are measured; None leaves them out. What is timed is the submodule of the
                branch's name by itself, on the inputs that the network gives it.
            service: measures them, each structure once; give the same one again where branches look alike.

        Returns:
            A row a point: ``branch``, ``ratio`` (the share that really went), ``accuracy`` (of the whole
            network), ``size_mb`` (of the branch), ``network_mb`` and, given a target, ``latency_ms``.
        """
        service = service or MeasurementService()
        rows = []
        whole = _retrained(copy_of(self.model), retrain)
        unpruned = _value(whole, examples, metric)
        for name in self.names:
            for asked in {self.ratio(name, r): r for r in sorted({0.0, *ratios}, reverse=True)}.values():
                network = whole if asked == 0 else _retrained(self.pruned({name: asked}), retrain)
                row = {
                    "branch": name,
                    "ratio": self.ratio(name, asked),
                    "accuracy": unpruned if asked == 0 else _value(network, examples, metric),
                    "size_mb": self.size_mb(name, network),
                    "network_mb": size_mb(network),
                }
                if target is not None:
                    row["latency_ms"] = self.latency_ms(name, network, target=target, service=service)
                rows.append(row)
        table = pd.DataFrame(rows)
        order = table["branch"].map({name: i for i, name in enumerate(self.names)})
        return table.iloc[np.lexsort([table["ratio"], order])].reset_index(drop=True)

    def together(
        self,
        examples: Examples,
        *,
        ratios: Sequence[float] = RATIOS,
        metric: Metric = accuracy,
        retrain: Callable[[nn.Module], None] | None = None,
    ) -> pd.DataFrame:
        """Prune all branches by the same ratio, and measure; arguments as for ``responses``.

        What the network loses to several pruned branches is more than the sum of what it loses to each
        alone, as one branch makes up for another; this shows how much.

        Returns:
            A row a ratio, the unpruned network first: ``ratio`` (the mean over branches of the shares that
            really went; ratios that remove as many are one row), ``accuracy`` and ``network_mb``.
        """
        rows = []
        for asked in {self._mean_ratio(r): r for r in sorted({0.0, *ratios}, reverse=True)}.values():
            network = _retrained(self.pruned(dict.fromkeys(self.names, asked)), retrain)
            rows.append(
                {
                    "ratio": self._mean_ratio(asked),
                    "accuracy": _value(network, examples, metric),
                    "network_mb": size_mb(network),
                }
            )
        return pd.DataFrame(rows[::-1])

    def _mean_ratio(self, ratio: float) -> float:
        return float(np.mean([self.ratio(name, ratio) for name in self.names]))

    def _own_layers(self, name: str, tied: Mapping[str, set[str]]) -> set[str]:
        """What lies inside a branch, and outside all branches what loses channels with it."""
        inside = {n for n, _ in self.model.named_modules() if belongs(n, name)}
        led = set().union(*(tied[root] for root in self.groups[name]))
        return inside | {n for n in led if part_of(n, self.names) is None}


def _value(network: nn.Module, examples: Examples, metric: Metric) -> float:
    return evaluate(network, examples, {"metric": metric})["metric"]


def _retrained(network: nn.Module, retrain: Callable[[nn.Module], None] | None) -> nn.Module:
    if retrain is not None:
        retrain(network)
    return network


def _tied(graph: Any, root: str, width: int) -> set[str]:
    """The layers that lose output channels with a group's root."""
    names = {module: name for name, module in graph.model.named_modules()}
    group = channel_group(graph, root, list(range(width)))
    out = (dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler))
    return {names[module] for module in out if module in names}


def _leads(layer: nn.Module) -> bool:
    """Whether a layer has channels to choose from: norms and depthwise convolutions follow another's."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return isinstance(layer, nn.Linear)
    return layer.groups == 1 or layer.groups < layer.out_channels


def _owned(
    model: nn.Module, tied: Mapping[str, set[str]], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The groups that are each branch's own."""
    modules = dict(model.named_modules())
    owned: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name not in modules or not name:
            raise UserError(f"the model has no branch {name!r}; {did_you_mean(name, [*tied, *modules])}")
        outer = part_of(name.rpartition(".")[0], names)
        if outer is not None:
            raise UserError(f"the branch {name!r} lies inside the branch {outer!r}: name only one of them")
        owned[name] = tuple(
            root
            for root, layers in tied.items()
            if part_of(root, names) == name
            and {part_of(n, names) for n in layers if _leads(modules[n])} <= {name, None}
        )
        if not owned[name]:
            raise UserError(
                f"the branch {name!r} has no channels of its own that can go: they are tied to another "
                "branch or to the output, or it has no weights"
            )
    return owned
