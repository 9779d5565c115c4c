"""docs/study-file.md, written from the schema of the study file."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raysearch import backends, search_spaces
from raysearch.methods import Method
from raysearch.metrics import OWN, find
from raysearch.schedulers import SCHEDULERS
from raysearch.searchers import SEARCHERS
from raysearch.study_file.schema import TASKS, StudyFile
from raysearch.study_file.space_text import DOMAINS, FUNCTIONS

_HEAD = """# The study file

<!-- Written by `python -m raysearch.study_file.reference_page > docs/study-file.md`: change the schema. -->

A study file says what is searched, for what, and how. `raysearch check FILE` validates one without
training; `raysearch run FILE` runs it; `--set search.num_trials=64` overrides any key. An unknown key is
refused, with the nearest known one.

```yaml
task: digits
space:
  architecture: {resnet: {depth: [1, 3], width: [8, 64]}}
  pruning: {channel_pruning: {max_ratio: 0.8}}
  bits: {bit_widths: {weights: [2, 4, 8, 32], activations: [4, 8, 32]}}
  teacher: {teachers: [parent, null]}
  training: {lr: {loguniform: [1e-4, 1e-2]}}
objectives: [maximize accuracy, minimize latency_ms/onnxruntime-cpu, minimize size_mb]
constraints: [accuracy >= parent - 0.02]
targets: [onnxruntime-cpu]
search: {num_trials: 48, epochs: 9, seed: 0}
```
"""

_TASK = """## task

One of

- the name of a ready task, `task: digits`, or with its arguments, `task: {name: mnist, folder: data/mnist}`;
- an import path, `task: {import: "module:function", any_argument: 1}`: a function that returns a
  `raysearch.Task`, with your model and data. The module is looked for in the study file's own folder, then in
  the working directory and `sys.path`; workers find it too, and what it imports. A run remembers the folder
  (as `module_folder`), so that `raysearch resume` finds it from anywhere.

A relative `folder` is taken from the study file's own folder, and those of `search.warm_start` from there or
else from the working directory. The ready tasks: %s.
"""

_SPACE = """## Space functions

Each is called with the arguments of the Python function of the same name in `raysearch.search_spaces`; a list
stands for a tuple. A key of the space can also hold Ray Tune's domains and constants directly, and `pruning`
both of its functions beside one another. What the `architecture` of your own model's function holds is up to
you (see spaces.md); parts that depend on a choice stand inside it:
`block: {choice: [{kind: conv, kernel: {choice: [3, 5]}}, {kind: pool}]}`.
"""

_CHANGES = """## What may change in a run that has begun

`raysearch resume DIR --set KEY=VALUE` gives a run other values, for that session and those that follow:

- `search.num_trials`, `search.max_minutes`, `search.workers`: how long, and with how many;
- `constraints`, tightened, relaxed, added or dropped, and `objectives`, of whatever every trial that
  finished has reported, the whole list:
  `--set "constraints=[accuracy >= parent - 0.01, size_mb <= 0.3 parent]"`;
- `targets`, to which others are added: `--set "targets=[onnxruntime-cpu, torch-cpu]"`. Each trial that
  finished and each reference is measured there once, from its files or exported from its weights, and each
  trial that waits as it was before training. One whose files are gone has no figure there, as the report
  says, and cannot be on a front of that target. A device that is away is asked again by the next session. A
  target that came so and gave no figure, as its device is gone or does not run the parent, goes again where
  the list leaves it out, and the limits from before it hold but for those that are named.

`raysearch run FILE --out DIR` on the run's folder, and `Study(...).run(folder=...)` in Python, go on under
the objectives, constraints and targets that they name, by the same rules. A run whose task was made in Python
takes others in this way alone.

All trials are ranked anew and none runs again: searcher and scheduler take in the whole journal as it ranks
under the limits of now, what was decided stays decided, and a finished run ends as soon as the variants that
came to the front have been measured as the others were. A trial that was stopped under narrower limits stays
stopped. The report says what changed, and when. What cannot be is one sentence before any work: a metric that
trials finished without, a target that is not there, or one for which they would have been trained otherwise
(with signed activations, as TensorRT wants them, with every layer's output rounded, as LiteRT does, in fewer
bits, or in integers alone), and any target of a study with early exits. All else, the space, the task and
the epochs, makes another run.
"""

_DOMAINS = """## Domains

A domain is a mapping of one key, named as in `ray.tune`; `randint` and `lograndint` exclude their
upper bound.
"""

_TRAINING = """### space.training

Domains or constants, such as `{optimizer: {choice: [adamw, sgd]}, ema: 0.99, layer_lr: {stem: 0.1}}`. Left
out, these hold: `%s`.

"""

_METHODS = """## %s

