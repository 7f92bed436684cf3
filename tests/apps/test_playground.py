"""The playground's page and its examples, without a browser."""

import csv
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.processes import loaded_after
from tests.support.reported import HOSTILE, answers_in, write_run
from trivium.answering.described import Described, ReaderFacts
from trivium.answering.form import Form
from trivium.answering.says import OneLabel, Score, SeveralLabels
from trivium.apps.serve.examples import PER_TASK
from trivium.apps.serve.playground import examples_of, page
from trivium.pages.safe import digests

STARS = OneLabel(labels={"0": "awful", "1": "</script><script>alert(1)</script>", "2": "\u2028&"})
TAGS = SeveralLabels(labels={"p": "price", "t": "taste"}, threshold=0.4, separator=",")


def form(name: str, text: tuple[str, ...], says: OneLabel | SeveralLabels | Score | None) -> Form:
    kind = "classification"
    return Form(name=name, kind=kind, text=text, apart=False, max_length=64, says=says)


FORMS = {
    "stars": form("stars", ("text",), STARS),
    "tags": form("tags", ("text",), TAGS),
    "near": form("near", ("first", "second"), Score(range=(0, 5))),
    "words": form("words", ("text",), None),
}
"""Those of `write_run`, and one that has no answers."""


def written(name: str = "first", examples: Sequence[dict[str, str]] = ()) -> str:
    facts = ReaderFacts(forms=FORMS, tokenizer="gone", limit=64)
    described = Described(forms=FORMS, readers=(facts,), precision="fp32", backend="torch")
    return page(described, model_name=name, limits={"rows": 256}, examples=examples)


class Parts(HTMLParser):
    """Tags and their attributes, and what stands in scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        tag, attributes = self.tags[-1]
        if tag in ("script", "style"):
            self.raw[f"{tag}-{attributes.get('id') or attributes.get('type') or 'own'}"] = data


def test_the_page_knows_every_task_that_has_answers() -> None:
    facts = json.loads(Parts(written()).raw["script-facts"])
    assert [task["name"] for task in facts["tasks"]] == ["stars", "tags", "near"]
    stars, tags, near = facts["tasks"]
    assert stars["labels"] == list(STARS.names)
    assert (tags["threshold"], tags["separator"]) == (0.4, ",")
    assert (near["columns"], near["range"]) == (["first", "second"], [0, 5])
    assert (facts["limits"], facts["precision"]) == ({"rows": 256}, "fp32")


def test_no_name_label_or_example_can_become_part_of_the_page() -> None:
    plain = Parts(written())
    name = "</title><script>alert(0)</script><img src=x>\"'&"
    parts = Parts(written(name, [{"text": text} for text in HOSTILE]))
    assert [tag for tag, _ in parts.tags] == [tag for tag, _ in plain.tags]
    facts = json.loads(parts.raw["script-facts"])
    assert facts["model"] == name
    assert [row["text"] for row in facts["examples"]] == HOSTILE


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_no_others() -> None:
    parts = Parts(written())
    (policy,) = (
        attributes["content"]
        for tag, attributes in parts.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["script-src"] == digests([parts.raw["script-own"]])
    styles = [text for name, text in parts.raw.items() if name.startswith("style")]
    assert len(styles) == 2
    assert rules["style-src"] == digests(styles)
    assert "unsafe" not in policy


def test_the_page_asks_nothing_of_anybody() -> None:
    html = written()
    assert re.findall(r"https?://[^\s'\"`$]+", html) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", html) == []
    sources = [a.get("src") or a.get("href") for _, a in Parts(html).tags]
    assert {each for each in sources if each} == {"#answered", "data:,", "openapi.json"}


def test_a_server_that_shows_the_page_needs_no_torch() -> None:
    found = loaded_after("from trivium.apps.serve.playground import examples_of, page")
    assert {*found} <= {"numpy", "pydantic", "tokenizers"}


def test_examples_are_rows_of_dev_by_column_and_short_ones_of_every_label_come_first(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")
    found = examples_of(run, FORMS)
    texts = [row["text"] for row in found if set(row) == {"text"}]
    pairs = [row for row in found if set(row) == {"first", "second"}]
    assert len(texts) + len(pairs) == len(found)
    assert len(pairs) == PER_TASK
    rows = answers_in(run, "stars")
    shortest = [
        min((row["text"] for row in rows if row["label"] == label), key=len)
        for label in {row["label"] for row in rows}
    ]
    assert sorted(texts[: len(shortest)], key=len) == texts[: len(shortest)]
    assert set(texts[: len(shortest)]) == set(shortest)
    assert len(texts) == len(set(texts))
    assert set(texts) <= {row["text"] for row in rows}


def test_a_text_is_an_example_as_it_was_read(tmp_path: Path) -> None:
    texts = ['a "quoted", one', "two\nlines", "<b>bold</b> 🙂"]
    run = write_run(tmp_path / "run", rows=3, texts=texts)
    found = [row["text"] for row in examples_of(run, FORMS) if "text" in row]
    assert sorted(found) == sorted(texts)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"a,b\n1,2\n",
        b"line,text,prediction\n2,good,awful\n",
        b'line,text,label,prediction\n2,"good',
        b"line,text,label,prediction\nx,good,awful,awful\n2,short\n3,,awful,awful\n",
    ],
)
def test_without_a_sound_file_there_are_no_examples_and_no_error(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "stars-dev.csv").write_bytes(content)
    before = csv.field_size_limit()
    assert examples_of(tmp_path, FORMS) == []
    assert csv.field_size_limit() == before
