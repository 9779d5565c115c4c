"""What families of architectures have in common whose networks are numbered parts in a row.

A config counts them, and holds a mapping for each: ``{"stages": 2, "stage1": {...}, "stage2": {...}}``. What
is beyond the count is inactive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from raysearch.basics.failures import UserError
from raysearch.search_spaces.domains import Path
from raysearch.search_spaces.keys import as_integer, as_mapping, as_truth, check_keys

Plan = TypeVar("Plan")


def _as_text(value: Any, where: str) -> str:
    return str(value)  # what it may be, the plan checks


#: What reads a field, by its type as it is written.
_READERS: dict[str, Callable[[Any, str], Any]] = {"int": as_integer, "bool": as_truth, "str": _as_text}


@dataclass(frozen=True)
class Form:
    """How a family's networks are put together, and its configs written.

    Attributes:
        family: its name, which is its space function's too.
        many: the key that counts the numbered parts, such as "stages".
        one: what such a part is called before its number, such as "stage".
        most: how many there may be.
        before: the parts that stand before the first of them.
        whole: those of ``before`` from which no channels can go.
    """

    family: str
    many: str
    one: str
    most: int
    before: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    def numbered(self, count: int) -> tuple[str, ...]:
        """The names of the first numbered parts."""
        return tuple(f"{self.one}{i + 1}" for i in range(count))

    def parts(self, count: int) -> tuple[str, ...]:
        """All parts of a network with so many numbered ones; "head" is the output."""
        return (*self.before, *self.numbered(count), "head")

    def possible_parts(self, space: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts that networks of an architecture space can have, the output last.

        Raises:
            UserError: the mapping is no architecture space of this family.
        """
        wanted = "stem" if "stem" in self.before else f"{self.one}1"
        if wanted not in space:
            raise UserError(f"the architecture has no {wanted!r}: make it with {self.family}(...)")
        return self.parts(sum(name in space for name in self.numbered(self.most)))


class NumberedPlan:
    """What the plans of such a family offer; the numbered parts are the field called ``FORM.many``."""

    FORM: ClassVar[Form]

    def parts(self) -> tuple[str, ...]:
        """The parts that exist, in order."""
        return self.FORM.parts(len(self._numbered))

    def known_parts(self) -> tuple[str, ...]:
        """The parts that any network of the family can have."""
        return self.FORM.parts(self.FORM.most)

    def pruned_parts(self) -> tuple[str, ...]:
        """Those of them that can lose channels."""
        return tuple(part for part in self.known_parts()[:-1] if part not in self.FORM.whole)

    def may_exit(self) -> bool:
        """Whether the network may be left early; not where a family knows no exits."""
        return False

    def reads(self, path: Path) -> bool:
        """Whether a value of the architecture space matters: those of parts beyond the last do not."""
        return len(path) == 1 or path[0] in self.parts()

    def encode_numbered(self) -> dict[str, Any]:
        """The canonical config's family, count and numbered parts: only those that there are."""
        form, names = self.FORM, self.FORM.numbered(len(self._numbered))
        numbered = {name: asdict(plan) for name, plan in zip(names, self._numbered, strict=True)}
        return {"family": form.family, form.many: len(names), **numbered}

    @property
    def _numbered(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] = getattr(self, self.FORM.many)
        return found


def decode_numbered(
    form: Form, config: Mapping[str, Any], kind: type[Plan], others: tuple[str, ...]
) -> tuple[Plan, ...]:
    """The plans of a config's numbered parts; those beyond the count are not read.

    Args:
        form: of the family.
        config: of an architecture.
        kind: a dataclass of ints, bools and texts, which checks itself.
        others: the keys that the config may have beside the numbered parts and their count.

    Raises:
        UserError: an unknown key, a missing part, or a value out of range.
    """
    names = form.numbered(form.most)
    check_keys(config, ("family", form.many, *others, *names), "architecture")
    count = as_integer(config.get(form.many, sum(n in config for n in names)), f"architecture/{form.many}")
    if not 1 <= count <= form.most:
        raise UserError(f"architecture/{form.many} is {count}, not 1 to {form.most}")
    return tuple(_decode_one(config.get(name, {}), kind, f"architecture/{name}") for name in names[:count])


def _decode_one(given: Any, kind: type[Plan], where: str) -> Plan:
    values, known = as_mapping(given, where), fields(kind)  # type: ignore[arg-type]
    check_keys(values, [f.name for f in known], where)
    for f in known:
        if f.default is MISSING and f.name not in values:
            raise UserError(f"{where} has no {f.name}")
    readers = {f.name: _READERS[getattr(f.type, "__name__", str(f.type))] for f in known}
    read = {name: readers[name](value, f"{where}/{name}") for name, value in values.items()}
    try:
        return kind(**read)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def decode_integer(config: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """A whole number of an architecture config, at a key or at a path such as "stem/width".

    Raises:
        UserError: it is missing, no whole number, or not from ``low`` to ``high``.
    """
    where, _, last = key.rpartition("/")
    inside = "/".join(["architecture", where] if where else ["architecture"])
    given = config
    if where:
        given = as_mapping(config.get(where, {}), inside)
        check_keys(given, (last,), inside)
    if last not in given:
        raise UserError(f"{inside} has no {last}")
    number = as_integer(given[last], f"architecture/{key}")
    if not low <= number <= high:
        raise UserError(f"architecture/{key} is {number}, not {low} to {high}")
    return number


def check_one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    """Refuse a value that is none of those that a plan knows.

    Raises:
        UserError: it is another.
    """
    if value not in known:
        raise UserError(f"{name} {value!r} is not one of {', '.join(map(str, known))}")


def check_range(name: str, value: int, most: int) -> None:
    """Refuse a number that is below 1 or above the most.

    Raises:
        UserError: it is.
    """
    if not 1 <= value <= most:
        raise UserError(f"{name} {value!r} is not from 1 to {most}")
