"""The run as it goes on: a live table in a terminal, plain lines where the output is piped, or nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from threading import Lock
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raysearch.objectives import Objective
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import Scores, goals_of
from raysearch.reporting.figures import UNKNOWN, duration, metric_value, number

#: Seconds between plain lines, and between redraws of the table.
LINE_INTERVAL = 10.0
REDRAW_INTERVAL = 0.5

_LAST_PHASE = "measuring the front again, alone"


class LiveTable:
    """Shows a run from its journal's events; a context manager around the run.

    An event costs well under a millisecond however long the run is: counts are kept, and the front changes
    only when a complete trial enters it.

    Args:
        record: the run; each event is applied to it before ``event`` is told of it.
        limit: how many trials are to be suggested in all; inf: any number.
        quiet: show nothing.
        console: where to; standard output if left out.
        clock: seconds, for tests.
        elapsed: seconds since the session began, where that is watched from later on.

    Attributes:
        where: what there is to say of the cluster, by how many trials are running; "" on one machine.
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        limit: float,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        elapsed: float = 0.0,
    ) -> None:
        self.record, self.limit, self.quiet = record, limit, quiet
        self.console = console or Console()
        self.scores = Scores(record)
        self.counts = {"running": 0, "finished": 0, "stopped": 0, "untrained": 0, "failed": 0}
        for trial in record.searched():
            self.counts[_state(trial)] += 1
        self._paused = {trial.name for trial in record.searched() if trial.paused}
        self._outdated = False  # whether the scores are, by limits that changed
        self.phase, self.waiting = "starting", ""
        self.where: Callable[[int], str] = lambda running: ""
        self._clock, self._start = clock, clock() - elapsed
        self._deadline = math.inf
        self._search_start: float | None = None
        self._done_before = 0
        self._last_line = -math.inf
        self._lock = Lock()
        self._live: Live | None = None
        self._cell: _Cell | None = None

    def __enter__(self) -> LiveTable:
        if self.console.is_jupyter and not self.quiet:
            self._cell = _Cell(self.render)
        elif self.console.is_terminal and not self.quiet:
            self._live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=1 / REDRAW_INTERVAL,
                transient=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._cell is not None:
            self._cell.show()
        elif not self.quiet and error is None:
            self._print_line()

    def begin(self, phase: str) -> None:
        """Say what is done before the first event."""
        self.phase = phase
        if self._cell is not None:
            self._cell.show()
        elif self._live is None and not self.quiet:
            self.console.print(phase)

    def say(self, remark: str) -> None:
        """Print a remark, above the table where there is one."""
        if not self.quiet:
            self.console.print(f"Note: {remark}", markup=False, highlight=False, soft_wrap=True)

    def wait(self, text: str) -> None:
        """Say what the run waits for; an empty text: it goes on."""
        news = bool(text) != bool(self.waiting)
        self.waiting = text
        if news and self._live is None and not self.quiet:
            self.console.print(text or "going on", markup=False, highlight=False, soft_wrap=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Take note of an event that was applied to the record."""
        with self._lock:
            phase = self.phase
            worth_a_line = self._note(event) and self._clock() - self._last_line >= LINE_INTERVAL
            last_phase_begins = self.phase == _LAST_PHASE != phase
        if self._cell is not None:
            self._cell.show(at_most_every=REDRAW_INTERVAL)
        elif (worth_a_line or last_phase_begins) and self._live is None and not self.quiet:
            self._print_line()

    def _note(self, event: Mapping[str, Any]) -> bool:
        """Take an event in; says whether it is worth a line."""
        kind = event["event"]
        self._rank_anew(kind)
        if kind == "session" and event.get("max_minutes"):
            left = event["time"] + 60 * event["max_minutes"] - time.time()
            self._deadline = self._clock() + left
        trial = self.record.trials.get(event.get("trial", ""))
        worth_a_line: bool = kind == "final"
        if trial is not None:
            (self._paused.add if trial.paused else self._paused.discard)(trial.name)
        if trial is not None and kind in ("suggestion", "report", "end"):
            note = self._note_reference if trial.role == "reference" else self._note_searched
            worth_a_line = note(event, trial)
        # Nothing but finalists is left once every trial has ended, and the first of them may take long.
        if kind == "final" or self.ended >= self.limit:
            self.phase = _LAST_PHASE
        return worth_a_line

    def _rank_anew(self, kind: str) -> None:
        """Once limits have changed, and all figures that they need have come."""
        if kind in ("limits", "measured"):
            self._outdated = True
        elif self._outdated:
            self.scores, self._outdated = Scores(self.record), False

    def _note_reference(self, event: Mapping[str, Any], trial: TrialRecord) -> bool:
        if event["event"] == "report":
            epoch = f", epoch {event['step']}" if event["step"] > 0 else ""
            self.phase = f"making the reference {trial.name}{epoch}"
            return True
        doing = "making" if event["event"] == "suggestion" else "made"
        self.phase = f"{doing} the reference {trial.name}"
        return True

    def _note_searched(self, event: Mapping[str, Any], trial: TrialRecord) -> bool:
        self.phase = "searching"
        first = self._search_start is None
        if event["event"] == "suggestion":
            self.counts["running"] += 1
        elif event["event"] == "end":
            self.counts["running"] -= 1
            self.counts[_state(trial)] += 1
            self.scores.add(trial)
        if first:
            # An end that comes first was only written down late, by a resume: it says nothing of the pace.
            self._search_start, self._done_before = self._clock(), self._done
        return bool(event["event"] == "end")

    @property
    def ended(self) -> int:
        """The trials that ended, in earlier sessions too."""
        return sum(self.counts.values()) - self.counts["running"]

    @property
    def _running(self) -> int:
        return self.counts["running"] - len(self._paused)

    @property
    def _done(self) -> int:
        """The trials that ended or wait."""
        return self.ended + len(self._paused)

    def _progress(self) -> str:
        done = str(self._done) if math.isinf(self.limit) else f"{self._done} of {self.limit:.0f}"
        return f"{done} {'candidates' if self.record.screen > 1 else 'trials'}"

    def seconds_left(self) -> float:
        """Until all trials have ended or wait at the pace of this session, or time is up; inf where unknown.

        How long the front will be finished for nobody knows.
        """
        now = self._clock()
        left = math.inf
        done_here = self._done - self._done_before
        if self._search_start is not None and done_here > 0 and self._done < self.limit:
            left = (self.limit - self._done) * (now - self._search_start) / done_here
        return max(0.0, min(left, self._deadline - now))

    def best(self, objective: Objective) -> TrialRecord | None:
        """The trial of the front that is best in one objective."""
        sign = -1 if objective.maximize else 1
        known = [(trial.searched_values.get(objective.metric), trial) for trial in self.scores.front]
        ranked = [(sign * value, place) for place, (value, _) in enumerate(known) if value is not None]
        return known[min(ranked)[1]][1] if ranked else None

    # -- what is shown ---------------------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """The table as it stands."""
        with self._lock:
            if not self.record.header:
                return Text(self.phase, style="dim")
            return Panel(
                Group(self._bar(), Text(), self._counts_text(), *self._where(), Text(), self._best_table()),
                title=f"raysearch · {self._task_name()} · {self.waiting or self.phase}",
                title_align="left",
                border_style="dim",
                width=min(self.console.width, 96),
                padding=(1, 2),
            )

    def _task_name(self) -> str:
        task = self.record.header["study"]["task"]
        return str(task.get("name") or task.get("import"))

    def _bar(self) -> RenderableType:
        line = Table.grid(padding=(0, 2), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        elapsed, left = duration(self._clock() - self._start), duration(self.seconds_left())
        line.add_row(
            ProgressBar(
                total=None if math.isinf(self.limit) else self.limit,
                completed=self._done,
                complete_style="cyan",
            ),
            Text(f"{self._progress()} · {elapsed} elapsed · {left} left"),
        )
        return line

    def _counts_text(self) -> RenderableType:
        counts = [f"[bold]{count}[/] {name}" for name, count in self._named_counts().items()]
        front = [f"[bold]{len(self.scores.front)}[/] on the front"]
        front += [f"hypervolume [bold]{number(self.scores.hypervolume)}[/]"]
        return Text.from_markup("\n".join("   ".join(cells) for cells in (counts, front)))

    def _named_counts(self) -> dict[str, int]:
        counts = {
            "done" if n == "finished" else n: c for n, c in self.counts.items() if c or n != "untrained"
        }
        if self._paused:
            counts.pop("running")
            return {"running": self._running, "paused": len(self._paused), **counts}
        return counts

    def _where(self) -> list[Text]:
        where = self.where(self._running)
        return [Text(where, style="dim")] if where else []

    def _best_table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        table.add_column("objective")
        for column in ("best", "trial", "parent"):
            table.add_column(column, justify="right")
        parent = self.record.parent.searched_values if self.record.parent else {}
        for objective in goals_of(self.record).objectives:
            metric, best = self.record.metric(objective.metric), self.best(objective)
            table.add_row(
                f"{'max' if objective.maximize else 'min'} {metric.title}",
                metric_value(metric, best.searched_values[metric.name]) if best else UNKNOWN,
                best.name if best else UNKNOWN,
                metric_value(metric, parent.get(metric.name, math.nan)),
            )
        return table

    def _print_line(self) -> None:
        self._last_line = self._clock()
        if self._search_start is None and not self.ended:
            self.console.print(self.phase, markup=False, highlight=False)
            return
        parts = [self._progress()]
        parts += [f"{count} {name}" for name, count in self._named_counts().items()]
        parts += [where] if (where := self.where(self._running)) else []
        parts += [f"front {len(self.scores.front)}", f"hypervolume {number(self.scores.hypervolume)}"]
        for objective in goals_of(self.record).objectives:
            best = self.best(objective)
            if best is not None:
                metric = self.record.metric(objective.metric)
                parts.append(f"best {metric.name} {metric_value(metric, best.searched_values[metric.name])}")
        parts.append(f"{duration(self.seconds_left())} left" if self.phase == "searching" else self.phase)
        self.console.print(" · ".join(parts), markup=False, highlight=False, soft_wrap=True)


def _state(trial: TrialRecord) -> str:
    return "untrained" if trial.untrained else trial.outcome or "running"


class _Cell:
    """The table in a notebook, drawn anew in its place; rich's own way needs a package of widgets."""

    def __init__(self, render: Callable[[], RenderableType]) -> None:
        from IPython.display import display

        self._render = render
        self._shown = time.monotonic()
        self._handle = display(render(), display_id=True)

    def show(self, at_most_every: float = 0.0) -> None:
        """Draw it, unless it was drawn within so many seconds."""
        if time.monotonic() - self._shown >= at_most_every:
            self._shown = time.monotonic()
            self._handle.update(self._render())
