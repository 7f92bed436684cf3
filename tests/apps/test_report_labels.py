"""Where names stand in figures: all of them are there, and leave room for the figure."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.browsing import CHROMIUM, browser
from tests.support.reported import write_run
from trivium.apps.report import distributions, report
from trivium.apps.report.figure import LONGEST
from trivium.run.folder.affinity import Affinity, Grouping, write_affinity

OF_OBJECTS = ["constructor", "toString", "plain", "__proto__", "valueOf"]
"""Labels that every object of JavaScript has already, and one that it has not."""


def figures_of(run: Path) -> dict[str, Any]:
    page = report(run, run.with_suffix(".html"), console=Console(file=StringIO())).read_text()
    return json.loads(page.partition('id="figures">')[2].partition("</script>")[0])  # type: ignore[no-any-return]


def is_lying(figure: dict[str, Any]) -> bool:
    return all(bar.get("orientation") == "h" for bar in figure["data"])


def affinity_of(tasks: list[str]) -> Affinity:
    cells = [[0.01 for _ in tasks] for _ in tasks]
    return Affinity(
        tasks=tasks, gain=cells, low=cells, high=cells, measurements=9, steps=9, every=1, length=1,
        seed=0, stopped=False, exact=True, suggested=0,
        groupings=[Grouping(encoders=1, groups=[tasks], gain=0.1, harmed=[])],
    )  # fmt: skip


def test_names_stand_at_numbers_in_every_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", stars=OF_OBJECTS)
    write_affinity(run, affinity_of(["stars", "tags", "near"]))
    figures = figures_of(run)
    assert "affinity-0" in figures
    for name, figure in figures.items():
        axes = [each for key, each in figure["layout"].items() if re.match("[xy]axis", key)]
        assert all(axis.get("type") != "category" for axis in axes), name
        places = [p for t in figure["data"] for p in [*t.get("x", []), *t.get("y", [])]]
        assert not any(isinstance(place, str) for place in places), name


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with")
def test_labels_that_every_object_has_are_drawn_as_others_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", stars=OF_OBJECTS)
    figures_of(run)
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(run.with_suffix(".html").as_uri())
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        figure = page.locator("#labels-0")
        assert figure.locator(".ytick text").all_text_contents() == OF_OBJECTS


def test_short_names_stand_below_upright_bars(tmp_path: Path) -> None:
    figure = figures_of(write_run(tmp_path / "run"))["labels-0"]
    assert not is_lying(figure)
    assert figure["layout"]["xaxis"]["ticktext"] == ["awful", "bad", "fair", "good", "great"]


def test_long_names_are_cut_beside_lying_bars_and_whole_where_the_pointer_is(
    tmp_path: Path,
) -> None:
    long = [f"a name that goes on and on {place} <b>" for place in range(5)]
    figure = figures_of(write_run(tmp_path / "run", stars=long))["labels-0"]
    assert is_lying(figure)
    assert figure["layout"]["yaxis"]["ticktext"] == ["a name that goes on a…"] * 5
    assert len("a name that goes on a…") == LONGEST
    assert [bar["customdata"][4] for bar in figure["data"]][-1].endswith("on 4 &lt;b&gt;")
    assert all("%{customdata} %{x:" in bar["hovertemplate"] for bar in figure["data"])


def test_many_labels_are_all_named_and_the_picture_grows_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"label {place}" for place in range(60)]
    run = write_run(tmp_path / "run", stars=many)
    figure = figures_of(run)["labels-0"]
    assert figure["layout"]["yaxis"]["ticktext"] == many
    page = run.with_suffix(".html").read_text()
    height = re.search(r'id="labels-0"[^>]*height: (\d+)px', page)
    assert height is not None
    assert int(height[1]) > 60 * 20
    assert "those with the largest shares" not in page
    monkeypatch.setattr(distributions, "MOST_LABELS", 12)
    run.with_suffix(".html").unlink()
    names = figures_of(run)["labels-0"]["layout"]["yaxis"]["ticktext"]
    assert {"label 0", "label 1", "label 4"} <= {*names}  # dev's own
    page = run.with_suffix(".html").read_text()
    assert "12 of the 60 labels: those with the largest shares." in page
