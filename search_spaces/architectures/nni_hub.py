"""NNI's hub of architecture spaces as plain Tune domains, and which of their values an architecture uses.

NNI names each choice by a label such as "s2_depth" or "normal/op_2_0"; where a label has a "/" the domains
are nested. Its own check of a sample says which labels count: those of blocks beyond a chosen depth do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from raysearch.basics.failures import UserError, attempt, first_line
from raysearch.basics.nni_compat import load_nni
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces import domains

HUB = (
    "AmoebaNet",
    "AutoFormer",
    "DARTS",
    "ENAS",
    "MobileNetV3Space",
    "NASNet",
    "NasBench101",
    "NasBench201",
    "PNAS",
    "ProxylessNAS",
    "ShuffleNetSpace",
)
KEY = "hub"  # not the function's name, by which a study file tells a call


def nni_hub(name: str, **arguments: Any) -> dict[str, Any]:
    """The architectures of one of NNI's hub spaces (extra ``nni``), for ``Task(model=NNIHub(name, ...))``.

    Args:
        name: "AmoebaNet", "AutoFormer", "DARTS", "ENAS", "MobileNetV3Space", "NASNet", "NasBench101",
            "NasBench201", "PNAS", "ProxylessNAS" or "ShuffleNetSpace".
        arguments: of NNI's class of that name, the same as the model's: such as ``num_labels=10``, or
            ``width=(8, 16), num_cells=(4, 8)`` of DARTS.

    Returns:
        Nested Tune domains, with the constant "hub": name.

    Raises:
        UserError: NNI is not installed, or has no such space, or the arguments are not that space's.
    """
    return HubSpace(name, arguments).domains()


@dataclass(frozen=True)
class HubSpace:
    """One of NNI's hub spaces.

    Args:
        name: of NNI's class.
        arguments: of that class.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make NNI's space, so that what is wrong is said at once."""
        if self.name not in HUB:
            raise UserError(f"NNI's hub has no space {self.name!r}; {did_you_mean(self.name, HUB)}")
        _ = self._space

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: NNI's space is made again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def make(self) -> Any:
        """A module of NNI's class: the space, or within NNI's ``model_context`` a network."""
        return getattr(load_nni("nni.nas.hub.pytorch"), self.name)(**self.arguments)

    def domains(self) -> dict[str, Any]:
        """Nested Tune domains, and the constant that names the space."""
        flat = {_path(label): _domain(label, mutable) for label, mutable in self._labels.items()}
        return {KEY: self.name, **domains.nested(flat)}

    def first(self) -> dict[str, Any]:
        """The architecture of the first value of each choice."""
        space = self.domains()
        flat = {path: values.middle() for path, values in domains.read(space).items()}
        return domains.merged(domains.constants(space), domains.nested(flat))

    def sample(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """The labels that count, with their values, in NNI's form; no others are read.

        Args:
            architecture: a value for each domain; what does not count may be missing.

        Raises:
            UserError: it is of another space, or none of this one.
        """
        if architecture.get(KEY) != self.name:
            raise UserError(
                f"the model is of NNI's space {self.name}, and the architecture's {KEY} is "
                f"{architecture.get(KEY)!r}: give both the same name"
            )
        found = _Sample(architecture, self._labels)
        problem = self._space.check_contains(found)
        if problem is not None:
            raise UserError(f"the architecture is not in NNI's space {self.name}: {first_line(problem)}")
        return found.read

    @cached_property
    def _space(self) -> Any:
        """NNI's space, without weights where it can be made so; torch's generator is left as it is."""
        import torch

        def made() -> Any:
            with torch.random.fork_rng(devices=[]):
                try:
                    with torch.device("meta"):
                        return self.make()
                except (RuntimeError, NotImplementedError):  # it reads values of tensors
                    return self.make()

        load_nni("nni.nas.hub.pytorch")
        return attempt(made, f"making NNI's space {self.name}({_shown(self.arguments)})")

    @cached_property
    def _labels(self) -> dict[str, Any]:
        """What may be chosen, by label; constraints are no choices."""
        symbol = load_nni("nni.mutable").MutableSymbol
        return {label: m for label, m in self._space.simplify().items() if isinstance(m, symbol)}


class _Sample(dict[str, Any]):
    """An architecture as NNI reads a sample, by labels; ``read`` is what it has read."""

    def __init__(self, architecture: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
        super().__init__()
        self._architecture, self._labels = architecture, labels
        self.read: dict[str, Any] = {}

    def __contains__(self, label: object) -> bool:
        """Whether the architecture has a value for a label."""
        return label in self.read or (label in self._labels and self._find(str(label)))

    def __getitem__(self, label: str) -> Any:
        """The value of a label, or what NNI has written there itself."""
        if label in self:
            return self.read[label]
        return super().__getitem__(label)

    def _find(self, label: str) -> bool:
        node: Any = self._architecture
        for key in _path(label):
            if not isinstance(node, Mapping) or key not in node:
                return False
            node = node[key]
        mutable = self._labels[label]
        if not _is_multiple(mutable):
            self.read[label] = node
        elif mutable.n_chosen == 1:
            self.read[label] = [node]
        else:
            self.read[label] = [value for value in mutable.values if node[str(value)]]
        return True


def _path(label: str) -> domains.Path:
    return tuple(label.split("/"))


def _is_multiple(mutable: Any) -> bool:
    return isinstance(mutable, load_nni("nni.mutable").CategoricalMultiple)


def _domain(label: str, mutable: Any) -> Any:
    """A Tune domain of one of NNI's choices; of one that takes any number of values, a domain for each."""
    from ray import tune

    known = load_nni("nni.mutable")
    if isinstance(mutable, known.Categorical) or (_is_multiple(mutable) and mutable.n_chosen == 1):
        return tune.choice(list(mutable.values))
    if _is_multiple(mutable) and mutable.n_chosen is None:
        return {str(value): tune.choice([True, False]) for value in mutable.values}
    if isinstance(mutable, known.Numerical) and mutable.mu is None:
        bounds = (mutable.low, mutable.high)
        if mutable.quantize is not None:
            return (tune.qloguniform if mutable.log_distributed else tune.quniform)(*bounds, mutable.quantize)
        return (tune.loguniform if mutable.log_distributed else tune.uniform)(*bounds)
    raise UserError(f"NNI's choice {label!r} ({mutable!r:.80}) has no form among Tune's domains")


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
