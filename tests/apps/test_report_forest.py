"""The forest plot of nine tasks, as data and in a real browser."""

from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from rich.console import Console

from tests.support.browsing import CHROMIUM, PHONE, browser
from tests.support.nine import NAMES, make
from tests.support.thorough import some_of
from trivium.apps.report import report
from trivium.apps.report.figure import LONGEST
from trivium.apps.report.forest import ALONE, NOISE, SURE, forest
from trivium.run.verdict.facts import Verdict
from trivium.run.verdict.forest import ranked
from trivium.run.verdict.verdict import verdict


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make(tmp_path_factory.mktemp("nine"))


@pytest.fixture(scope="module")
def nine(runs: list[Path]) -> Verdict:
    return verdict(runs, resamples=2000)


def test_every_difference_is_a_line_the_largest_gain_first(nine: Verdict) -> None:
    order = ranked(nine.comparisons)
    figure = forest(nine)
    (trace,) = figure.traces
    assert trace["x"] == [round(100 * c.difference, 3) for c in order]
    assert figure.layout["yaxis"]["range"] == [len(order) - 0.5, -0.5]  # downwards
    ends = [x + more for x, more in zip(trace["x"], trace["error_x"]["array"], strict=True)]
    assert ends == pytest.approx([100 * c.high for c in order], abs=0.002)
    assert figure.height > 25 * len(order)


def test_dots_tell_what_the_correction_leaves(nine: Verdict) -> None:
    found = dict(zip(forest(nine).layout["yaxis"]["ticktext"],
                     forest(nine).traces[0]["marker"]["symbol"], strict=True))  # fmt: skip
    assert (found["mood"], found["urgent"], found["toxic"]) == (SURE, ALONE, NOISE)


def test_long_names_are_cut_beside_the_plot_and_whole_where_the_pointer_is(nine: Verdict) -> None:
    figure = forest(nine)
    names = figure.layout["yaxis"]["ticktext"]
    assert max(map(len, names)) <= LONGEST
    assert any(name.endswith("…") for name in names)
    assert any(NAMES[3] in told for told in figure.traces[0]["text"])
    # Plotly reads markup: the system's name holds some, which is only text.
    assert all("one|for&lt;b&gt;*all*" in told for told in figure.traces[0]["text"])


@pytest.fixture(scope="module")
def page_file(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "nine.html"
    return report(runs, path, console=Console(file=StringIO()))


def opened(page: Page, path: Path) -> list[str]:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator("#verdict .figure .main-svg").first.wait_for(state="attached")
    return problems


WIDE = {"width": 1280, "height": 900}
PLACES = """
figure => {
  const box = element => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return { left, right, top, bottom };
  };
  return {
    figure: box(figure),
    names: [...figure.querySelectorAll(".ytick text")].map(box),
    dots: [...figure.querySelectorAll(".points path.point")].map(box),
    whiskers: [...figure.querySelectorAll(".errorbars path")].map(box),
  };
}
"""


@pytest.mark.parametrize("view", some_of([WIDE, PHONE], PHONE.__eq__), ids=["wide", "phone"])
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with")
@pytest.mark.xdist_group("report")
def test_in_a_browser_names_and_whiskers_stand_apart_and_within_the_figure(
    page_file: Path, view: Any
) -> None:
    with browser() as chromium:
        page = chromium.new_context(viewport=view, reduced_motion="reduce").new_page()
        problems = opened(page, page_file)
        figure = page.locator("#verdict .figure").first
        found = figure.evaluate(PLACES)
    assert problems == []
    assert len(found["names"]) == len(found["dots"]) == len(NAMES) + 1
    inside = found["figure"]
    for name, dot in zip(found["names"], found["dots"], strict=True):
        assert name["left"] >= inside["left"]
        assert name["right"] < dot["left"]  # also of the leftmost dot: names stand outside the plot
        assert abs((name["top"] + name["bottom"]) / 2 - (dot["top"] + dot["bottom"]) / 2) < 4
    names = sorted(found["names"], key=lambda place: place["top"])
    for above, below in pairwise(names):
        assert above["bottom"] <= below["top"] + 1
    for whisker in found["whiskers"]:
        assert inside["left"] <= whisker["left"]
        assert whisker["right"] <= inside["right"]
