"""Every preset at its smallest scale, from file to report, as a person runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import load_study
from analysis.page.report import write_report
from analysis.words.scorecard import scorecard
from study.run.opening import open_study, preset_files
from study.run.run_study import run_study

NAMES = [name for name in preset_files() if name not in ("quickstart", "four-axes")]
"""Those two have one scale; other tests and `make quickstart` run them."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_runs_at_its_smallest_scale_and_stands_beside_its_paper(
    name: str, tmp_path: Path
) -> None:
    opened = open_study(name, (), tmp_path, scale="smoke")
    said: list[str] = []
    ran = run_study(opened, runner="serial", should_stop=lambda: False, say=said.append)
    assert ran.failed == 0

    study = load_study(opened.folder)
    assert not study.problems
    assert set(study.trials["status"]) <= {"complete", "diverged"}
    card = scorecard(study)
    assert len(card) > 0
    assert not card["direction"].isin(["not run", "not measured"]).any(), card.to_string()
    page = write_report(study).read_text()
    assert "Beside the papers" in page
    assert all(text in page for text in card["paper"].map(lambda text: text.split(" ")[0]))
