"""The playground in a real browser, asking a real server."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.support.browsing import CHROMIUM, CONTRAST, browser
from tests.support.played import HOSTILE_LABELS, Served, untrained
from tests.support.tables import WORDS
from tests.support.thorough import some_of

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with"),
    pytest.mark.xdist_group("playground"),  # its servers are started once
]

ODD = "<b>odd</b> \"col\" 'umn' `"
"""A column."""
TYPE_AND_ASK = """([boxes, texts]) => {
    boxes.forEach((box, place) => {
        box.value = texts[place];
        box.dispatchEvent(new Event("input", {bubbles: true}));
    });
    const keys = {key: "Enter", ctrlKey: true, bubbles: true};
    boxes[0].dispatchEvent(new KeyboardEvent("keydown", keys));
}"""
INTENTS = [f"intent_{number}" for number in range(77)]
TASKS: dict[str, Any] = {
    "mood": {"kind": "classification", "text": "text", "labels": ["down", "flat", "up"]},
    "tags": {"kind": "multilabel", "text": "text", "labels": [*"abcdef"],
             "threshold": 0.3},
    "near": {"kind": "regression", "text": ["first", "second"], "range": [0, 5]},
}  # fmt: skip
EXAMPLES = [
    *({"text": f"good day {letter}"} for letter in "abcdefgh"),
    {"first": "a red cat", "second": "a blue cat"},
]


@dataclass
class Opened:
    """A page, and what went wrong in it."""

    page: Page
    served: Served
    problems: list[str] = field(default_factory=list)

    def type(self, **texts: str) -> None:
        for column, text in texts.items():
            self.page.get_by_label(column, exact=True).fill(text)

    def ask(self, **texts: str) -> None:
        """Type, and ask in the same moment: between the two the page might ask by itself."""
        boxes = [self.page.get_by_label(each, exact=True).element_handle() for each in texts]
        self.page.evaluate(TYPE_AND_ASK, [boxes, list(texts.values())])

    def card(self, task: str) -> Locator:
        return self.page.get_by_role("article", name=task, exact=True)

    def bars(self, task: str) -> list[tuple[str, str]]:
        """Labels and numbers, as they are shown; waits for them."""
        expect(self.card(task).locator(".bars li").first).to_be_visible()
        names = self.card(task).locator(".bars .label").all_text_contents()
        numbers = self.card(task).locator(".bars .number").all_text_contents()
        return list(zip(names, numbers, strict=True))

    def trouble(self) -> str:
        expect(self.page.get_by_role("alert")).to_be_visible()
        return self.page.get_by_role("alert").inner_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)  # only what hangs is a failure
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def servers(tiny: Path) -> Iterator[dict[str, Served]]:
    several = {"kind": "multilabel", "text": ODD, "labels": HOSTILE_LABELS, "separator": "\t"}
    single = {"kind": "classification", "text": ODD, "labels": HOSTILE_LABELS}
    many = {"kind": "classification", "text": "text", "labels": INTENTS}
    found = {
        "plain": Served(untrained(tiny, TASKS), EXAMPLES),
        "hostile": Served(
            untrained(tiny, {"constructor": single, "several": several}),
            [{ODD: label} for label in HOSTILE_LABELS],
            name="</title><script>alert(9)</script>",
        ),
        "many": Served(untrained(tiny, {"intent": many})),
    }
    yield found
    for served in found.values():
        served.stop()


class Opener:
    """Opens pages, and keeps what it opened."""

    def __init__(self, servers: dict[str, Served], browser: Browser) -> None:
        self.servers, self.browser = servers, browser
        self.kept: dict[str, Opened] = {}

    def open(self, name: str = "plain", **settings: Any) -> Opened:
        """A page as it is at first; with the same settings in the same window."""
        served = self.servers[name]
        served.next, served.key, served.delay_s = [], "", 0.0
        served.asked, served.times = [], []
        key = f"{name} {settings}"
        if key not in self.kept:
            self.kept[key] = self._window(served, settings)
        seen = self.kept[key]
        seen.page.goto(served.address)
        return seen

    def _window(self, served: Served, settings: dict[str, Any]) -> Opened:
        given = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | settings
        seen = Opened(self.browser.new_context(**given).new_page(), served)

        def ask(request: Request) -> None:
            if not request.url.startswith((served.address, "data:")):
                seen.problems.append(request.url)

        def told(text: str) -> None:
            if not text.startswith("Failed to load resource"):  # of what a server refuses
                seen.problems.append(text)

        seen.page.on("request", ask)
        seen.page.on("console", lambda message: told(message.text))
        seen.page.on("pageerror", lambda error: told(str(error)))
        seen.page.on("dialog", lambda dialog: told(dialog.message))
        return seen


@pytest.fixture(scope="module")
def windows(servers: dict[str, Served], chromium: Browser) -> Opener:
    return Opener(servers, chromium)


@pytest.fixture
def opener(windows: Opener) -> Iterator[Opener]:
    """Afterwards, that nothing went wrong in any page, and nobody else was asked."""
    yield windows
    for seen in windows.kept.values():
        assert seen.problems == []


def percent(p: float) -> str:
    return "< 0.1 %" if 0 < p < 0.0005 else f"{100 * p:.1f} %"


def refusal(status: int, *, headers: dict[str, str] | None = None, **error: Any) -> Any:
    return status, headers or {}, json.dumps({"error": error})


def test_a_text_that_is_typed_is_answered_by_every_task_that_reads_it(opener: Opener) -> None:
    seen = opener.open()
    seen.type(text="good cat")
    said = seen.served.predictor.probabilities("mood", ["good cat"])[0]
    best = sorted(said.items(), key=lambda item: -item[1])
    assert seen.bars("mood") == [(label, percent(p)) for label, p in best]
    assert seen.card("mood").locator(".value").text_content() == best[0][0]
    several = seen.served.predictor.probabilities("tags", ["good cat"])[0]
    assert dict(seen.bars("tags")) == {label: percent(p) for label, p in several.items()}
    assert seen.served.asked == [{"rows": [{"text": "good cat"}], "probabilities": True}]
    assert "Reads first and second." in seen.card("near").inner_text()


def test_of_several_labels_those_that_reach_the_line_are_marked(opener: Opener) -> None:
    seen = opener.open()
    predictor = seen.served.predictor
    counts = {word: len(str(predictor.predict("tags", [word])[0]).split(",")) for word in WORDS}
    text = next(word for word, count in counts.items() if 1 < count < 6)
    seen.ask(text=text)
    seen.bars("tags")
    card = seen.card("tags")
    several = predictor.probabilities("tags", [text])[0]
    said = [label for label, p in sorted(several.items(), key=lambda i: -i[1]) if p >= 0.3]
    assert 1 < len(said) < 6
    assert card.locator(".is-said .label").all_text_contents() == said
    assert sorted(card.locator(".value").all_text_contents()) == sorted(said)
    lines = card.locator(".track").evaluate_all(
        """all => all.map(track => {
          const [around, line] = [track, track.querySelector(".line")].map(
            each => each.getBoundingClientRect());
          return (line.left + line.width / 2 - around.left) / around.width;
        })"""
    )
    assert lines == pytest.approx([0.3] * 6, abs=0.02)


def test_a_score_stands_on_its_range(opener: Opener) -> None:
    seen = opener.open()
    seen.ask(first="good cat", second="red day")
    value = seen.card("near").locator(".value")
    expect(value).to_be_visible()
    (score,) = seen.served.predictor.predict("near", [("good cat", "red day")])
    assert isinstance(score, float)
    assert float(value.inner_text()) == pytest.approx(score, rel=1e-3)
    share = (
        seen.card("near")
        .locator(".dot")
        .evaluate("dot => Number(dot.style.getPropertyValue('--p'))")
    )
    assert share == pytest.approx(score / 5, abs=1e-6)
    assert f"{score:g} on a range from 0 to 5" in seen.card("near").locator(".track").evaluate(
        "track => track.ariaLabel"
    )


def test_half_a_pair_is_not_asked_about(opener: Opener) -> None:
    seen = opener.open()
    seen.type(first="good cat")
    expect(seen.page.get_by_role("status")).to_have_text("No task has all the texts that it reads.")
    expect(seen.card("near")).to_contain_text("Also needs second.")
    assert seen.served.asked == []
    seen.type(text="day")
    seen.bars("mood")
    assert seen.served.asked[0]["rows"] == [{"text": "day", "first": "good cat"}]


@pytest.mark.thorough
def test_what_was_not_read_is_told(opener: Opener) -> None:
    seen = opener.open()
    seen.ask(text="cat " * 100)
    expect(seen.card("mood").locator(".is-cut")).to_have_text(
        "Cut: 64 of 102 word pieces were read, from the start."
    )
    seen.ask(text="cat")
    expect(seen.card("mood").locator(".is-cut")).to_be_hidden()


@pytest.mark.thorough
def test_the_time_of_a_call_is_told(opener: Opener) -> None:
    seen = opener.open()
    seen.served.delay_s = 0.15
    seen.ask(text="good cat")
    seen.bars("mood")
    told = seen.page.locator("#timing").inner_text()
    numbers = dict(re.findall(r"(queue|compute|round trip|tokens)\s+([\d.,]+)", told))
    assert numbers["queue"] == "0.3"
    round_trip, compute = float(numbers["round trip"]), float(numbers["compute"])
    assert round_trip >= 150
    assert round_trip > compute > 0
    assert numbers["tokens"] == "4"


@pytest.mark.thorough
def test_a_row_of_keys_asks_at_once_and_the_page_can_be_told_not_to_ask_by_itself(
    opener: Opener,
) -> None:
    seen = opener.open()
    seen.page.get_by_label("Ask as I type").uncheck()
    seen.type(text="good cat")
    seen.page.wait_for_timeout(400)  # longer than a typist pauses
    assert seen.served.asked == []
    seen.page.get_by_label("text", exact=True).press("Control+Enter")
    seen.bars("mood")
    assert len(seen.served.asked) == 1


def test_the_last_text_is_the_one_that_is_answered(opener: Opener) -> None:
    """Though an earlier question is answered later."""
    seen = opener.open()
    late = json.dumps({"answers": [{"mood": {"prediction": "late"}}]})
    seen.served.hold = answered = threading.Event()
    seen.served.next.append((200, {}, late))
    field = seen.page.get_by_label("text", exact=True)
    field.fill("good")
    field.press("Control+Enter")
    while not seen.served.asked:
        seen.page.wait_for_timeout(10)
    seen.served.delay_s = 0.2
    with seen.page.expect_event("requestfailed"):  # the server need not go on with it
        field.fill("bad dog")
        field.press("Control+Enter")
    seen.page.wait_for_timeout(50)
    expect(seen.page.locator("#trouble")).to_be_hidden(timeout=1)
    best = seen.served.predictor.predict("mood", ["bad dog"])
    expect(seen.card("mood").locator(".value")).to_have_text(str(best[0]))
    answered.set()
    seen.page.wait_for_timeout(300)
    assert seen.card("mood").locator(".value").text_content() == best[0]


@pytest.mark.thorough
def test_an_example_fills_its_boxes_and_is_answered(opener: Opener) -> None:
    seen = opener.open()
    chips = seen.page.locator(".panel").first.locator(".chip")
    assert chips.all_text_contents() == [f"good day {letter}" for letter in "abc"]
    shown = set(chips.all_text_contents())
    for _ in range(2):
        seen.page.get_by_role("button", name="Shuffle").click()
        shown |= set(chips.all_text_contents())
    assert shown == {f"good day {letter}" for letter in "abcdefgh"}
    seen.ask(text="something else")
    seen.page.get_by_role("button", name="a red cat").click()
    expect(seen.card("near").locator(".value")).to_be_visible()
    assert seen.page.get_by_label("first", exact=True).input_value() == "a red cat"
    assert seen.served.asked[-1]["rows"] == [
        {"text": "something else", **EXAMPLES[-1]}  # other boxes are left alone
    ]


def test_hostile_names_and_texts_are_shown_and_do_nothing(opener: Opener) -> None:
    seen = opener.open("hostile")
    assert seen.page.locator("h1").inner_text() == "</title><script>alert(9)</script>"
    field = seen.page.get_by_label(ODD, exact=True)
    for text in HOSTILE_LABELS[:6]:
        field.fill(text)
        field.press("Control+Enter")
        seen.page.wait_for_function(
            # No string that would have to be evaluated: the policy of the page forbids it.
            "() => document.querySelectorAll('.answered').length === 2"
        )
    assert {name for name, _ in seen.bars("constructor")} == set(HOSTILE_LABELS)
    assert {name for name, _ in seen.bars("several")} == set(HOSTILE_LABELS)
    for _ in range(4):
        seen.page.get_by_role("tab", selected=True).press("ArrowRight")
    assert seen.page.locator("img, b b, main script").count() == 0
    assert seen.page.locator("script").count() == 2


def test_markup_made_of_strings_is_refused_by_the_browser(opener: Opener) -> None:
    seen = opener.open("hostile")
    told = seen.page.evaluate(
        """async () => {
          const told = [];
          try { document.body.innerHTML = "<b>x</b>"; } catch (error) { told.push(error.name); }
          await fetch("http://example.invalid/").catch(error => told.push(error.name));
          return told;
        }"""
    )
    assert told == ["TypeError", "TypeError"]
    assert len(seen.problems) >= 2
    assert all("TrustedHTML" in each or "Content Security" in each for each in seen.problems)
    seen.problems.clear()


@pytest.mark.thorough
def test_of_many_labels_ten_are_shown_until_all_are_wanted(opener: Opener) -> None:
    seen = opener.open("many")
    seen.ask(text="good cat")
    said = seen.served.predictor.probabilities("intent", ["good cat"])[0]
    best = [label for label, _ in sorted(said.items(), key=lambda item: -item[1])]
    assert [label for label, _ in seen.bars("intent")] == best[:10]
    more = seen.card("intent").get_by_role("button", name="Show all 77")
    more.press("Enter")
    assert [label for label, _ in seen.bars("intent")] == best
    fewer = seen.card("intent").get_by_role("button", name="Show the top 10 only")
    expect(fewer).to_be_focused()
    fewer.click()
    assert len(seen.bars("intent")) == 10


def test_a_refusal_is_told_with_its_place(opener: Opener) -> None:
    seen = opener.open()
    detail = {
        "where": "rows[0].text", "found": "<b>120,000</b> characters", "allowed": "up to 100,000",
        "hint": "send its parts",
    }  # fmt: skip
    seen.served.next = [refusal(422, code="invalid", message="a row is wrong", details=[detail])]
    seen.ask(text="good cat")
    told = seen.trouble()
    for part in ("The server cannot answer this", "a row is wrong", *detail.values(), "invalid"):
        assert part.lower() in told.lower()
    expect(seen.page.get_by_label("text", exact=True)).to_have_attribute("aria-invalid", "true")
    seen.page.get_by_role("button", name="Ask again").click()
    seen.bars("mood")
    expect(seen.page.locator("#trouble")).to_be_hidden()
    expect(seen.page.get_by_label("text", exact=True)).to_have_attribute("aria-invalid", "false")


@pytest.mark.thorough
def test_a_full_server_is_asked_again_when_it_wants_to_be(opener: Opener) -> None:
    seen = opener.open()
    full = refusal(429, headers={"Retry-After": "3"}, code="full", message="the queue is full")
    seen.served.next = [full]
    seen.type(text="good cat")
    assert "more to do than it can" in seen.trouble()
    waits = re.compile(r"Ask again in [123] s")  # it counts down
    expect(seen.page.get_by_role("button", name=waits)).to_be_disabled()
    seen.type(text="good dog")  # asks by itself, but not before
    seen.bars("mood")
    assert [body["rows"][0]["text"] for body in seen.served.asked] == ["good cat", "good dog"]
    before, after = seen.served.times
    assert after - before >= 3


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((502, {}, "<html>Bad gateway</html>"), "does not reach it"),
        ((200, {}, "no JSON"), "holds none of the model's tasks"),
        ((200, {}, "{}"), "holds none of the model's tasks"),
        ((200, {}, json.dumps({"answers": [{"error": {"message": "it kills"}}]})), "it kills"),
        (refusal(503, code="draining", message="it is stopping"), "it is stopping"),
        ((418, {}, "[]"), "It gave no reason."),
    ],
)
def test_whatever_comes_instead_of_an_answer_is_told(opener: Opener, reply: Any, said: str) -> None:
    seen = opener.open()
    seen.served.next = [reply]
    seen.ask(text="good cat")
    assert said.lower() in seen.trouble().lower()


@pytest.mark.thorough
def test_a_task_without_an_answer_says_so_whatever_it_is_called(opener: Opener) -> None:
    """Every object of a browser has a `constructor`, but not of its own."""
    seen = opener.open("hostile")
    answer = {"several": {"prediction": "10\t2", "labels": ["10", "2"]}}
    seen.served.next = [(200, {}, json.dumps({"answers": [answer]}))]
    seen.ask(**{ODD: "good cat"})
    expect(seen.card("several").locator(".value")).to_have_text(["10", "2"])
    expect(seen.card("constructor")).to_contain_text("Not answered.")
    expect(seen.page.locator("#timing")).to_contain_text("round trip")


def test_a_server_that_is_gone_is_told(opener: Opener, tiny: Path) -> None:
    opener.servers["gone"] = Served(untrained(tiny, TASKS))
    seen = opener.open("gone")
    seen.served.stop()
    seen.ask(text="good cat")
    assert "The server does not answer" in seen.trouble()


def test_a_key_opens_the_server_and_is_told_to_nobody_else(opener: Opener) -> None:
    seen = opener.open()
    seen.served.key = "secret-1"
    seen.ask(text="good cat")
    assert "wants an API key" in seen.trouble()
    field = seen.page.get_by_label("Sent as Authorization: Bearer")
    field.fill("schlüssel")
    field.press("Control+Enter")
    expect(seen.page.get_by_role("alert")).to_contain_text("not ASCII")
    field.fill("secret-1")
    field.press("Control+Enter")
    seen.bars("mood")
    shown = seen.page.locator("#code").inner_text()
    assert "$TRIVIUM_API_KEY" in shown
    assert "secret-1" not in seen.page.content()
    kept = "[localStorage.length, sessionStorage.length, document.cookie, location.search]"
    assert seen.page.evaluate(kept) == [0, 0, "", ""]


@pytest.mark.parametrize(
    "place",
    some_of(range(4), lambda place: place in (0, 2)),
    ids=["curl", "requests", "urllib", "one task"],
)
def test_the_call_that_is_shown_gives_the_answer_that_is_shown(
    opener: Opener, place: int, tmp_path: Path
) -> None:
    if place == 1:
        pytest.importorskip("requests")
    if place in (0, 3) and not (shutil.which("curl") and shutil.which("sh")):
        pytest.skip("there is no curl to run it with")
    seen = opener.open()
    seen.served.key = "secret-1"
    seen.page.locator("summary").click()
    seen.page.get_by_label("Sent as Authorization: Bearer").fill("secret-1")
    text = 'it\'s "good" \\ $(touch made) `touch made`\n🙂 {cat} \t מה'
    seen.ask(text=text)
    seen.bars("mood")
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.get_by_role("tab").nth(place).click()
    seen.page.get_by_role("button", name="Copy").click()
    seen.page.get_by_text("Copied").wait_for()
    call = seen.page.evaluate("navigator.clipboard.readText()")
    command = [sys.executable, "-c", call] if place in (1, 2) else ["sh", "-c", call]
    environment = {"TRIVIUM_API_KEY": "secret-1", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    best = str(seen.served.predictor.predict("mood", [text])[0])
    asked = seen.served.asked[-1]
    if place == 3:
        assert asked == {"inputs": text}
        assert max(json.loads(done.stdout)[0], key=lambda each: each["score"])["label"] == best
    else:
        assert asked == {"rows": [{"text": text}], "probabilities": True}
        assert best in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", some_of(["light", "dark"], "light".__eq__))
def test_texts_stand_out_from_what_lies_behind_them(opener: Opener, scheme: Any) -> None:
    seen = opener.open(color_scheme=scheme)
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 400) == (scheme == "light")
    seen.ask(text="cat " * 100, first="good", second="bad")
    seen.bars("tags")
    parts = (
        "h1, .made, .column, .readers, .readers b, .chip span, .chip-head span, .shuffle, .main, "
        "#clear, summary, .check, .card h3, .card .note, .value, .sure, .bars .label, "
        ".bars .number, .legend, .cut, .tab, pre, .copy, #limits, #timing dt, #timing dd, kbd"
    )
    assert min(seen.page.evaluate(CONTRAST, parts)) > 4.5
    seen.served.next = [refusal(422, code="invalid", message="no", details=[{"where": "rows[0]"}])]
    seen.page.get_by_role("button", name="Ask", exact=True).click()
    seen.trouble()
    assert min(seen.page.evaluate(CONTRAST, "#told h3, #told p, #told code, .waiting")) > 4.5
    seen.page.locator("#theme").click()
    other = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert other != ground


@pytest.mark.parametrize("name", some_of(["plain", "hostile"], "hostile".__eq__))
def test_nothing_is_wider_than_a_small_phone(opener: Opener, name: str) -> None:
    size = {"width": 360, "height": 740}
    seen = opener.open(name, viewport=size, has_touch=True, is_mobile=True)

    def width() -> Any:
        return seen.page.evaluate("document.documentElement.scrollWidth")

    assert width() == 360
    seen.page.locator("textarea").first.fill("w" * 600 + " مرحبا " + "cat " * 100)
    seen.page.locator(".answered").first.wait_for()
    for place in range(4):
        seen.page.get_by_role("tab").nth(place).click()
        assert width() == 360
    detail = {"where": "w" * 300, "found": "w" * 300, "allowed": "x" * 300, "hint": ""}
    seen.served.next = [refusal(422, code="i" * 200, message="m" * 300, details=[detail])]
    seen.page.get_by_role("button", name="Ask", exact=True).click()
    seen.trouble()
    assert width() == 360


@pytest.mark.thorough
def test_on_a_phone_whoever_asks_is_led_to_the_answers(opener: Opener) -> None:
    size = {"width": 360, "height": 740}
    seen = opener.open(viewport=size, has_touch=True, is_mobile=True)
    seen.page.locator(".chip").first.click()
    seen.bars("mood")
    expect(seen.page.get_by_role("heading", name="Answers")).to_be_in_viewport()


@pytest.mark.thorough
def test_a_text_runs_in_its_own_direction(opener: Opener) -> None:
    seen = opener.open()
    seen.ask(text="مرحبا، أين طردي؟")
    seen.bars("mood")
    field = seen.page.get_by_label("text", exact=True)
    assert field.evaluate("field => field.matches(':dir(rtl)')")
    assert seen.page.evaluate("document.documentElement.matches(':dir(ltr)')")


@pytest.mark.thorough
def test_everything_has_a_name_and_is_reached_by_keyboard(opener: Opener) -> None:
    seen = opener.open()
    unnamed = seen.page.locator("textarea, input, select, button").evaluate_all(
        """all => all.filter(one => one.checkVisibility())
          .filter(one => !one.labels?.length && !one.ariaLabel && !one.textContent.trim())
          .map(one => one.id)"""
    )
    assert unnamed == []
    seen.ask(text="good cat")
    status = seen.page.get_by_role("status")
    best = seen.served.predictor.predict("mood", ["good cat"])[0]
    expect(status).to_contain_text(f"Answered. mood: {best}; tags: ")
    assert status.get_attribute("aria-live") == "polite"
    tab = seen.page.get_by_role("tab", name="curl")
    tab.press("ArrowRight")
    expect(seen.page.get_by_role("tab", name="Python, requests")).to_be_focused()
    assert "import requests" in seen.page.get_by_role("tabpanel").inner_text()
    seen.page.get_by_label("text", exact=True).focus()
    order = []
    for _ in range(12):
        seen.page.keyboard.press("Tab")
        focused = "document.activeElement.id || document.activeElement.className"
        order.append(seen.page.evaluate(focused))
    assert {"shuffle", "chip", "text-1", "text-2", "ask", "clear", "live"} <= set(order)
