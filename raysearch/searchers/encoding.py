"""Between nested configs and points of the unit cube, one coordinate a parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.basics.failures import UserError
from raysearch.search_spaces.domains import Prior
from raysearch.searchers.base import Config

Vector = NDArray[np.float64]
Name = tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """One searched value of a config.

    Args:
        name: its path in the nested config, ("architecture", "stem", "width").
        kind: "categorical" takes ``choices``; "integer" and "float" take ``low`` to ``high``, both included.
        low: lowest value.
        high: highest value.
        log: whether the logarithm is spread evenly; then low > 0.
        step: distance of the legal values from ``low`` on; None only for a continuous float.
        choices: the values of a categorical parameter.
        prior: how likely they are in random draws; None: all alike.

    Raises:
        ValueError: no choice, low > high (a continuous float: low >= high), a bound that is not finite,
            log with low <= 0, or step <= 0.
    """

    name: Name
    kind: Literal["categorical", "integer", "float"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if self.kind == "categorical":
            if not self.choices:
                raise UserError(f"{self} has no choices: give at least one")
            return
        if self.kind == "integer" and self.step is None:
            object.__setattr__(self, "step", 1)
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise UserError(f"{self} goes from {self.low} to {self.high}: both must be finite")
        if self.low > self.high or (self.step is None and self.low == self.high):
            raise UserError(f"{self} has low {self.low} >= high {self.high}: low must be smaller")
        if self.log and self.low <= 0:
            raise UserError(f"{self} is logarithmic from {self.low}: low must be above 0")
        if self.step is not None and not self.step > 0:
            raise UserError(f"{self} has step {self.step}: it must be above 0")

    def __str__(self) -> str:
        return "/".join(self.name)

    @property
    def cells(self) -> float:
        """How many values it can take; inf where it is continuous."""
        if self.kind == "categorical":
            return len(self.choices)
        # The tolerance lets 0.8 be the 16th step of 0.05.
        return math.inf if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def decode(self, x: float) -> Any:
        """The value at coordinate x in [0, 1]; x outside is clipped."""
        x = min(max(float(x), 0.0), 1.0)
        if self.kind == "categorical":
            return self.choices[min(int(x * len(self.choices)), len(self.choices) - 1)]
        if self.step is None:
            return min(max(_rounded(self._at(x, self.high)), self.low), self.high)
        cell = math.floor((self._at(x, self._end) - self.low) / self.step)
        return self._on_grid(min(max(cell, 0), int(self.cells) - 1))

    def encode(self, value: Any) -> float:
        """The middle of the cell that decodes to the value; off the grid, to the nearest legal one.

        Raises:
            ValueError: not one of the choices, not a number, or outside low to high.
        """
        if self.kind == "categorical":
            return self.middle(self._choice(value))
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise UserError(f"{self} is {value!r}: it must be a number from {self.low} to {self.high}")
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise UserError(f"{self} is {value}: it must lie from {self.low} to {self.high}")
        if self.step is None:
            return self._coordinate(float(value), self.high)
        return self.middle(min(round((float(value) - self.low) / self.step), int(self.cells) - 1))

    def middle(self, cell: int) -> float:
        """The coordinate in the middle of a cell, 0 <= cell < cells; not for a continuous float."""
        if self.kind == "categorical":
            return (cell + 0.5) / len(self.choices)
        start, step = self._on_grid(cell), self.step or 0.0
        return self._coordinate(
            math.sqrt(start * (start + step)) if self.log else start + step / 2, self._end
        )

    @property
    def _end(self) -> float:
        """The upper edge of the last cell: a cell reaches from its value to the next."""
        return self.low + self.cells * (self.step or 0.0)

    def _at(self, x: float, end: float) -> float:
        return self.low * (end / self.low) ** x if self.log else self.low + x * (end - self.low)

    def _coordinate(self, value: float, end: float) -> float:
        if self.log:
            return min(max(math.log(value / self.low) / math.log(end / self.low), 0.0), 1.0)
        return min(max((value - self.low) / (end - self.low), 0.0), 1.0)

    def _on_grid(self, cell: int) -> float:
        value = self.low + cell * (self.step or 0.0)
        return int(value) if self.kind == "integer" else _rounded(value)

    def _choice(self, value: Any) -> int:
        """The index of a choice; a list stands for a tuple, as it does after JSON."""
        plain = _plain(value)
        same_type = [i for i, c in enumerate(self.choices) if _plain(c) == plain and type(c) is type(value)]
        equal = same_type or [i for i, c in enumerate(self.choices) if _plain(c) == plain]
        if not equal:
            raise UserError(f"{self} is {value!r}: it must be one of {', '.join(map(repr, self.choices))}")
        return equal[0]


@dataclass(frozen=True)
class _Draw:
    """How one coordinate is drawn where its parameter has a prior.

    Attributes:
        column: the coordinate.
        partner: the one that it depends on; itself where there is none.
        cells: how many values the partner has.
        below: for each of them the chances that its cell is this one or lower, shape (cells, choices).
        middles: of its own cells, shape (choices,).
    """

    column: int
    partner: int
    cells: int
    below: Vector
    middles: Vector

    @classmethod
    def of(cls, column: int, parameters: Sequence[Parameter]) -> _Draw:
        """The draw of one parameter of a space.

        Raises:
            ValueError: its partner is not categorical, or does not stand before it.
        """
        own = parameters[column]
        prior = own.prior or Prior()
        names = [p.name for p in parameters[:column]]
        if prior.partner and prior.partner not in names:
            raise ValueError(f"{own} depends on {'/'.join(prior.partner)}, which must stand before it")
        partner = names.index(prior.partner) if prior.partner else column
        other, fitting = parameters[partner], dict(prior.fitting)
        odds = np.array(prior.odds or [1.0] * len(own.choices))
        rows = [
            odds * [choice in fitting.get(value, own.choices) for choice in own.choices]
            for value in (other.choices if prior.partner else (None,))
        ]
        below = np.cumsum(rows, axis=1) / np.sum(rows, axis=1, keepdims=True)
        middles = np.array([own.middle(cell) for cell in range(len(own.choices))])
        return cls(column, partner, len(rows), below, middles)

    def apply(self, vectors: Vector) -> None:
        """Replace the coordinate of points (k, n), which is even in [0, 1], in place."""
        rows = np.minimum((vectors[:, self.partner] * self.cells).astype(np.intp), self.cells - 1)
        cells = (vectors[:, self.column, None] >= self.below[rows]).sum(axis=1)
        vectors[:, self.column] = self.middles[np.minimum(cells, len(self.middles) - 1)]


class Encoding:
    """All parameters of a space: configs to vectors of shape (n,) in [0, 1] and back.

    Raises:
        ValueError: no parameter, two of the same name, or one whose name leads through another's.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        if not parameters:
            raise UserError(
                "the space has no parameter to search: give at least one domain, such as tune.uniform(0, 1)"
            )
        names = {p.name for p in parameters}
        if len(names) < len(parameters):
            twice = next(p for i, p in enumerate(parameters) if p.name in {q.name for q in parameters[:i]})
            raise UserError(f"the space has {twice} twice: each parameter needs its own name")
        for p in parameters:
            if any(p.name[:i] in names for i in range(1, len(p.name))):
                raise UserError(f"the space has {p} below another parameter: a value cannot hold parameters")
        self.parameters = tuple(parameters)
        self.names = tuple(str(p) for p in parameters)
        self._draws = [
            _Draw.of(i, self.parameters) for i, p in enumerate(self.parameters) if p.prior is not None
        ]

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def cells(self) -> float:
        """How many configs there are; inf where a parameter is continuous."""
        return math.prod(p.cells for p in self.parameters)

    def decode(self, vector: ArrayLike) -> Config:
        """The nested config at a point of the unit cube, shape (n,)."""
        config: Config = {}
        for parameter, x in zip(self.parameters, np.asarray(vector, dtype=np.float64), strict=True):
            inner = config
            for key in parameter.name[:-1]:
                inner = inner.setdefault(key, {})
            inner[parameter.name[-1]] = parameter.decode(x)
        return config

    def encode(self, config: Mapping[str, Any], absent: Vector | None = None) -> Vector:
        """The point of a config, shape (n,); keys that are no parameters are passed over.

        Args:
            config: nested values.
            absent: a point, shape (n,), whose coordinates stand in for parameters that the config lacks.

        Raises:
            ValueError: a value is not legal, or one is lacking and ``absent`` is not given.
        """
        vector = np.empty(len(self))
        for i, parameter in enumerate(self.parameters):
            found, value = _look_up(config, parameter.name)
            if found:
                vector[i] = parameter.encode(value)
            elif absent is not None:
                vector[i] = absent[i]
            else:
                raise UserError(f"the config has no value for {parameter}: give one")
        return vector

    def sample(self, rng: np.random.Generator) -> Vector:
        """A random point, shape (n,): evenly over the unit cube, but for priors."""
        point: Vector = self.drawn(rng.random((1, len(self))))[0]
        return point

    def drawn(self, vectors: Vector) -> Vector:
        """Points drawn evenly over the unit cube as the priors would have them, shape (k, n)."""
        if not self._draws:
            return vectors
        vectors = vectors.copy()
        for draw in self._draws:
            draw.apply(vectors)
        return vectors

    def cell(self, index: int) -> Vector:
        """The middle of cell ``index`` of a space without continuous parameters, 0 <= index < cells."""
        vector = np.empty(len(self))
        for i, parameter in enumerate(self.parameters):
            index, cell = divmod(index, int(parameter.cells))
            vector[i] = parameter.middle(cell)
        return vector


def _rounded(value: float) -> float:
    """To twelve digits: 3 steps of 0.05 are 0.15, and a value that was encoded comes back as it was."""
    return float(f"{value:.12g}")


def _look_up(config: Mapping[str, Any], name: Name) -> tuple[bool, Any]:
    inner: Any = config
    for key in name:
        if not isinstance(inner, Mapping) or key not in inner:
            return False, None
        inner = inner[key]
    return True, inner


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
