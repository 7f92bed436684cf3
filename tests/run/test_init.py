"""`trivium init`: a recipe for files that nobody described, which `check` takes as it is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import trivium
from tests.support.drafts import Rows, drafted, moods, only, table, texts
from tests.support.shell import call, spoken
from tests.support.tables import WORDS, sentence
from tests.support.thorough import some_of
from trivium.cli.drafting import ask
from trivium.errors import RecipeError
from trivium.parts.optim import LearningRates
from trivium.recipe import Recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.recipe.probed import fall_back
from trivium.run.rows.load import load_data

REAL = Path(__file__).parents[3] / "shared" / "data" / "other"


# --- from files to a trained model ---------------------------------------------------------------
def test_a_recipe_that_is_written_behind_a_link_finds_its_data(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "far" / "away" / "from" / "here").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away" / "from")
    file = table(tmp_path / "files" / "t.csv", ["text", "mood"], moods(60))
    for folder in (tmp_path / "link", tmp_path / "link" / "here"):
        trivium.init([file], folder / "recipe.yaml", console=spoken()[0])
        assert list(trivium.load_recipe(folder / "recipe.yaml").tasks) == ["mood"]


def test_a_file_under_two_names_is_one_task(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    file = table(tmp_path / "files" / "t.csv", ["text", "mood"], moods(60))
    (tmp_path / "link").symlink_to(tmp_path / "files")
    others = (tmp_path / "files" / ".." / "files" / "t.csv", tmp_path / "link" / "t.csv")
    for other in others:
        values, _ = drafted(tmp_path, file, other)
        (tmp_path / "recipe.yaml").unlink()
        assert list(values["tasks"]) == ["mood"]


def hundred_labels(folder: Path) -> Path:
    rows = [
        [f"{WORDS[a]} {WORDS[b]} {sentence(n)}", f"{WORDS[a]} of {WORDS[b]}"]
        for n, (a, b) in enumerate((n % 10, n // 10 % 10) for n in range(400))
    ]
    return table(folder / "routes.csv", ["message", "route"], rows)


@pytest.mark.parametrize(
    "name",
    some_of(
        ["trec6", "agnews", "twitter-url", "100 labels"], ("agnews", "100 labels").__contains__
    ),
)
def test_a_draft_is_checked_and_trained_as_it_is(name: str, tiny: Path, tmp_path: Path) -> None:
    if name == "100 labels":
        file = hundred_labels(tmp_path)
    else:
        source = REAL / f"{name}-train.tsv"
        if not source.is_file():
            pytest.skip("needs the public data sets")
        file = tmp_path / source.name
        with source.open(encoding="utf-8") as lines:
            file.write_text("".join(next(lines) for _ in range(301)), encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    code, output = call("init", file, "--yes", "--encoder", tiny, "--out", recipe)
    assert code == 0, output
    assert "there is no dev file: 10% of the training rows" in output
    code, output = call("check", recipe)
    assert code == 0, output
    code, output = call(
        "train", recipe, "--set", "stages.0.steps=2", "--set", "tasks.*.max_length=32",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, output
    (task,) = json.loads((tmp_path / "run" / "scores.json").read_text())["tasks"].values()
    assert 20 <= task["dev"]["rows"] <= 60


# --- columns -------------------------------------------------------------------------------------
def test_texts_answers_and_ids_are_told_apart(tmp_path: Path) -> None:
    rows = [[f"t-{n}", n, text, mood, "en"] for n, (text, mood) in enumerate(moods(60))]
    file = table(tmp_path / "posts.csv", ["uid", "nr", "body", "mood", "lang"], rows)
    values, said = drafted(tmp_path, file)
    assert list(values["tasks"]) == ["mood"]
    assert only(values) == {
        "kind": "classification", "text": "body", "label": "mood", "train": "posts.csv",
        "dev": {"share": 0.1, "stratify": True},
    }  # fmt: skip
    assert "task mood: classification of 'body' by 'mood', 2 labels" in said


@pytest.mark.parametrize(
    ("columns", "cell", "wanted"),
    [
        (["text", "tags"], lambda n: "a;b" if n % 2 else "b", {"separator": ";"}),
        (["text", "tags"], lambda n: '["a", "b"]' if n % 2 else '["b"]', {"kind": "multilabel"}),
        (["text", "tags"], lambda n: "a, b c" if n % 2 else "b c", {"kind": "multilabel"}),
        (["text", "score"], lambda n: n / 7, {"kind": "regression", "range": [0, 9]}),
        (["text", "stars"], lambda n: n % 5 + 1, {"kind": "ordinal"}),
        (["text", "label"], lambda n: n % 2, {"kind": "classification"}),
        (["text", "toxic"], lambda n: f"{n % 2}.0", {"kind": "classification"}),
    ],
)
def test_the_kind_of_a_task_follows_from_its_cells(
    tmp_path: Path, columns: list[str], cell: Any, wanted: dict[str, Any]
) -> None:
    rows = [[text, cell(n)] for n, text in enumerate(texts(60))]
    task = only(drafted(tmp_path, table(tmp_path / "t.csv", columns, rows))[0])
    assert wanted.items() <= task.items()


@pytest.mark.parametrize(
    "names", [("sentence1", "sentence2"), ("text_a", "text_b"), ("premise", "hypothesis")]
)
def test_two_texts_of_a_pair_are_known_by_their_names(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    rows = [[texts(1, n // 4)[0], texts(1, n)[0], n % 2] for n in range(1, 81)]
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", [*names, "label"], rows))
    assert only(values)["text"] == list(names)
    assert only(values)["dev"]["by"] == names[0]  # each first text stands in four rows
    assert f"rows with the same '{names[0]}' stay together" in said


@pytest.mark.parametrize(("rows", "encode"), [(2000, "separate"), (2001, "joint")])
def test_few_pairs_are_read_apart_by_an_encoder_of_sentences_that_learns_fast(
    tmp_path: Path, rows: int, encode: str
) -> None:
    cells = [[f"{word} a", f"{word} b", n % 2] for n, word in enumerate(map(str, range(rows)))]
    files = [table(tmp_path / f"t-{split}.csv", ["text_a", "text_b", "label"], cells)
             for split in ("train", "dev")]  # fmt: skip
    recipe = trivium.init(files, tmp_path / "recipe.yaml")
    assert [task.encode for task in recipe.tasks.values()] == [encode]
    assert recipe.encoder == "minilm"
    assert recipe.stages[0].lr.encoder == 1e-4
    assert recipe.stages[0].epochs == (6 if encode == "separate" else None)


def test_few_pairs_are_read_as_one_by_other_encoders_that_learn_as_usual(
    tmp_path: Path, tiny: Path
) -> None:
    rows = [[f"{n} a", f"{n} b", n % 2] for n in range(20)]
    file = table(tmp_path / "t.csv", ["text_a", "text_b", "label"], rows)
    recipe = trivium.init([file], tmp_path / "recipe.yaml", encoder=str(tiny))
    assert [task.encode for task in recipe.tasks.values()] == ["joint"]
    assert recipe.stages[0].lr.encoder == LearningRates().encoder == 5e-5


@pytest.mark.parametrize(
    ("columns", "cell", "fallback"),
    [
        (["text", "label"], lambda n: n % 2, "probe"),
        (["text", "score"], lambda n: n / 7, "probe"),
        (["text_a", "text_b", "label"], lambda n: n % 2, "probe"),
        (["text_a", "text_b", "score"], lambda n: n / 7, None),
    ],
    ids=["labels", "scores", "pairs", "scores of pairs"],
)
def test_a_draft_falls_back_on_the_probe_where_some_head_can_be_one(
    tmp_path: Path, columns: list[str], cell: Any, fallback: str | None
) -> None:
    rows = [[*(f"{text} {c}" for c in columns[:-1]), cell(n)] for n, text in enumerate(texts(60))]
    recipe = trivium.init([table(tmp_path / "t.csv", columns, rows)], tmp_path / "recipe.yaml")
    assert recipe.fallback == fallback
    assert bool(fall_back(recipe)) == (fallback == "probe")


def test_every_column_of_answers_is_a_task(tmp_path: Path) -> None:
    rows = [[text, "ab"[n % 2], "xyz"[n % 3], f"u{n % 5}"] for n, text in enumerate(texts(60))]
    file = table(tmp_path / "desk.csv", ["message", "topic", "urgency", "user"], rows)
    values, said = drafted(tmp_path, file)
    assert list(values["tasks"]) == ["topic", "urgency"]
    assert "stands in 'topic' and 'urgency'; 'user' is not used" in said


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [[text, other, "ab"[n % 2]] for n, (text, other) in
            enumerate(zip(texts(60), texts(60, 60), strict=True))]  # fmt: skip
    file = table(tmp_path / "t.csv", ["title", "body", "user"], rows)
    values, _ = drafted(tmp_path, file, text=["title"], label=["user"])
    assert (only(values)["text"], only(values)["label"]) == ("title", "user")
    with pytest.raises(RecipeError, match="no column 'usr'; did you mean 'user'"):
        drafted(tmp_path, file, label=["usr"], overwrite=True)


# --- questions -----------------------------------------------------------------------------------
def test_what_is_not_certain_is_asked_where_there_is_anybody(tmp_path: Path) -> None:
    rows = [[a, b, "ab"[n % 2], "xy"[n % 2]] for n, (a, b) in
            enumerate(zip(texts(60), texts(60, 60), strict=True))]  # fmt: skip
    file = table(tmp_path / "t.csv", ["title", "body", "one", "other"], rows)
    asked = []

    def answer(question: str, allowed: Sequence[str], chosen: Sequence[str]) -> list[str]:
        asked.append((list(allowed), list(chosen)))
        return [allowed[-1]]

    values, said = drafted(tmp_path, file, ask=answer)
    assert [allowed for allowed, _ in asked] == [["title", "body"], ["one", "other"]]
    assert (only(values)["text"], only(values)["label"]) == ("body", "other")
    assert "the text is" not in said


def test_an_answer_is_a_number_and_enter_takes_the_choice() -> None:
    with CliRunner().isolation(input="5\n\n2, 1\n"):
        assert ask("Which?", ["a", "b"], ["a"]) == ["a"]
        assert ask("Which?", ["a", "b"], ["a"]) == ["b", "a"]


# --- files ---------------------------------------------------------------------------------------
def test_files_with_train_dev_and_test_in_their_names_belong_together(tmp_path: Path) -> None:
    for name, rows in (
        ("mood-train", moods(40)), ("mood_validation", moods(20, 40)), ("Mood.test", moods(20, 60))
    ):  # fmt: skip
        table(tmp_path / f"{name}.csv", ["text", "mood"], rows)
    other = table(tmp_path / "stars.csv", ["review", "stars"], [[t, n % 5] for n, t in
                                                               enumerate(texts(60))])  # fmt: skip
    for name in ("mood-train.csv", "mood_validation.csv"):
        assert (tmp_path / name).is_file()
    (tmp_path / "Mood.test.csv").rename(tmp_path / "mood.test.csv")
    files = [tmp_path / f"{name}.csv" for name in ("mood.test", "mood_validation", "mood-train")]
    values, said = drafted(tmp_path, *files, other)
    mood, stars = values["tasks"]["mood"], values["tasks"]["stars"]
    assert (mood["train"], mood["dev"], mood["test"]) == (
        "mood-train.csv", "mood_validation.csv", "mood.test.csv"
    )  # fmt: skip
    assert stars["dev"] == {"share": 0.1, "stratify": True}
    assert said.count("there is no dev file") == 1


def test_a_column_that_tells_the_splits_is_used(tmp_path: Path) -> None:
    splits = ["train"] * 40 + ["valid"] * 10 + ["test"] * 10
    rows = [[text, mood, split] for (text, mood), split in zip(moods(60), splits, strict=True)]
    file = table(tmp_path / "all.csv", ["text", "mood", "split"], rows)
    values, _ = drafted(tmp_path, file)
    assert only(values)["dev"] == {"file": "all.csv", "where": {"split": "valid"}}
    recipe = trivium.load_recipe(tmp_path / "recipe.yaml")
    data = load_data(recipe)[1]["mood"]
    assert {split: len(rows.examples) for split, rows in data.items()} == {
        "train": 40, "dev": 10, "test": 10,
    }  # fmt: skip
    assert [file.rows for file in data["dev"].files] == [60]


def test_the_folder_of_data_is_told_from_the_recipe_on(tmp_path: Path) -> None:
    for folder in ("data/a", "data/b", "recipes"):
        (tmp_path / folder).mkdir(parents=True)
    one = table(tmp_path / "data" / "a" / "train.csv", ["text", "mood"], moods(60))
    two = table(tmp_path / "data" / "b" / "train.csv", ["text", "mood"], moods(60))
    values, _ = drafted(tmp_path / "recipes", one, two)
    assert values["data"] == "../data"
    assert [task["train"] for task in values["tasks"].values()] == ["a/train.csv", "b/train.csv"]
    trivium.load_recipe(tmp_path / "recipes" / "recipe.yaml")


def test_windows_1252_excel_and_json_are_read_as_they_are(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    rows = [[f"{text} – größer", mood] for text, mood in moods(60)]
    old = table(tmp_path / "old.csv", ["text", "mood"], rows, encoding="cp1252")
    wide = table(tmp_path / "wide.csv", ["text", "mood"], rows, encoding="utf-16")
    array = tmp_path / "array.json"
    array.write_text(json.dumps([{"text": text, "mood": mood} for text, mood in rows]))
    book = openpyxl.Workbook()
    for row in (["text", "mood"], *rows):
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    values, said = drafted(tmp_path, old, wide, array, tmp_path / "book.xlsx")
    assert [task["train"] for task in values["tasks"].values()] == [
        {"file": "old.csv", "encoding": "cp1252"},
        {"file": "wide.csv", "encoding": "utf-16"},
        "array.json",
        "book.xlsx",
    ]
    assert "old.csv: is not UTF-8, but cp1252 (encoding: cp1252); it reads '" in said
    read = load_data(trivium.load_recipe(tmp_path / "recipe.yaml"))[1]
    held = [[example.texts for example in splits["dev"].examples] for splits in read.values()]
    assert held[0] == held[1] == held[2] == held[3] != []


def test_lone_quotes_are_characters_like_others(tmp_path: Path) -> None:
    lines = [f'"{text}\t{mood}' if n % 9 == 4 else f"{text}\t{mood}" for n, (text, mood) in
             enumerate(moods(60))]  # fmt: skip
    (tmp_path / "t.tsv").write_text("\n".join(["text\tmood", *lines]) + "\n")
    values, said = drafted(tmp_path, tmp_path / "t.tsv")
    assert only(values)["quoting"] == "none"
    assert "(quoting: none)" in said


# --- what is odd ---------------------------------------------------------------------------------
def test_what_is_odd_is_told_and_does_not_keep_check_from_passing(tmp_path: Path) -> None:
    rows: list[list[object]] = moods(60)
    rows[3][1], rows[4][1], rows[5][1] = "Up", " up ", ""
    rows[7][0] = ""
    rows += [[str(rows[0][0]).upper(), "up"], [rows[1][0], rows[1][1]], ["the cat eats fish", "hm"]]
    train = table(tmp_path / "mood-train.csv", ["text", "mood"], rows)
    with train.open("a") as file:
        file.write("too,many,cells\n")
    dev = table(tmp_path / "mood-dev.csv", ["text", "mood"], [*rows[10:20], ["a dog", "sideways"]])
    values, said = drafted(tmp_path, train, dev)
    assert only(values)["train"]["relabel"] == {"Up": "up"}
    assert only(values)["missing_labels"] == "allow"
    assert only(values)["bad_rows"] == "skip"
    for line in (
        "assumed labels of column 'mood' are one: 'Up' as 'up' (relabel)",
        "note mood-train.csv:7: column 'mood': 1 cell is empty, this the first",
        "note mood-train.csv:9: column 'text': 1 cell is empty, this the first",
        "note mood-train.csv:65: has 3 cells where the header has 2",
        "note mood-train.csv: 2 rows repeat the text of another; 1 of the texts with different",
        "note mood-train.csv: labels of one row only: 'hm'",
        "note mood-dev.csv: 10 of 11 rows have a text that also stands in mood-train.csv",
        "note mood-dev.csv: 'sideways' is no label of mood-train.csv",
    ):
        assert line in said
    data = load_data(trivium.load_recipe(tmp_path / "recipe.yaml"))[1]["mood"]
    assert len(data["dev"].examples) == 10


def test_a_table_too_small_to_hold_rows_out_is_trained_without(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", ["text", "mood"], moods(3))
    values, said = drafted(tmp_path, file)
    assert "dev" not in only(values)
    assert "too few rows to hold some out" in said


# --- what is refused -----------------------------------------------------------------------------
def test_a_recipe_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", ["text", "mood"], moods(60))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mine")
    code, output = call("init", file, "--yes", "--out", recipe)
    assert code == 2
    assert "is there already. Replace it (--overwrite)" in output
    assert recipe.read_text() == "mine"
    assert call("init", file, "--overwrite", "--out", recipe)[0] == 0
    assert "tasks" in read_yaml(recipe)


@pytest.mark.parametrize("by_link", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_recipe_never_takes_the_place_of_a_table_that_it_is_about(
    tmp_path: Path, overwrite: bool, by_link: bool
) -> None:
    files = [table(tmp_path / f"{n}.csv", ["text", "mood"], moods(60)) for n in "ab"]
    before = files[1].read_bytes()
    (tmp_path / "link.csv").symlink_to(files[1])
    out = tmp_path / "link.csv" if by_link else files[1]
    with pytest.raises(RecipeError, match="is the table that is read; the recipe goes into"):
        trivium.init(files, out, overwrite=overwrite)
    assert files[1].read_bytes() == before


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (["text", "mood"], [], "has no rows below its header"),
        (["a", "b"], [[n, n % 2] for n in range(9)], "no column seems to hold texts"),
        (["id", "text"], [[n, t] for n, t in enumerate(texts(9))], "no column seems to hold ans"),
        (["text", "label"], [[t, "a"] for t in texts(9)], "('label' holds one value only)"),
        (["what a fine day it is", "up"], moods(9), "t.csv:1: seems to be a row"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused(
    tmp_path: Path, columns: list[str], rows: Rows, said: str
) -> None:
    file = table(tmp_path / "t.csv", columns, rows)
    code, output = call("init", file, "--yes", "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert output.count("error ") == 1
    assert said in output
    assert not (tmp_path / "recipe.yaml").exists()


HOSTILE = [
    "a: b", "# no", "- x", "yes", "null", "1e3", "{a}", "[/bold]", "it's \"q\"", "*x", "&a", "!t",
    "a\tb", " pad ", "%x", "@x", "`x", "ü\u2028x", "\x1b[31mred", "key, other", "?", "=", "~",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_mean_something_to_yaml_or_a_terminal_are_only_names(
    tmp_path: Path, name: str
) -> None:
    rows = [[text, f"{name}{n % 2}"] for n, text in enumerate(texts(60))]
    folder = tmp_path / "x"
    folder.mkdir()
    name_ = name.replace("/", "|")
    file = table(folder / f"{name_}.csv", [f"{name} text", f"{name} label"], rows)
    values, said = drafted(tmp_path, file)
    assert only(values)["text"] == f"{name} text"
    assert only(values)["label"] == f"{name} label"
    assert (values["data"], only(values)["train"]) == ("x", f"{name_}.csv")
    assert "\x1b" not in said
    recipe = trivium.load_recipe(tmp_path / "recipe.yaml")
    assert isinstance(recipe, Recipe)
    labels = next(iter(load_data(recipe)[0].tasks.values())).model_dump()["labels"]
    assert list(labels) == sorted({str(row[1]).strip() for row in rows})
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text("utf-8"))["encoder"] == "minilm"
