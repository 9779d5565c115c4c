"""The law of docs/architecture.md, "Who may know whom", held against what the modules import."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from import_graph import ROOT, cycle, imports, libraries, modules, room

MOST_MODULES = 14
MODULES = modules()
GRAPH = {name: imports(name, MODULES, typing=True) for name in MODULES}
FACE = {"raysearch", "version"}  # the package itself: it names others, and all may read its version


# Where Ray may stand besides runs, and in whole rooms for its domains.
WITH_RAY = {
    "backends.measurement.devices",
    "backends.measurement.process",
    "backends.measurement.remote",
    "backends.on_nodes",
    "cli.package",
    "cli.submit",
    "schedulers.tune",
    "searchers.libraries.optuna_search",
    "searchers.tune",
}
WITH_RAY |= {"serving.deployment", "serving.replica", "study_file.space_text", "trainables.trial"}
ROOMS_WITH_RAY = {"runs", "search_spaces", "sweeps"}


def law() -> dict[str, set[str]]:
    """The rooms that each room may import, by the table; what is said in brackets is for people."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Who may know whom")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (.+) \|$", table, flags=re.M)[1:]
    rooms = {name for name, _ in rows}
    known = {name: re.sub(r"\(.*?\)|;.*", "", text) for name, text in rows}
    return {
        name: rooms if text == "all" else {word.strip() for word in text.split(",")} - {"nobody"}
        for name, text in known.items()
    }


def rooms() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        found.setdefault(room(name), set()).update(room(other) for other in others)
    return {name: others - {name, *FACE} for name, others in found.items() if name not in FACE}


def test_every_room_imports_only_what_the_law_allows() -> None:
    allowed, found = law(), rooms()
    assert set(allowed) == set(found)
    assert {name: others - allowed[name] for name, others in found.items() if others - allowed[name]} == {}


def test_the_law_names_rooms_and_has_no_cycle() -> None:
    allowed = law()
    assert not {other for others in allowed.values() for other in others} - set(allowed)
    assert cycle({name: others - {name} for name, others in allowed.items()}) == []


def test_no_module_reaches_itself_again() -> None:
    assert cycle({name: imports(name, MODULES, typing=False) for name in MODULES}) == []


def test_ray_stands_at_the_edge() -> None:
    inside = {name for name in MODULES if "ray" in libraries(name, MODULES)}
    assert "raysearch.runs.tuning" in inside
    places = {name.partition(".")[2] for name in inside if room(name) not in ROOMS_WITH_RAY}
    assert places == WITH_RAY


def test_networks_know_torch_alone() -> None:
    own = {library for name in MODULES if room(name) == "networks" for library in libraries(name, MODULES)}
    assert "torch" in own
    assert own <= {"torch", "torch_pruning", "numpy", *sys.stdlib_module_names}


def test_no_folder_has_a_second_subject() -> None:
    sizes: dict[Path, int] = {}
    for path in MODULES.values():
        sizes[path.parent] = sizes.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_a_cycle_is_found_and_a_lazy_import_counts() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert "raysearch.runs.phases" in imports("raysearch.study", MODULES, typing=False)
    for_checkers = "raysearch.runs.session", "raysearch.sweeps.left_out"
    assert for_checkers[0] in GRAPH[for_checkers[1]]
    assert for_checkers[0] not in imports(for_checkers[1], MODULES, typing=False)
