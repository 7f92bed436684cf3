"""Mistakes word by word in a report: those asked for, as the model explains them, never markup."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser
from rich.console import Console

import trivium
from tests.support.browsing import CHROMIUM, CONTRAST, browser
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.apps.report.browser import said
from trivium.apps.report.explained import MOST
from trivium.errors import RecipeError
from trivium.run.folder.finished import read_run
from trivium.run.folder.predictions import Answers

HOSTILE = "<img src=x onerror=alert(1)> </p></section><script>alert(2)</script> 🙂 &amp; מה"


def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("explained")
    values = make_recipe(tiny, home) | {"probe": False}
    mood = values["tasks"]["mood"]
    dev = Path(values["data"]) / "mood-dev.tsv"
    lines = dev.read_text().splitlines()
    hostile = [f"{900 + n}\t{HOSTILE}\t{label}" for n, label in enumerate(("up", "down"))]
    dev.write_text("\n".join([*lines, *hostile]) + "\n")
    values["tasks"] = {
        "mood": mood,
        "tags": mood | {"kind": "multilabel", "labels": ["down", "up"], "threshold": 0.2},
        "near": values["tasks"]["near"],
    }
    values["stages"] = [values["stages"][0] | {"steps": 1}]
    (home / "r.yaml").write_text(yaml.safe_dump(values))
    trivium.train(home / "r.yaml", home / "run", console=quiet())
    return home / "run"


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    return trivium.report(run, run.with_name("r.html"), explain=40, console=quiet())


class Words(HTMLParser):
    """What stands in the section: per row its facts, its texts, and its shaded words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.inside = ""
        (section,) = re.findall(r'<section id="why".*?</section>', text, re.DOTALL)
        self.feed(section)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("class") or ""
        if tag == "p" and name == "told":
            self.rows.append({"told": "", "texts": [], "for": [], "against": []})
        if tag == "p":
            self.inside = name
            if name == "shaded":
                self.rows[-1]["texts"].append("")
        if name.startswith("word "):
            self.rows[-1][name.removeprefix("word ")].append(dict(attrs)["title"])

    def handle_data(self, data: str) -> None:
        if self.inside == "told" and self.rows:
            self.rows[-1]["told"] += data
        if self.inside == "shaded":
            self.rows[-1]["texts"][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self.inside = ""


def answers_of(run: Path, task: str) -> Answers:
    found = read_run(run).answers(task, "dev")
    assert found is not None
    return found


def test_a_report_explains_nothing_unless_it_is_asked_to(run: Path, tmp_path: Path) -> None:
    text = trivium.report(run, tmp_path / "r.html", console=quiet()).read_text()
    assert 'id="why"' not in text


@pytest.mark.parametrize("task", ["mood", "tags", "near"])
def test_the_worst_mistakes_are_shown_with_their_texts(
    run: Path, task: str, tmp_path: Path
) -> None:
    answers = answers_of(run, task)
    errors = [row.error for row in said(answers)]
    worst = sorted(range(len(errors)), key=lambda row: -errors[row])[:2]
    out = trivium.report(run, tmp_path / "r.html", explain=2, console=quiet())
    rows = Words(out.read_text()).rows
    place = {"mood": 0, "near": 2, "tags": 4}[task]
    for row, shown in zip(worst, rows[place : place + 2], strict=True):
        assert shown["texts"] == list(answers.texts[row])
        assert f"line {answers.lines[row]} " in shown["told"]
    assert len(rows) == 6


def test_words_are_shaded_by_what_the_model_says_they_did(run: Path, page: Path) -> None:
    model, answers = trivium.load(run), answers_of(run, "mood")
    for row in Words(page.read_text()).rows:
        if tuple(row["texts"]) not in answers.texts or "answered" not in row["told"]:
            continue
        found = model.explain("mood", row["texts"][0])
        most = max(abs(word.effect) for word in found.words)
        shaded = [word for word in found.words if abs(word.effect) >= 0.15 * most]
        assert len(row["for"]) + len(row["against"]) == len(shaded)
        break
    else:
        pytest.fail("no mistake of mood is shown")


def test_of_several_labels_the_one_that_is_wrong_is_explained(run: Path, page: Path) -> None:
    answers = answers_of(run, "tags")
    row = max(range(len(answers.lines)), key=lambda row: said(answers)[row].error)
    model = trivium.load(run)
    wrong = [
        label
        for label, p, true in zip(
            ["down", "up"],
            answers.readout_BK[row].tolist(),
            answers.target_B[row].tolist(),
            strict=True,
        )
        if (p >= 0.2) != (true > 0)
    ]
    found = model.explain("tags", answers.texts[row][0], wrong[0])
    told = [each["told"] for each in Words(page.read_text()).rows]
    assert any(
        f"line {answers.lines[row]} " in each and f"· {found.value:.3f}" in each for each in told
    )


def test_texts_of_any_signs_are_texts(page: Path) -> None:
    rows = Words(page.read_text()).rows
    assert [HOSTILE] in [row["texts"] for row in rows]


def test_how_many_is_bounded_and_a_model_that_is_gone_is_refused(run: Path, tmp_path: Path) -> None:
    for count in (-1, MOST + 1):
        with pytest.raises(RecipeError, match=f"--explain {count}: "):
            trivium.report(run, tmp_path / "r.html", explain=count, console=quiet())
    assert not (tmp_path / "r.html").exists()


# --- in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium to open pages with")
    with browser() as found:
        yield found


@pytest.mark.parametrize("scheme", some_of(["light", "dark"], "dark".__eq__))
def test_shaded_words_can_be_read_and_nothing_runs(
    page: Path, chromium: Browser, scheme: Any
) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844})
    opened, problems = context.new_page(), list[str]()
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    opened.goto(page.as_uri())
    parts = "#why .word, #why .shaded, #why .told, #why .told b, #why .strongest span"
    assert min(opened.evaluate(CONTRAST, parts)) > 4.5
    assert opened.locator("#why .word").count() > 3
    assert opened.locator("#why img, #why script").count() == 0
    assert opened.evaluate("document.querySelector('#why').scrollWidth") <= 390
    context.close()
    assert problems == []
