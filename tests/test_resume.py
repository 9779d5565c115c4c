"""What cannot be gone on with; runs that are gone on with stand in test_end_to_end and sweeps/test_sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import STUDY, make_events, write_run

from raysearch.record.journal import Journal
from raysearch.resume import resume


def test_a_run_killed_before_its_first_session_is_begun_anew_not_resumed(tmp_path: Path) -> None:
    Journal(tmp_path).write("run", version=1, study={})
    with pytest.raises(ValueError, match="nothing was started"):
        resume(tmp_path)


def test_a_task_made_in_python_is_gone_on_with_there(tmp_path: Path) -> None:
    events = make_events(2)
    events[0]["study"] = {**STUDY, "task": {"name": "mine"}}
    with pytest.raises(ValueError, match=r"the task 'mine' of .* was made in Python: go on with it there"):
        resume(write_run(tmp_path / "run", events))
