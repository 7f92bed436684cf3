"""The playground's words that made the answers, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browsing import CHROMIUM, CONTRAST, PHONE, browser
from tests.support.played import HOSTILE_LABELS, Served, untrained

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with"),
    pytest.mark.xdist_group("playground"),
]

TASKS: dict[str, Any] = {
    "mood": {"kind": "classification", "text": "text", "labels": HOSTILE_LABELS},
    "near": {"kind": "regression", "text": ["first", "second"], "range": [0, 5]},
}
ODD = "good <img src=x onerror=alert(1)> cat 🙂 day, מה </p> &amp; dog"


@pytest.fixture(scope="module")
def served(tiny: Path) -> Iterator[Served]:
    found = Served(untrained(tiny, TASKS))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with browser() as found:
        yield found


@pytest.fixture
def page(served: Served, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    served.next, served.asked, served.delay_s = [], [], 0.0
    settings = {"viewport": {"width": 1280, "height": 900}} | getattr(request, "param", {})
    context = chromium.new_context(reduced_motion="reduce", **settings)
    opened, problems = context.new_page(), list[str]()
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    opened.goto(served.address)
    yield opened
    context.close()
    assert [told for told in problems if "413" not in told] == []


def explain(page: Page, **texts: str) -> None:
    page.get_by_label("Ask as I type").uncheck()
    for column, text in texts.items():
        page.get_by_label(column, exact=True).fill(text)
    page.get_by_role("button", name="Explain").click()


def why(page: Page, task: str) -> Locator:
    found = page.get_by_role("article", name=task, exact=True).locator(".why")
    expect(found).to_be_visible()
    return found


def test_words_are_shaded_by_what_the_model_says_they_did(served: Served, page: Page) -> None:
    explain(page, text="good cat runs very bad")
    shown = why(page, "mood")
    found = served.predictor.explain("mood", "good cat runs very bad")
    most = max(abs(word.effect) for word in found.words)
    for sign, name in ((1, "for"), (-1, "against")):
        wanted = [w.word for w in found.words if sign * w.effect >= 0.15 * most]
        assert shown.locator(f".word.{name}").all_text_contents() == wanted
    first = shown.locator(".strongest li").first
    assert first.locator("span").first.text_content() == found.strongest[0].word
    number = float(first.locator(".number").inner_text().replace("−", "-"))
    assert number == pytest.approx(found.strongest[0].effect, abs=6e-4)
    assert found.about in shown.locator(".legend").inner_text()
    assert [set(asked) for asked in served.asked] == [{"rows", "probabilities"}, {"rows"}]


def test_both_texts_of_a_pair_are_shaded(page: Page) -> None:
    explain(page, first="good cat", second="red day")
    lines = why(page, "near").locator(".shaded")
    assert lines.all_text_contents() == ["good cat", "red day"]
    expect(page.get_by_role("article", name="mood", exact=True).locator(".why")).to_be_hidden()


@pytest.mark.thorough
def test_a_text_of_any_signs_stays_what_it_is(page: Page) -> None:
    explain(page, text=ODD)
    shown = why(page, "mood")
    assert shown.locator(".shaded").text_content() == ODD
    assert shown.locator("img, script").count() == 0


def test_another_question_takes_the_explanation_away(page: Page) -> None:
    explain(page, text="good cat")
    why(page, "mood")
    page.get_by_label("text", exact=True).fill("bad cat")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("article", name="mood", exact=True).locator(".why")).to_be_hidden()


def test_a_text_that_is_too_long_to_be_explained_keeps_its_answer(
    served: Served, page: Page
) -> None:
    error = {"code": "too_many_words", "message": "found 300 words; allowed are up to 255"}
    answer = json.dumps(served.predicted([{"text": "cat"}]))
    served.next = [(200, {}, answer), (413, {}, json.dumps({"error": error}))]
    explain(page, text="cat")
    expect(page.get_by_role("alert")).to_contain_text("allowed are up to 255")
    expect(page.locator(".card.answered")).to_have_count(1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True
)
def test_shaded_words_can_be_read(page: Page, tmp_path: Path) -> None:
    explain(page, text="good cat runs very bad not fine", first="good cat", second="red day")
    why(page, "near")
    parts = ".word.for, .word.against, .shaded, .strongest li span, .why .legend"
    assert min(page.evaluate(CONTRAST, parts)) > 4.5
    assert page.locator(".word.for").count() + page.locator(".word.against").count() > 3


@pytest.mark.thorough
@pytest.mark.parametrize("page", [{"viewport": PHONE}], indirect=True)
def test_an_explanation_is_no_wider_than_a_phone(page: Page) -> None:
    explain(page, text="w" * 400 + " cat", first="good " * 80, second="x")
    why(page, "near")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
