"""Which values of an architecture a function reads while it makes a network: the others are inactive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from raysearch.search_spaces.architectures.alternatives import ONE_OF, chosen
from raysearch.search_spaces.domains import Path


class Recording(dict[str, Any]):
    """A nested mapping that notes the paths which are read. What takes it whole has read all of it."""

    def __init__(self, content: Mapping[str, Any], read: set[Path], path: Path = ()) -> None:
        super().__init__(
            {
                key: Recording(value, read, (*path, key)) if isinstance(value, Mapping) else value
                for key, value in content.items()
            }
        )
        self._read, self._path = read, path

    def __getitem__(self, key: str) -> Any:
        """Notes the key."""
        self._read.add((*self._path, key))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        """Notes the key: a function may go by whether it is there."""
        self._read.add((*self._path, str(key)))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Notes the key."""
        self._read.add((*self._path, key))
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Notes the key."""
        self._read.add((*self._path, key))
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Notes the key."""
        self._read.add((*self._path, key))
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        """Notes every key: so do ``**mapping``, ``dict(mapping)`` and JSON's encoder."""
        self._see_all()
        return super().__iter__()

    def _see_all(self) -> None:
        self._read.update((*self._path, key) for key in super().__iter__())

    def keys(self) -> Any:
        """Notes every key."""
        return list(self)

    def values(self) -> Any:
        """Notes every key."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """Notes every key."""
        return [(key, self[key]) for key in self]

    def copy(self) -> dict[str, Any]:
        """A plain mapping; notes every key."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        """A plain mapping; notes every key."""
        return self.copy() | dict(other)

    def __ror__(self, other: Any) -> Any:
        """A plain mapping; notes every key."""
        return dict(other) | self.copy()

    def __reduce__(self) -> Any:
        """Copies and pickles are plain mappings; notes every key."""
        return dict, (self.items(),)


def read_part(config: Mapping[str, Any], read: AbstractSet[Path], path: Path = ()) -> dict[str, Any]:
    """What was read of a config whose choices among alternatives are open.

    A mapping that was looked at, and nothing in it, counts as a whole: it may have been counted or compared.

    Args:
        config: with ``one_of`` where there are alternatives.
        read: paths in the resolved config, where the chosen alternative stands in the place of all.
        path: of the config.
    """
    if ONE_OF in config:
        name, inner = config[ONE_OF], chosen(config)
        return {ONE_OF: name, name: read_part(inner, read, path) if isinstance(inner, Mapping) else inner}
    if not any(len(each) > len(path) and each[: len(path)] == path for each in read):
        return dict(config)
    return {
        key: read_part(value, read, (*path, key)) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if (*path, key) in read
    }
