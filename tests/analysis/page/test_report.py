from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.judged.arms import share_of_gap_closed
from analysis.load import Study, load_study
from analysis.page import page_tables
from analysis.page.page_tables import PageTable
from analysis.page.report import summary_text, write_report
from analysis.words.details import details
from analysis.words.verdict import headline
from tests.analysis.synthetic import WriteStudy
from trainables.results.schema import SCHEMA_VERSION

NASTY = "<script>alert('x')</script>"
SECTIONS = {"metric", "choice", "sharpness", "together", "arms", "training", "conditions"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects ids, links and loaded addresses."""

    VOID = frozenset(["meta", "br", "wbr", "link", "img", "input", "hr"])

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._attributes(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                self.addresses.append(value or "")


@pytest.fixture(scope="module")
def page(quickstart: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("report") / "page.html"
    assert write_report(load_study(quickstart), output) == output
    return output.read_text(encoding="utf-8")


def _point(arm: str = "baseline", size: int = 32, seed: int = 0, **more: Any) -> dict[str, Any]:
    point = {"arm": arm, "global_batch_size": size, "seed": seed, "test_accuracy": 0.9 - size / 1e4}
    return point | more


def _read(folder: Path) -> str:
    return write_report(load_study(folder)).read_text(encoding="utf-8")


def _words(text: str) -> str:
    return " ".join(text.replace("\N{WORD JOINER}", "").split())


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(address.startswith("#") for address in parsed.addresses)
    assert {address[1:] for address in parsed.addresses} <= set(parsed.ids)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(parsed.tags)
    assert not re.findall(r"@import|@font-face|url\((?!#)", page)
    assert set(parsed.ids) >= SECTIONS | {"verdict", "failures", "reproduce", "words"}


def test_every_figure_is_drawn_with_a_caption_and_text_that_can_be_read_aloud(page: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) == 6
    for figure in figures:
        assert re.search(r'<svg role="img" aria-label="[^"]+', figure)
        assert "<text" in figure  # not outlines of letters
        assert re.search(r"<figcaption><b>.+</b> .*n = \d", figure, re.DOTALL)


def test_the_verdict_and_the_study_file_stand_on_the_page(page: str, quickstart: Path) -> None:
    text = _words(Page(page).text)
    study = load_study(quickstart)
    for paragraph in [*headline(study).split("\n\n"), *details(study)]:
        assert _words(paragraph) in text
    assert "<summary>In detail</summary>" in page
    assert _words((quickstart / "study.yaml").read_text()) in text


def test_the_same_results_give_the_same_bytes(page: str, quickstart: Path, tmp_path: Path) -> None:
    output = tmp_path / "again.html"
    code = (
        "import sys; from pathlib import Path; from analysis.load import load_study;"
        "from analysis.page.report import write_report;"
        "write_report(load_study(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(quickstart), str(output)]
    subprocess.run(
        command, check=True, env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    )
    assert output.read_text(encoding="utf-8") == page


def test_what_users_wrote_is_text_never_markup(study: WriteStudy) -> None:
    points = [
        _point(arm=arm, size=size, seed=seed, sharpness=10.0 + seed + size)
        for arm in ("baseline", NASTY)
        for size in (32, 64)
        for seed in range(2)
    ]
    failed = _point(arm=NASTY, size=128, status="failed", error=f"ValueError: {NASTY}")
    folder = study([*points, failed], name=NASTY, question=NASTY)
    (folder / "provenance.json").write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "commit": NASTY})
    )
    page = _read(folder)
    assert "<script" not in page
    assert "alert" in html.unescape(page)
    assert f"ValueError: {NASTY}" in _words(Page(page).text)


def test_a_study_that_has_not_run_has_a_page_that_says_so(study: WriteStudy) -> None:
    page = _read(study([_point(size=size, status="planned") for size in (32, 64)]))
    assert "2 of 2 trials have no result yet" in page
    assert "<svg" not in page
    assert "No trial has completed yet" in page


def test_without_a_baseline_batch_size_accuracy_is_still_shown(study: WriteStudy) -> None:
    points = [_point(size=size, seed=seed) for size in (32, 64) for seed in range(2)]
    page = _read(study(points, baseline_batch_size=None))
    assert 'id="figure-metric"' in page
    assert 'id="figure-arms"' not in page
    assert "Exploratory: 2 seeds" in page


def test_one_trial_of_one_seed_has_a_page(study: WriteStudy) -> None:
    assert "Exploratory: 1 seed." in _read(study([_point()]))


def test_damage_is_named_on_the_page(results_folder: WriteStudy) -> None:
    folder = results_folder(
        [_point(size=size, seed=seed) for size in (32, 64) for seed in range(2)]
    )
    damaged = next((folder / "evaluations").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-40])
    page = _read(folder)
    assert f"evaluations/{damaged.name}" in Page(page).text
    assert "see What went wrong" in page


def test_a_diverged_trial_is_listed_with_its_error(study: WriteStudy) -> None:
    lost = _point(size=64, seed=3, status="diverged", error="loss nan at step 17")
    del lost["test_accuracy"]
    page = Page(_read(study([_point(size=32, seed=3), _point(size=64, seed=2), lost])))
    assert "1 diverged" in page.text
    assert "loss nan at step 17" in page.text
    assert "diverged (how many)" in page.text


def test_the_summary_is_the_headline_and_two_tables(
    quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.page.report.exhibits", None)  # no figure is drawn for it
    text = summary_text(load_study(quickstart))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    *paragraphs, gaps, shares = text.split("\n\n")
    assert [*map(_words, paragraphs)] == headline(load_study(quickstart)).split("\n\n")
    assert len(paragraphs) == 2
    assert re.search(r"^sqrt +1000 +\d+\.\d+ ± ", gaps, re.MULTILINE)
    row = r"^lars +1000 +60 \[49, 72\] +closes +0\.\d\d \["
    assert re.search(row, shares, re.MULTILINE)
    assert not any(line.startswith("%") for line in lines)


def test_a_summary_of_many_cells_is_cut(study: WriteStudy) -> None:
    text = summary_text(load_study(study([_point(size=size) for size in range(32, 132)])))
    assert text.count("\n") < 60
    assert "... 60 more rows in the report" in text


def test_a_summary_without_arms_has_one_table(study: WriteStudy) -> None:
    points = [_point(size=size, seed=seed) for size in (32, 64) for seed in range(2)]
    loaded = load_study(study(points))
    *paragraphs, gaps = summary_text(loaded).split("\n\n")
    assert [*map(_words, paragraphs)] == headline(loaded).split("\n\n")
    assert re.search(r"^baseline +64 +89\.36 ± 0\.00 +0\.32 \(all 2 equal\) ", gaps, re.MULTILINE)


# ---------------------------------------------------------------------------------- key numbers


def _two_networks(**changes: Any) -> list[dict[str, Any]]:
    """f1 loses 2 points at 512 and c1 5; of these `half` takes back 1 and 4."""
    noise = [1e-4, -2e-4, 0.0, 2e-4, -1e-4]
    lost = {("f1", "baseline"): 0.02, ("f1", "half"): 0.01}
    lost |= {("c1", "baseline"): 0.05, ("c1", "half"): 0.01}
    return [
        _point(arm=arm, size=size, seed=seed, network=network, block=int(network == "c1"))
        | {"test_accuracy": 0.95 - (size > 32) * less + noise[(seed + (size > 32) + i) % 5]}
        | {"discard_ratio": 0.3 * (arm == "half"), "sharpness": size * (1 + seed / 10 * size)}
        | changes
        for i, ((network, arm), less) in enumerate(lost.items())
        for size in (32, 512)
        for seed in range(5)
    ]


def test_each_network_has_its_key_numbers(study: WriteStudy) -> None:
    loaded = load_study(study(_two_networks()))
    page = write_report(loaded).read_text(encoding="utf-8")
    text = _words(Page(page).text)
    shares = share_of_gap_closed(loaded).set_index("settings")
    headings = [f"{name}: batch size 512 against 32" for name in ("f1", "c1")]
    assert text.index(headings[0]) < text.index(headings[1])
    parts = text.split(headings[0])[1].split(headings[1])
    for part, network, gap in zip(parts, ("f1", "c1"), ("2.00", "5.00"), strict=True):
        row = shares.loc[f"network={network}"]
        assert f"generalization gap{gap} points" in part[:400]
        low, high = (f"{100 * row[name]:.0f}" for name in ("share_low", "share_high"))
        assert f"{low} to {high}, n = 5, of 1 comparison, 95 %" in part[:400]
    for paragraph in headline(loaded).split("\n\n"):
        assert _words(paragraph) in text


def test_key_numbers_credit_no_arm_without_a_word(study: WriteStudy) -> None:
    said = _words(Page(_read(study(_two_networks()))).text)
    assert "of the gap closed by half" in said
    smoke = _words(Page(_read(study(_two_networks(), name="synthetic-smoke"))).text)
    assert "f1: batch size 512 against 32" in smoke
    assert "of the gap closed by" not in smoke


def test_a_new_table_takes_a_function_and_an_entry(
    quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seeds(study: Study) -> pd.DataFrame:
        return pd.DataFrame({"arm": ["<all>"], "seeds": [str(study.points["seed"].nunique())]})

    entry = PageTable(section="conditions", label="Seeds", title="Seeds", frame=seeds)
    monkeypatch.setattr(page_tables, "TABLES", (*page_tables.TABLES, entry))
    page = write_report(load_study(quickstart), tmp_path / "report.html").read_text()
    section = page.partition('<section id="conditions">')[2].partition("</section>")[0]
    assert "<h3>Seeds</h3>" in section and "&lt;all&gt;" in section
