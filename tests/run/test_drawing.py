"""Dev and test rows that are drawn from the training files: the same ones, whatever else."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import trivium
from tests.support.shell import call
from tests.support.tables import WORDS, make_recipe, sentence, write_table
from trivium.errors import RecipeError
from trivium.parts.tasks.drawn import Drawn
from trivium.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from trivium.recipe.plain_yaml import parse_yaml, read_yaml
from trivium.run.folder.panels import Panel
from trivium.run.folder.provenance import read_provenance
from trivium.run.members.judged import judged_recipe, other_dev_files
from trivium.run.members.opened import Member
from trivium.run.rows.drawing import Candidate, sides
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Split

COLUMNS = ["text", "mood", "user"]


def mood_rows(count: int = 200) -> list[list[object]]:
    texts = [sentence(7 * number) for number in range(count)]
    return [
        [text, "up" if WORDS.index(text.split()[0]) % 2 else "down", f"u{number % 20}"]
        for number, text in enumerate(texts)
    ]


def recipe(folder: Path, rows: Sequence[list[object]] | None = None, **settings: Any) -> Recipe:
    """One task over one file of rows."""
    if rows is not None:
        write_table(folder / "rows.tsv", COLUMNS, list(rows))
    task = {"kind": "classification", "text": "text", "label": "mood", "train": "rows.tsv"}
    return parse_recipe({"data": str(folder), "tasks": {"mood": task | settings}})


def drawn(
    folder: Path, rows: Sequence[list[object]] | None = None, **given: Any
) -> dict[str, Split]:
    return load_data(recipe(folder, rows, **given))[1]["mood"]


def texts(split: Split) -> list[str]:
    return [example.texts[0] for example in split.examples]


# --- which rows --------------------------------------------------------------------------------

_TEXTS = st.sampled_from(["a", "A ", "b", "c", "ｄ", "d", "e", "f f", "f  F", "g", "h"])
_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.tuples(_TEXTS),
        st.sampled_from([None, "x", "y", "z", " "]),
        st.integers(0, 2),
    ),
    max_size=40,
)


@given(_CANDIDATES, st.booleans(), st.randoms(use_true_random=False))
def test_no_text_and_no_group_is_on_two_sides_whatever_the_order(
    rows: list[Candidate], stratify: bool, chance: random.Random
) -> None:
    held = {
        "dev": Drawn(share=0.3, by="user", stratify=stratify),
        "test": Drawn(share=0.2, by="user", stratify=stratify),
    }
    side, _ = sides(rows, held)
    where: dict[str, set[str]] = {}
    for row, one in zip(rows, side, strict=True):
        plain = {"Ａ": "a", "ｄ": "d"}.get(row.texts[0], " ".join(row.texts[0].lower().split()))
        where.setdefault(plain, set()).add(one)
        if row.by and row.by.strip():
            where.setdefault(f"by {row.by}", set()).add(one)
    assert all(len(found) == 1 for found in where.values())
    order = list(range(len(rows)))
    chance.shuffle(order)
    again, _ = sides([rows[place] for place in order], held)
    assert again == [side[place] for place in order]


def test_a_text_is_held_out_or_not_whatever_else_the_file_holds(tmp_path: Path) -> None:
    rows = mood_rows(400)
    whole, part = drawn(tmp_path, rows, dev=0.2), drawn(tmp_path, rows[100:], dev=0.2)
    dev, before = set(texts(whole["dev"])), {str(row[0]) for row in rows[:100]}
    assert set(texts(part["dev"])) == dev - before
    assert 0.13 < len(dev) / 400 < 0.27
    smaller = drawn(tmp_path, rows, dev=0.1)
    assert set(texts(smaller["dev"])) < dev


def test_dev_stays_what_it_is_when_test_is_drawn_beside_it(tmp_path: Path) -> None:
    rows = mood_rows(300)
    for more in ({}, {"stratify": True}):
        alone = drawn(tmp_path, rows, dev={"share": 0.2, **more})
        both = drawn(tmp_path, rows, dev={"share": 0.2, **more}, test={"share": 0.3, **more})
        assert texts(both["dev"]) == texts(alone["dev"])
        assert not {*texts(both["dev"])} & {*texts(both["test"])}
        assert sum(map(len, map(texts, both.values()))) == 300


def test_rows_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    for split in drawn(tmp_path, mood_rows(), dev=0.3, test=0.3).values():
        lines = [example.line for example in split.examples]
        assert lines == sorted(lines)
        assert len(lines) > 20


def test_stratified_every_label_has_its_share_to_the_row(tmp_path: Path) -> None:
    counts = {"often": 100, "some": 30, "few": 10, "once": 1}
    labels = [label for label, count in counts.items() for _ in range(count)]
    rows: list[list[object]] = [[sentence(n), label, ""] for n, label in enumerate(labels)]
    found = drawn(tmp_path, rows, dev={"share": 0.1, "stratify": True})["dev"]
    names = sorted(counts)
    shares = Counter(names[int(example.target)] for example in found.examples)  # type: ignore[arg-type]
    assert shares == {"often": 10, "some": 3, "few": 1}


def test_many_labels_of_few_rows_have_their_share_together(tmp_path: Path) -> None:
    rows: list[list[object]] = [[sentence(n), f"l{n % 100:02}", ""] for n in range(400)]
    rows += [[sentence(n + 400), f"one{n}", ""] for n in range(20)]
    found = drawn(tmp_path, rows, dev={"share": 0.1, "stratify": True})["dev"]
    shares = Counter(example.target for example in found.examples)
    assert len(found.examples) == 42
    assert set(shares.values()) == {1}
    assert max(int(label) for label in shares if isinstance(label, int | float)) < 100


def test_twins_across_files_are_on_one_side(tmp_path: Path) -> None:
    rows = mood_rows(60)
    write_table(tmp_path / "more.tsv", COLUMNS, [[f" {t}".upper(), m, u] for t, m, u in rows])
    found = drawn(tmp_path, rows, train=["rows.tsv", "more.tsv"], dev=0.3)
    assert len(found["dev"].examples) % 2 == 0
    train = {text.lower().strip() for text in texts(found["train"])}
    assert not train & {text.lower().strip() for text in texts(found["dev"])}
    assert [file.rows for file in found["dev"].files] == [60, 60]
    assert "of 120 rows" in found["dev"].drawn


def test_rows_of_one_user_stay_together(tmp_path: Path) -> None:
    rows = mood_rows()
    found = drawn(tmp_path, rows, dev={"share": 0.3, "by": "user"})
    users = {str(row[0]): row[2] for row in rows}
    on = [{users[text] for text in texts(found[split])} for split in ("train", "dev")]
    assert not on[0] & on[1]
    assert len(on[0] | on[1]) == 20


def test_caps_are_of_what_is_trained_and_leave_dev_as_it_is(tmp_path: Path) -> None:
    rows = mood_rows()
    whole = drawn(tmp_path, rows, dev=0.2)
    few = drawn(tmp_path, rows, train={"file": "rows.tsv", "rows": 20}, dev=0.2)
    assert len(few["train"].examples) == 20
    assert texts(few["dev"]) == texts(whole["dev"])
    capped = drawn(tmp_path, rows, dev={"share": 0.2, "rows": 5})
    assert len(capped["dev"].examples) == 5
    assert texts(capped["train"]) == texts(whole["train"])


# --- what is refused ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dev": 1.5}, "tasks.mood.dev.share: input should be less than 1"),
        ({"dev": {"share": 0.1, "bye": "x"}}, "dev.bye: no such setting; did you mean 'by'?"),
        ({"dev": 0.1, "train": None}, "dev: is a share of the training rows; name a `train` file"),
        ({"dev": 0.5, "test": 0.5}, "their shares leave no row to train"),
        ({"dev": 0.1, "test": {"share": 0.1, "by": "user"}}, "are drawn alike"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_its_place(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_have_no_labels_to_stratify_by(tmp_path: Path) -> None:
    task = {"kind": "regression", "text": "text", "label": "mood", "train": "rows.tsv"}
    with pytest.raises(RecipeError, match="stratify: the task has no labels"):
        parse_recipe({"tasks": {"mood": task | {"dev": {"share": 0.1, "stratify": True}}}})


@pytest.mark.parametrize("more", [{}, {"stratify": True}, {"by": "user"}])
def test_a_table_that_is_too_small_is_refused_in_one_message(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    rows: list[list[object]] = [["good", "up", "u1"], ["bad", "down", "u1"]]
    with pytest.raises(RecipeError) as caught:
        drawn(tmp_path, rows, dev={"share": 0.01, **more})
    said = str(caught.value)
    assert "task 'mood': " in said
    assert "rows.tsv: of 2 labelled rows, none is left for dev (dev: 0.01" in said
    assert "name a file of dev rows" in said


def test_a_share_is_changed_by_its_dotted_path(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe(tmp_path, mood_rows(), dev=0.1)))
    assert read_yaml(path)["tasks"]["mood"]["dev"] == 0.1
    changed = load_recipe(path, ["tasks.mood.dev.by=user"])
    assert changed.tasks["mood"].dev == Drawn(share=0.1, by="user")
    assert read_yaml(path)["tasks"]["mood"]["train"] == "rows.tsv"


def test_a_budget_caps_what_is_drawn(tmp_path: Path) -> None:
    values = {"tasks": {"mood": {"kind": "classification", "text": "text", "label": "mood",
                                 "train": "rows.tsv", "dev": 0.3}},
              "budgets": {"quick": {"rows": 20, "dev_rows": 6}}}  # fmt: skip
    write_table(tmp_path / "rows.tsv", COLUMNS, mood_rows())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    data = load_data(load_recipe(tmp_path / "recipe.yaml", budget="quick"))[1]["mood"]
    assert [len(data[split].examples) for split in ("train", "dev")] == [20, 6]
    assert not {*texts(data["train"])} & {*texts(data["dev"])}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"dev": 0.1}, None),
        ({"dev": 0.2}, None),
        ({"dev": 0.05}, "was trained on 0.1 of "),
        ({"dev": {"share": 0.2, "by": "user"}}, "was trained on 0.1 of "),
        ({"dev": "other.tsv"}, "was trained on 0.1 of "),
        ({"train": "more.tsv", "dev": "other.tsv"}, "had "),
        ({"train": "more.tsv"}, None),
    ],
)
def test_an_ensemble_is_warned_of_members_that_held_out_other_rows(
    tmp_path: Path, theirs: dict[str, Any], said: str | None
) -> None:
    first = recipe(tmp_path, mood_rows(), dev=0.1)
    recipes = {"a": first, "b": recipe(tmp_path, **theirs)}
    members = [Member(n, tmp_path, one.tasks, one) for n, one in recipes.items()]
    judged = judged_recipe(members, {"mood": Panel(how="mean", members=(0, 1))})
    assert judged is not None
    assert judged.tasks["mood"].dev == Drawn(share=0.1)
    notes = list(other_dev_files(members, judged))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


# --- splits in one file --------------------------------------------------------------------------
def test_a_file_of_several_splits_gives_each_its_rows(tmp_path: Path) -> None:
    rows = mood_rows(60)
    where = {"train": {"user": [f"u{n}" for n in range(15)]}, "dev": {"user": "u15"}}
    files: dict[str, Any] = {
        split: {"file": "rows.tsv", "where": meant} for split, meant in where.items()
    }
    found = drawn(tmp_path, rows, **files)
    assert [len(found[split].examples) for split in ("train", "dev")] == [45, 3]
    assert [found[split].files[0].rows for split in ("train", "dev")] == [60, 60]
    assert [example.line for example in found["dev"].examples] == [17, 37, 57]
    again = parse_recipe(parse_yaml(dump_recipe(recipe(tmp_path, **files))))
    assert again == recipe(tmp_path, **files)
    assert recipe(tmp_path, **files).tasks["mood"].dev_words() == "rows.tsv, user: u15"


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for where, said in (
        ({"user": "nobody"}, "has no labelled rows"),
        ({"usr": "u1"}, "no column 'usr'; did you mean 'user'"),
    ):
        with pytest.raises(RecipeError, match=said):
            drawn(tmp_path, mood_rows(), dev={"file": "rows.tsv", "where": where})


# --- a run -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on three quarters of a file, judged on two parts of the rest."""
    folder = tmp_path_factory.mktemp("drawn")
    values = make_recipe(tiny, folder)
    values["tasks"] = {"mood": values["tasks"]["mood"] | {"dev": 0.25, "test": 0.1}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    code, output = call("train", folder / "recipe.yaml", "--out", folder / "run")
    assert code == 0, output
    assert "by a hash of their text" in output
    assert "with a twin" in output
    return folder / "run"


def test_evaluate_finds_the_same_rows_again(run: Path) -> None:
    scores = trivium.evaluate(run, split="dev")
    trained = yaml.safe_load((run / "scores.json").read_text())["tasks"]["mood"]
    assert set(trained) == {"dev", "test"}
    assert scores["tasks"]["mood"]["dev"] == trained["dev"]
    assert "test" not in scores["tasks"]["mood"]
    code, output = call("evaluate", run, "--split", "test", "--json")
    assert code == 0
    assert f'"rows": {trained["test"]["rows"]}' in output
    assert "have changed" not in output


def test_data_json_tells_how_rows_were_drawn(run: Path) -> None:
    told = read_provenance(run)
    assert told is not None
    dev = told.tasks["mood"]["dev"]
    assert dev.drawn == {"share": 0.25}
    assert dev.files == ["mood-train.tsv"]
    assert dev.rows_sha256 is not None
    train = told.tasks["mood"]["train"]
    assert train.rows + dev.rows + told.tasks["mood"]["test"].rows == 96
    assert train.drawn is None


def test_answers_are_in_the_order_of_the_file(run: Path) -> None:
    lines = (run / "predictions" / "mood-dev.csv").read_text().splitlines()[1:]
    numbers = [int(line.split(",")[0]) for line in lines]
    assert numbers == sorted(numbers)


def test_report_and_compare_know_what_the_rows_were_drawn_from(run: Path, tmp_path: Path) -> None:
    code, output = call("report", run, run, "--out", tmp_path / "report.html")
    assert code == 0, output
    assert "no longer hold the rows" not in (tmp_path / "report.html").read_text()


def test_a_training_file_that_grew_is_told_when_rows_are_judged_again(
    run: Path, tmp_path: Path
) -> None:
    table = run.parent / "data" / "mood-train.tsv"
    before = table.read_text()
    try:
        table.write_text(before + "".join(f"{n}\tcat dog {n}\tup\n" for n in range(20)))
        code, output = call("evaluate", run, "--split", "dev")
    finally:
        table.write_text(before)
    assert code == 0, output
    assert "mood dev: the training files have changed" in output
