"""What a run found, as a user has it: tables, plots, and files to deploy.

result = StudyResult("runs/digits")
result.front                      # a DataFrame, best first
result.plot_front()
result.export("deploy/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysearch.record.results import RunResult

if TYPE_CHECKING:
    import plotly.graph_objects as go


class StudyResult(RunResult):
    """The results of a run folder, finished or not, with plots; see ``RunResult``."""

    def plot_front(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """The front over two objectives as a plotly figure.

        Args:
            x: the metric of the horizontal axis; the second objective if left out.
            y: the metric of the vertical axis; the first objective if left out.

        Raises:
            ValueError: a metric that no trial reports.
        """
        from raysearch.reporting import plots

        metrics = self.goals.metrics
        return plots.front(self, x or (metrics[1] if len(metrics) > 1 else "size_mb"), y or metrics[0])
