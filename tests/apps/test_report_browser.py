"""A report in a real browser: it asks for nothing, lists what it should, and fits a phone."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route
from rich.console import Console

from tests.support.browsing import CHROMIUM, CONTRAST, PHONE, browser
from tests.support.reported import HOSTILE, STARS, answers_in, write_run
from trivium.apps.report import report

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with"),
    pytest.mark.xdist_group("report"),  # its pages are opened once
]


@dataclass
class Opened:
    """A page, and what went wrong in it."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def choose(self, **values: str) -> None:
        """Set filters: lists by what is shown, other fields by what is typed."""
        for name, value in values.items():
            place = self.page.locator(f"#filters [name={name}]")
            if place.evaluate("element => element.tagName") == "SELECT":
                place.select_option(label=value)
            else:
                place.fill(value)
        self.page.locator("#list:not([aria-busy])").wait_for(state="attached")

    def reset(self) -> None:
        self.page.locator("#filters button").click()
        self.page.wait_for_function("document.querySelector('#filters [name=text]').value === ''")
        # The list is renewed after the event, by a timer; timers run in their order.
        self.page.evaluate("new Promise(done => setTimeout(done))")

    def lines(self) -> list[int]:
        """Lines of all rows that are chosen, in their order, page by page."""
        found: list[int] = []
        while True:
            each = self.page.locator("#list > li")
            found += each.evaluate_all("rows => rows.map(row => Number(row.dataset.line))")
            if self.page.locator("#after").is_disabled():
                break
            self.page.locator("#after").click()
        assert len(found) == int(self.page.locator("#count").get_attribute("data-chosen") or -1)
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, a report on the first and one on both."""
    home = tmp_path_factory.mktemp("reports")
    runs = [write_run(home / "first", texts=HOSTILE), write_run(home / "second", 1, texts=HOSTILE)]
    quiet = Console(file=StringIO())
    report(runs[0], home / "one.html", console=quiet)
    report(runs, home / "two.html", console=quiet)
    return home


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


class Reader:
    """Opens reports, and keeps what it opened."""

    def __init__(self, home: Path, browser: Browser) -> None:
        self.home, self.browser = home, browser
        self.every: list[Opened] = []
        self.kept: dict[str, Opened] = {}

    def open(self, name: str, **settings: Any) -> Opened:
        given = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | settings
        seen = Opened(self.browser.new_context(**given).new_page())
        self.every.append(seen)

        def ask(route: Route) -> None:
            if route.request.url.startswith(("file:", "data:")):
                route.continue_()
            else:
                seen.requests.append(route.request.url)
                route.abort()

        seen.page.route("**/*", ask)
        seen.page.on("console", lambda message: seen.problems.append(message.text))
        seen.page.on("pageerror", lambda error: seen.problems.append(str(error)))
        seen.page.on("dialog", lambda dialog: seen.problems.append(dialog.message))
        seen.page.goto((self.home / name).as_uri())
        return seen

    def reopen(self, name: str) -> Opened:
        """A page that was opened before, with its filters as at first: loading takes a while."""
        if name not in self.kept:
            self.kept[name] = self.open(name)
        self.kept[name].reset()
        return self.kept[name]


@pytest.fixture(scope="module")
def pages(home: Path, chromium: Browser) -> Reader:
    return Reader(home, chromium)


@pytest.fixture
def reader(pages: Reader) -> Iterator[Reader]:
    """Afterwards, that nothing went wrong in any page, and nothing was asked for."""
    yield pages
    for seen in pages.every:
        assert seen.problems == []
        assert seen.requests == []


@pytest.fixture
def one(reader: Reader) -> Opened:
    """The report on one run."""
    return reader.reopen("one.html")


@pytest.fixture
def two(reader: Reader) -> Opened:
    """The report on two runs."""
    return reader.reopen("two.html")


def draw_all(page: Page) -> None:
    """Have every figure drawn, as before printing."""
    page.evaluate("dispatchEvent(new Event('beforeprint'))")


def test_every_figure_is_drawn_without_an_error_or_a_request(two: Opened) -> None:
    draw_all(two.page)
    figures = two.page.locator(".figure")
    assert figures.count() > 15
    assert two.page.locator(".figure .main-svg").count() >= figures.count()


def test_the_policy_of_the_page_forbids_requests_and_foreign_scripts(reader: Reader) -> None:
    seen = reader.open("one.html")
    seen.page.evaluate(
        """async () => {
          await fetch("http://example.org/").catch(() => {});
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='alert(1)'>");
          await new Promise(done => setTimeout(done, 50));
        }"""
    )
    assert seen.requests == []
    assert len(seen.problems) >= 2
    assert all("Content Security Policy" in told for told in seen.problems)
    seen.problems.clear()


def test_no_button_of_a_figure_sends_it_anywhere(two: Opened) -> None:
    draw_all(two.page)
    names = two.page.locator(".modebar-btn").evaluate_all(
        "all => [...new Set(all.map(one => one.dataset.title))]"
    )
    wanted = ["download plot as a png", "pan", "reset axes", "zoom"]
    assert sorted(map(str.casefold, names)) == wanted  # plotly came to write PNG
    assert two.page.locator(".figure a[href]").count() == 0


@pytest.mark.thorough
def test_the_mistakes_are_those_of_the_file_the_most_confident_first(
    one: Opened, home: Path
) -> None:
    wrong = [
        row for row in answers_in(home / "first", "stars") if row["label"] != row["prediction"]
    ]
    wrong.sort(key=lambda row: (-round(float(row["confidence"]), 4), int(row["line"])))
    assert len(wrong) > 25  # several pages
    assert one.lines() == [int(row["line"]) for row in wrong]


@pytest.mark.thorough
def test_filters_leave_exactly_the_rows_that_fit(one: Opened, home: Path) -> None:
    rows = answers_in(home / "first", "stars")

    def wanted(fits: Callable[[dict[str, str]], bool]) -> list[int]:
        return sorted(int(row["line"]) for row in rows if fits(row))

    def away(row: dict[str, str]) -> int:
        return abs(STARS.index(row["label"]) - STARS.index(row["prediction"]))

    def count(row: dict[str, str]) -> int:
        return len(row["text"].split())

    one.choose(distance="exactly one class off")
    assert sorted(one.lines()) == wanted(lambda row: away(row) == 1)
    one.choose(distance="two or more classes off", true="awful")
    assert sorted(one.lines()) == wanted(lambda row: away(row) > 1 and row["label"] == "awful")
    one.choose(distance="any", true="any", show="right answers")
    assert sorted(one.lines()) == wanted(lambda row: away(row) == 0)
    one.choose(show="all rows", predicted="good")
    assert sorted(one.lines()) == wanted(lambda row: row["prediction"] == "good")
    one.choose(predicted="any", **{"from": "3", "to": "5"})
    assert sorted(one.lines()) == wanted(lambda row: 3 <= count(row) <= 5)
    one.choose(**{"from": "", "to": "", "text": "WORD17 "})
    assert sorted(one.lines()) == wanted(lambda row: "word17" in row["text"])
    one.choose(text="")
    counts = sorted(count(row) for row in rows)
    low, high = counts[20], counts[40]
    one.choose(size=f"medium ({low + 1} to {high})")
    assert sorted(one.lines()) == wanted(lambda row: low < count(row) <= high)
    one.reset()
    assert sorted(one.lines()) == wanted(lambda row: away(row) > 0)


@pytest.mark.thorough
def test_the_list_is_renewed_once_a_typist_pauses(one: Opened) -> None:
    """Every letter would stop the page for a moment, where rows are many."""
    renewed = one.page.evaluate(
        """async () => {
          let times = 0;
          const watch = new MutationObserver(changes => { times += changes.length; });
          watch.observe(document.querySelector("#count"), { childList: true });
          const field = document.querySelector("#filters [name=text]");
          for (const text of ["w", "wo", "wor", "word1", "word17 "]) {
            field.value = text;
            field.dispatchEvent(new Event("input", { bubbles: true }));
          }
          const before = watch.takeRecords().length;
          await new Promise(done => setTimeout(done, 500));
          return [before, times];
        }"""
    )
    assert renewed == [0, 1]
    assert "word17" in one.page.locator("#list .text").first.inner_text()


@pytest.mark.thorough
def test_scores_are_listed_by_how_far_they_are_off(one: Opened, home: Path) -> None:
    one.choose(set="near")
    assert one.page.locator("#filters [name=true]").is_hidden()
    rows = answers_in(home / "first", "near")
    off = {int(r["line"]): abs(float(r["label"]) - float(r["prediction"])) for r in rows}
    found = [off[line] for line in one.lines()]
    assert len(found) == len(rows)
    assert found == pytest.approx(sorted(off.values(), reverse=True), abs=2e-4)


@pytest.mark.thorough
def test_of_several_labels_those_that_hold_one_are_found(one: Opened, home: Path) -> None:
    one.choose(set="tags", true="taste")
    wanted = [
        int(row["line"])
        for row in answers_in(home / "first", "tags")
        if "taste" in row["label"].split(",") and row["label"] != row["prediction"]
    ]
    assert sorted(one.lines()) == wanted


def test_a_cell_of_the_matrix_chooses_its_rows(two: Opened, home: Path) -> None:
    cell = two.page.locator('.confusion[data-task=stars][data-run="1"] button').nth(5 * 0 + 3)
    rows = [
        row
        for row in answers_in(home / "second", "stars")
        if (row["label"], row["prediction"]) == ("awful", "good")
    ]
    assert rows
    assert cell.inner_text() == str(len(rows))
    cell.click()
    assert sorted(two.lines()) == [int(row["line"]) for row in rows]
    assert cell.get_attribute("aria-pressed") == "true"
    assert two.page.locator('.confusion [aria-pressed="true"]').count() == 1


def test_a_run_can_be_chosen_and_rows_tell_what_the_other_run_said(two: Opened, home: Path) -> None:
    two.choose(run="second")
    wrong = [r for r in answers_in(home / "second", "stars") if r["label"] != r["prediction"]]
    lines = two.lines()
    assert sorted(lines) == [int(row["line"]) for row in wrong]
    other = {int(r["line"]): r["prediction"] for r in answers_in(home / "first", "stars")}
    assert f"first: {other[lines[-1]]}" in two.page.locator("#list > li").last.inner_text()


@pytest.mark.thorough
def test_mistakes_that_another_run_did_not_make_are_found(two: Opened, home: Path) -> None:
    two.choose(show="mistakes of one run, not of all", run="first")
    pairs = zip(*(answers_in(home / name, "stars") for name in ("first", "second")), strict=True)
    wanted = [
        int(mine["line"])
        for mine, other in pairs
        if mine["prediction"] != mine["label"] == other["prediction"]
    ]
    assert wanted
    assert sorted(two.lines()) == wanted


@pytest.mark.thorough
def test_pointing_at_a_cell_or_a_dot_shows_a_text(one: Opened) -> None:
    one.page.locator(".confusion button").first.hover()
    tip = one.page.locator("#tip")
    assert re.search(r"of true “awful” predicted “awful”: [\d.]+ % of its rows", tip.inner_text())
    draw_all(one.page)
    figure = one.page.locator("#scatter .figure")
    figure.scroll_into_view_if_needed()
    dot = figure.locator(".trace .points path").nth(7).bounding_box()
    assert dot
    one.page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    hint = figure.locator(".hovertext")
    hint.wait_for()
    assert "second " in (hint.text_content() or "")


def test_hostile_texts_are_shown_as_they_are(one: Opened) -> None:
    one.choose(show="all rows")
    for text in HOSTILE:
        one.choose(text=text)
        shown = one.page.locator("#list .text span").all_inner_texts()
        assert [" ".join(each.split()) for each in shown] == [" ".join(text.split())]
    draw_all(one.page)
    assert one.page.locator("#list img, #list script, #list b b, .figure a[href]").count() == 0


@pytest.mark.thorough
def test_the_page_follows_the_system_and_the_switch(reader: Reader) -> None:
    def ground(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    page = reader.open("one.html", color_scheme="dark").page
    assert ground(page) < 150
    page.get_by_role("button", name="Switch to light colours").click()
    assert ground(page) > 600
    assert page.locator("#theme").inner_text() == "Dark"
    page.locator("#theme").click()
    assert ground(page) < 150


def test_paper_is_light_and_the_screen_as_it_was_afterwards(reader: Reader) -> None:
    page = reader.open("one.html", color_scheme="dark").page

    def ink() -> list[int]:
        """How light a text of the page is, and two of figures, of which one was out of sight."""
        texts = {"h2": "color", "#learning-0 .xtick text": "fill", "#labels-0 .xtick text": "fill"}
        colours = [
            page.locator(place).first.evaluate(f"each => getComputedStyle(each).{kind}")
            for place, kind in texts.items()
        ]
        return [max(map(int, re.findall(r"\d+", colour))) for colour in colours]

    for _ in range(2):  # by the system, and by the switch
        draw_all(page)
        page.emulate_media(media="print")
        assert max(ink()) < 100
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert min(ink()) > 180
        page.emulate_media(media="print")  # without scripts
        assert ink()[0] < 100
        page.emulate_media(media="screen")
        page.locator("#theme").click()
        page.locator("#theme").click()


def test_without_scripts_the_page_says_so_above_and_shows_nothing_dead(reader: Reader) -> None:
    page = reader.open("one.html", java_script_enabled=False).page
    said = page.locator(".unscripted")  # text in a noscript element is not found by text
    assert said.is_visible()
    box = said.bounding_box()
    assert box is not None
    assert box["y"] < 300
    for dead in ("#theme", "#filters", ".figure", ".panel:has(.figure)", ".copy"):
        assert not page.locator(dead).first.is_visible()
    assert page.locator(".confusion").first.is_visible()


def test_lengths_that_no_row_has_are_not_offered(reader: Reader) -> None:
    run = write_run(
        reader.home / "words", rows=4, texts=["one", "two", "three", "four words are here"]
    )
    report(run, reader.home / "words.html", console=Console(file=StringIO()))
    page = reader.open("words.html").page
    offered = page.locator("#filters [name=size] option").all_text_contents()
    assert offered == ["any", "short (up to 1 word)", "long (over 1)"]


@pytest.mark.thorough
def test_texts_stand_out_from_what_lies_behind_them(one: Opened) -> None:
    parts = ".hint, .note, .notes li, nav a, .kind, .said span, .said .bad, .confusion button"
    darkest = one.page.locator(".confusion button").first
    darkest.evaluate("cell => cell.style.setProperty('--share', '1')")
    for _ in range(2):  # in both themes
        assert min(one.page.evaluate(CONTRAST, parts)) > 4.5
        one.page.locator("#theme").click()


@pytest.mark.thorough
def test_a_light_system_has_a_light_page(one: Opened) -> None:
    colour = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", colour)[:3])) > 600


@pytest.mark.thorough
def test_nothing_is_wider_than_a_phone(reader: Reader) -> None:
    seen = reader.open("two.html", viewport=PHONE, has_touch=True, is_mobile=True)
    draw_all(seen.page)
    seen.choose(show="all rows", text="ww")
    assert seen.page.locator("#list li").count() == 2  # a word of 600 letters, in both runs
    assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.thorough
def test_the_recipe_can_be_copied(one: Opened) -> None:
    one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    one.page.locator("summary").click()
    one.page.locator(".copy").nth(1).click()
    one.page.get_by_text("Copied").wait_for()
    assert one.page.evaluate("navigator.clipboard.readText()").startswith("encoder: minilm")


def test_everything_can_be_reached_by_keyboard_and_has_a_name(two: Opened) -> None:
    levels = two.page.locator("h1, h2, h3").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    unnamed = two.page.locator("#filters select, #filters input").evaluate_all(
        "all => all.filter(one => !one.labels.length && !one.ariaLabel).map(one => one.name)"
    )
    assert unnamed == []
    cell = two.page.locator(".confusion button").first
    cell.focus()
    assert two.page.locator("#tip").is_visible()
    two.page.keyboard.press("Escape")
    assert two.page.locator("#tip").is_hidden()
    two.page.keyboard.press("Enter")
    assert two.page.evaluate("document.activeElement.name") == "set"
