"""Cards: what they say of a run, in whose words, and whose they are."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import trivium
from tests.support.tables import make_recipe
from trivium.answering.reading import Reader
from trivium.run.card.facts import Facts, gather, shown
from trivium.run.card.markup import code, one_line
from trivium.run.card.usage import FOLDER
from trivium.run.card.written import card, is_changed, write_card
from trivium.run.folder.finished import FinishedRun, read_run
from trivium.run.folder.model import load_model, save_model
from trivium.run.folder.sealed import seal, unseal
from trivium.run.screen.grid import MINILM

Change = Callable[[dict[str, Any]], None]


def train(tiny: Path, folder: Path, change: Change | None = None) -> Path:
    values = make_recipe(tiny, folder)
    if change is not None:
        change(values)
    trivium.train(values, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny, tmp_path_factory.mktemp("card"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def text_of(run: Path) -> str:
    return (run / "model" / "README.md").read_text("utf-8")


def head_of(text: str) -> ModelCardData:
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data


def rendered(text: str) -> str:
    """The text below the head as HTML."""
    return str(MarkdownIt("commonmark").enable("table").render(ModelCard(text).text))


def told(run: FinishedRun, **changes: Any) -> str:
    """The card of a run with another recipe."""
    recipe = run.recipe.model_copy(update=changes)
    return card(gather(replace(run, recipe=recipe)))


# --- what it says ------------------------------------------------------------------------------


def test_the_limits_of_texts_are_those_at_which_they_are_cut(trained: Path) -> None:
    run, model = read_run(trained), trivium.load(trained)
    tasks = dict(run.recipe.tasks)
    tasks["same"] = tasks["same"].model_copy(update={"encode": "separate"})
    alike = "- Of a text with more than 62 word pieces only the start is read."
    assert alike in told(run, tasks=tasks)
    tasks["mood"] = tasks["mood"].model_copy(update={"max_length": 10, "cut": "tail"})
    tasks["same"] = tasks["same"].model_copy(update={"max_length": 11, "encode": "joint"})
    said = told(run, tasks=tasks)
    assert "- `mood`: of a text with more than 8 word pieces only the end is read." in said
    assert "- `near`: of a text with more than 62 word pieces only the start is read." in said
    assert (
        "- `same`: of a pair with more than 8 word pieces in both texts together only the" in said
    )
    for task, first, second in (("mood", 8, 0), ("same", 5, 3)):
        form = tasks[task].form(64)
        reader = Reader({task: form}, model.readers[0].tokenizer, 64)
        for more in (0, 1):
            row: Any = (" ".join("a" * (first + more)), " ".join("b" * second))
            (asked,) = reader.asked({task: [row if second else row[0]]})
            (line,) = asked.lines
            assert (line.uncut > len(line.ids)) == bool(more)


def test_the_hubs_own_classes_read_the_scores_of_a_card(trained: Path) -> None:
    data = ModelCard.load(trained / "model" / "README.md").data
    assert isinstance(data, ModelCardData)
    scores = json.loads((trained / "scores.json").read_text())["tasks"]
    results = {result.task_name: result for result in data.eval_results or []}
    assert set(results) == set(scores) == {"mood", "same", "near"}
    for name, metric in (("mood", "accuracy"), ("same", "accuracy"), ("near", "pearson")):
        assert results[name].metric_value == round(scores[name]["dev"][metric], 4)
        assert results[name].dataset_split == "dev"
    assert results["near"].metric_type == "pearsonr"  # as the hub calls it
    assert results["near"].task_type == "sentence-similarity"
    assert (data.library_name, data.pipeline_tag) == ("trivium", "text-classification")
    assert data.model_name == "run"
    assert data.base_model is None  # a folder of the user's
    assert data.license is None  # which nobody told


def test_a_score_stands_within_its_interval_and_nobody_is_sure_of_32_rows(trained: Path) -> None:
    facts = gather(read_run(trained))
    for judged in facts.judged:
        assert judged.between is not None
        low, high = judged.between
        assert low <= judged.value <= high
        assert high - low > 0.1
        assert f"{low:.3f} to {high:.3f}" in text_of(trained)
    assert "Fewer than 200 rows judged `mood`, `same`, `near`" in text_of(trained)


def test_the_data_stand_with_their_rows_sha256_and_licence(tiny: Path, tmp_path: Path) -> None:
    def with_licence(values: dict[str, Any]) -> None:
        values["tasks"]["mood"]["train"] = {"file": "mood-train.tsv", "license": "CC-BY-4.0"}

    run = train(tiny, tmp_path, with_licence)
    (row,) = (line for line in text_of(run).splitlines() if line.startswith("| `mood-train.tsv`"))
    digest = hashlib.sha256((tmp_path / "data" / "mood-train.tsv").read_bytes()).hexdigest()
    assert row == f"| `mood-train.tsv` | train: `mood` | `CC-BY-4.0` | `{digest}` |"
    assert "| `pairs-train.tsv` | train: `same` | not told | `" in text_of(run)
    assert "Rows trained on: `mood` 96, `same` 112, `near` 96." in text_of(run)
    assert "license: CC-BY-4.0" in (run / "recipe.yaml").read_text()


def test_the_files_are_told_as_they_were_when_they_were_read(run: Path, trained: Path) -> None:
    before = text_of(run)
    recipe = (run / "recipe.yaml").read_text().replace(str(trained.parent / "data"), "/gone")
    (run / "recipe.yaml").write_text(recipe)
    assert write_card(read_run(run))
    assert text_of(run) == before
    (run / "data.json").unlink()  # of an older version's run
    assert write_card(read_run(run))
    assert "| `mood-train.tsv` | train: `mood` | not told | not told |" in text_of(run)
    assert "`mood` not told" in text_of(run)


def test_the_packaged_encoders_own_training_data_are_told(trained: Path) -> None:
    run = read_run(trained)
    text = told(run, encoder="minilm")
    assert MINILM in text
    assert head_of(text).base_model == "sentence-transformers/all-MiniLM-L6-v2"
    by_name = told(run, encoder="sentence-transformers/all-MiniLM-L6-v2")
    assert "training data included Quora question pairs" in by_name
    other = told(run, encoder="bert-base-uncased")
    assert head_of(other).base_model == "bert-base-uncased"
    assert "Quora" not in other
    assert "is not checked here" in other
    assert "whose origin and training data are not told" in text_of(trained)


def test_no_card_names_a_folder_of_the_machine(trained: Path, tiny: Path) -> None:
    for path in (trained.parent, tiny):
        assert str(path) not in text_of(trained)
    assert [shown(name) for name in ("a.csv", "more/a.csv")] == ["a.csv", "more/a.csv"]
    secret = ["/home/me/a.csv", "../me/a.csv", "~/me/a.csv", "x/../../me/a.csv"]
    assert {shown(name) for name in secret} == {"a.csv"}


def test_a_score_stands_alone_where_its_answers_cannot_be_read(run: Path) -> None:
    (run / "predictions" / "mood-dev.csv").write_text("damaged\n")
    assert write_card(read_run(run))
    row = next(line for line in text_of(run).splitlines() if line.startswith("| `mood` | 32 of"))
    assert "| – |" in row


def test_the_python_of_a_card_runs_as_it_stands(trained: Path) -> None:
    pytest.importorskip("transformers")
    blocks = re.findall(r"```python\n(.*?)```", text_of(trained), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        assert FOLDER in block
        exec(block.replace(FOLDER, str(trained / "model")), names)
    assert names["model"].predict("mood", ["good day"])[0] in ("up", "down")
    assert names["encoder"].config.hidden_size == 32


# --- words of users ----------------------------------------------------------------------------

NASTY = "a|b\\|c <script>alert(1)</script> `x` [y](http://z) &amp; **w**"


def test_words_of_users_are_words_in_a_card_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    def nasty(values: dict[str, Any]) -> None:
        mood = values["tasks"]["mood"]
        mood["labels"] = {"down": NASTY, "up": "x\n---\n# no title\n"}
        data = Path(values["data"])
        shutil.copyfile(data / mood["train"], data / "`<b>|x: {y}.tsv")
        mood["train"] = {"file": "`<b>|x: {y}.tsv", "license": "- <i>: |"}
        mood["dev"] = {"file": "mood-dev.tsv"}

    run = train(tiny, tmp_path, nasty)
    text = text_of(run)
    page = rendered(text)
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert 'href="http://z' not in page
    assert page.count("<h1>") == 1
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        assert len({len(re.findall(r"<t[hd]\b", row)) for row in rows}) == 1
    assert len(head_of(text).eval_results or []) == 3
    assert trivium.load(run).predict("mood", ["good"])[0] in (NASTY, "x\n---\n# no title\n")


@given(st.text(alphabet=st.sampled_from(" \\|`<>&*_~[]()!#-+.:/\n\r\t\0\x85\u2028\u202eaé漢😀")))
def test_any_words_are_one_cell_of_a_table_with_these_words_in_it(words: str) -> None:
    table = f"| a | b |\n| - | - |\n| {code(words)} | end |"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert len(cells) == 2
    assert cells[1].content == "end"
    read = "".join(
        child.content
        for child in cells[0].children or []
        if child.content not in ("<code>", "</code>")
    )
    assert read == (one_line(words) or "(empty)")


def test_words_are_one_line_that_is_read_from_its_start_to_its_end() -> None:
    assert one_line(" a\n\tb\x00c\u2028d\udcff\u202e e ") == "a b c d e"
    assert code("\n") == "(empty)"


# --- whose it is -------------------------------------------------------------------------------


def test_a_card_that_a_person_changed_is_left_alone(run: Path) -> None:
    path = run / "model" / "README.md"
    ours = path.read_text()
    assert write_card(read_run(run), "desk/support")
    assert 'trivium.load("desk/support")' in path.read_text()
    for theirs in (ours.replace("## Limits", "## Limits, and more"), "# Mine\n", ""):
        path.write_text(theirs)
        assert not write_card(read_run(run))
        assert path.read_text() == theirs
    path.write_bytes(b"\xff is no text")
    assert not write_card(read_run(run))
    path.unlink()
    assert write_card(read_run(run))
    assert path.read_text() == ours


def test_line_ends_that_git_changed_are_no_change_by_a_person(trained: Path) -> None:
    assert not is_changed(text_of(trained).replace("\n", "\r\n"))
    assert not is_changed(text_of(trained).rstrip("\n"))
    assert is_changed(text_of(trained).replace("mood", "temper"))


def test_a_model_answers_whatever_becomes_of_its_card(run: Path) -> None:
    said = trivium.load(run).probabilities("mood", ["good day"])
    path = run / "model" / "README.md"
    assert "README.md" not in json.loads((run / "model" / "trivium.json").read_text())["files"]
    path.write_text("# Mine")
    assert trivium.load(run).probabilities("mood", ["good day"]) == said
    path.unlink()
    assert trivium.load(run).probabilities("mood", ["good day"]) == said


def test_no_folder_is_sealed_with_a_card(tmp_path: Path) -> None:
    for name in ("README.md", "a.txt"):
        (tmp_path / name).write_text(name)
    seal(tmp_path, "seal.json", {})
    assert set(unseal(tmp_path, "seal.json")["files"]) == {"a.txt"}


def test_a_model_that_is_saved_anew_keeps_the_card_of_its_folder(run: Path) -> None:
    folder = run / "model"
    (folder / "README.md").write_text("# Mine")
    loaded = load_model(folder)
    save_model(loaded.model, loaded.tasks, loaded.tokenizer, folder, precision="fp32")
    assert (folder / "README.md").read_text() == "# Mine"
    trivium.load(run)


def test_facts_are_those_of_the_run_not_of_the_card(trained: Path) -> None:
    facts = gather(read_run(trained))
    assert isinstance(facts, Facts)
    files = [p for p in (trained / "model").iterdir() if p.name != "README.md"]
    assert facts.model_bytes == sum(p.stat().st_size for p in files)
