from __future__ import annotations

from pathlib import Path

from raysearch.study_file.reference_page import page

PAGE = Path(__file__).parents[2] / "docs" / "study-file.md"


def test_the_page_is_up_to_date() -> None:
    command = "python -m raysearch.study_file.reference_page > docs/study-file.md"
    assert PAGE.read_text(encoding="utf-8") == page(), f"the schema changed: run `{command}`"
