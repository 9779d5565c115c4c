from __future__ import annotations

from pathlib import Path

from raysearch.study_docs import page

PAGE = Path(__file__).parents[1] / "docs" / "study-file.md"


def test_the_page_is_up_to_date() -> None:
    command = "python -m raysearch.study_docs > docs/study-file.md"
    assert PAGE.read_text(encoding="utf-8") == page(), f"the schema changed: run `{command}`"