`search.%s` is one of these names, or a mapping of `name` and options: `%s`.
"""

_METRICS = """## Metrics

Objectives and constraints are on these. A task with metrics of its own names them, and its names stand in
place of `accuracy` everywhere. TARGET is one of the study's targets; those known are %s.
Constraints compare with a number or with the parent's own figure: `size_mb <= 0.2`,
`accuracy >= parent - 0.02`, `latency_ms/onnxruntime-cpu <= 0.5 parent`.
"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD, "## Keys\n", _keys_table(StudyFile, "")]
    for name, section in _sections(StudyFile):
        what = inspect.cleandoc(section.__doc__ or "")
        parts += [f"### {name}\n\n{what}\n", _keys_table(section, f"{name}.")]
    parts += [_TASK % ", ".join(f"`{t}`" for t in TASKS), _SPACE, *_functions(), _training()]
    parts += [*_methods("Searchers", "searcher", SEARCHERS), *_methods("Schedulers", "scheduler", SCHEDULERS)]
    domains = [(f"`{{{name}: [{', '.join(arguments)}]}}`",) for name, arguments in DOMAINS.items()]
    parts += [_DOMAINS, _table(("domain",), domains)]
    metrics = [(f"`{m.form}`", m.unit, m.source, m.description) for m in (find("accuracy"), *OWN.values())]
    known = ", ".join(f"`{target}`" for target in backends.names())
    parts += [_METRICS % known, _table(("metric", "unit", "from", "what it is"), metrics), _CHANGES]
    return "\n".join(parts)


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield f"{prefix}{name}", section
            yield from _sections(section, f"{prefix}{name}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    options = getattr(field.annotation, "__args__", (field.annotation,))
    return next((o for o in options if inspect.isclass(o) and issubclass(o, BaseModel)), None)


def _keys_table(model: type[BaseModel], prefix: str) -> str:
    rows = [
        (f"`{prefix}{name}`", _type(field), _default(field), field.description or "")
        for name, field in model.model_fields.items()
    ]
    return _table(("key", "type", "default", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    if _section(field):
        return "mapping"
    text = str(getattr(field.annotation, "__name__", field.annotation))
    for name, word in (
        ("Mapping", "a name, or a mapping of `name` and options"),
        ("list[dict", "list of mappings"),
        ("list[float", "list of numbers"),
        ("list", "list of texts"),
        ("dict", "mapping"),
        ("int", "whole number"),
        ("float", "number"),
    ):
        if name in text or name in str(field.annotation):
            return word
    return text


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    return "see below" if isinstance(value, BaseModel) else f"`{json.dumps(value)}`"


def _methods(title: str, key: str, methods: Mapping[str, Method]) -> Iterator[str]:
    """What searchers or schedulers there are, with their options."""
    name, options = next((n, list(m.options().values())) for n, m in methods.items() if m.options())
    yield _METHODS % (title, key, f"{{name: {name}, {options[0].name}: {json.dumps(options[0].default)}}}")
    rows = [
        (
            f"`{name}`",
            method.summary,
            ", ".join(f"`{p.name}={p.default!r}`" for p in method.options().values()),
        )
        for name, method in methods.items()
    ]
    yield _table(("name", "what it is", "options"), rows)


def _functions() -> Iterator[str]:
    """The signature of every space function and the first paragraph of what it says of itself."""
    for key, names in FUNCTIONS.items():
        for name in names:
            function = getattr(search_spaces, name)
            shown = [
                f"{p.name}={p.default!r}" if p.default is not p.empty else str(p).split(":")[0]
                for p in inspect.signature(function).parameters.values()
                if p.name != "over"
            ]
            what, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
            title = f"### space.{key}: `{name}({', '.join(shown)})`"
            yield f"{title}\n\n{what.replace('``', '`')}\n\n{_arguments(rest)}"


def _training() -> str:
    """The keys of space.training, with their defaults."""
    plan = search_spaces.TrainingPlan
    defaults = ", ".join(f"{name}={_shown(value)}" for name, value in asdict(plan()).items())
    arguments = _arguments(inspect.cleandoc(plan.__doc__ or ""))
    return _TRAINING % defaults + arguments


def _shown(value: Any) -> str:
    """A default as a study file has it: true and false, numbers in six digits."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _arguments(docstring: str) -> str:
    """The Args section of a Google docstring as a list; ``over`` is the Study's own."""
    _, _, arguments = docstring.partition("Args:\n")
    lines: list[str] = []
    for line in arguments.split("\n\n")[0].splitlines():
        if line.startswith("     "):
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
    named = [line.partition(": ") for line in lines]
    items = "".join(f"- `{name}`: {what}\n" for name, _, what in named if name != "over")
    return items.replace("``", "`")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
