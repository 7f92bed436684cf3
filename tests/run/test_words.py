"""Masked words as a task of a run: their texts, their training, and what comes out."""

import copy
import json
import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import trivium
from tests.support import distributed
from tests.support.distributed import recipe_of
from tests.support.forks import Forks
from tests.support.tables import WORDS, make_recipe, write_table
from trivium.errors import RecipeError
from trivium.model.weights import read_tensors, read_weights
from trivium.parts.heads.words import WordsModule
from trivium.parts.tasks import MaskedWords
from trivium.recipe import parse_recipe
from trivium.run.check import check
from trivium.run.evaluate import evaluate
from trivium.run.folder.journal import read_journal
from trivium.run.predict import predict_file
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Data
from trivium.run.training.parameters import start_from_counts
from trivium.types import Example

ALL_ASKED = {"share": 1.0, "masked": 1.0, "random": 0.0}
"""Masks that leave nothing to chance."""


def rows(*texts: str | tuple[str, ...]) -> list[Example]:
    pairs = ((text,) if isinstance(text, str) else text for text in texts)
    return [Example(pair, 1.0, line) for line, pair in enumerate(pairs, 2)]


def texts_of(examples: Sequence[Example]) -> list[str]:
    return [example.texts[0] for example in examples]


def words(**settings: Any) -> MaskedWords:
    return MaskedWords.model_validate({"name": "words", "of": ["a"]} | settings)


# --- texts -------------------------------------------------------------------------------------


def test_texts_are_distinct_and_none_that_is_judged_is_trained() -> None:
    train = rows(" one", ("two", "three"), ("one", "two"), "four ", "five")
    found = words().gather({"train": train, "dev": rows("four", ("five", "six"))})
    assert texts_of(found["train"][0]) == [" one", "two", "three"]
    assert texts_of(found["dev"][0]) == ["four", "five", "six"]
    assert found["train"][1] == (
        "3 distinct texts of a; 2 more also stand in dev and are not trained"
    )
    assert found["dev"][1] == "3 distinct texts of a"


def test_of_pairs_the_first_text_alone_may_be_used() -> None:
    found = words(texts="first").gather({"train": rows(("one", "two"), "three")})
    assert texts_of(found["train"][0]) == ["one", "three"]


def test_what_is_judged_is_the_same_draw_whatever_else_there_is() -> None:
    many = [f"text {number}" for number in range(50)]
    draw = {n: texts_of(words(dev_texts=n).gather({"dev": rows(*many)})["dev"][0]) for n in (9, 5)}
    assert [len(draw[9]), len(draw[5])] == [9, 5]
    assert set(draw[5]) < set(draw[9])
    assert draw[9] == [text for text in many if text in draw[9]]  # in their order
    again = words(dev_texts=9).gather({"train": rows("x"), "dev": rows(*many[::-1])})["dev"]
    assert texts_of(again[0]) == draw[9][::-1]
    assert again[1] == "9 distinct texts of a, of 50 always these"


def test_nothing_left_to_train_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'words': train: no text is left"):
        words().gather({"train": rows("one"), "dev": rows(" one")})


def with_words(values: dict[str, Any], **settings: Any) -> dict[str, Any]:
    values = copy.deepcopy(values)
    values["tasks"]["words"] = {"kind": "mlm"} | settings
    return values


def loaded(values: dict[str, Any]) -> Data:
    return load_data(parse_recipe(values))[1]


def test_texts_come_from_tasks_and_from_files_of_every_kind(
    recipe_values: dict[str, Any],
) -> None:
    folder = Path(recipe_values["data"])
    (folder / "more.txt").write_text("a line\n\nanother line\n a line \n")
    write_table(folder / "table.tsv", ["id", "body"], [[1, "a cell"], [2, "a line"]])
    (folder / "held.txt").write_text("another line\nheld out\n")
    own = {"train": ["more.txt", "table.tsv"], "dev": "held.txt", "text": "body"}
    found = loaded(with_words(recipe_values, **own))["words"]
    assert texts_of(found["train"].examples) == ["a line", "a cell"]
    assert texts_of(found["dev"].examples) == ["another line", "held out"]
    assert [file.rows for file in found["train"].files] == [3, 2]
    both = loaded(with_words(recipe_values, **own, of=["mood", "near"], dev_texts=3))
    tables = {split: loaded(recipe_values) for split in ("train", "dev")}
    for split in ("train", "dev"):
        wanted = {"a line", "a cell"} if split == "train" else {"another line", "held out"}
        for name in ("mood", "near"):
            wanted |= {t for e in tables[split][name][split].examples for t in e.texts}
        mine = set(texts_of(both["words"][split].examples))
        if split == "train":
            held = {t for n in ("mood", "near") for e in both[n]["dev"].examples for t in e.texts}
            assert mine == wanted - held - {"another line", "held out"}
        else:
            assert mine < wanted
            assert len(mine) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"tasks\.words: has no texts; name tasks as `of`, or files as `train`"),
        ({"of": "moood"}, r"tasks\.words\.of: no task 'moood'; did you mean 'mood'"),
        ({"of": "words"}, r"tasks\.words\.of: 'words' has no texts of its own to lend"),
        ({"of": "other"}, r"tasks\.words\.of: 'other' has no texts of its own to lend"),
        ({"train": "mood-train.tsv"}, r"mood-train\.tsv: is a table; say as `text` which column"),
        ({"train": "mood-train.tsv", "text": "tex"}, r"no column 'tex'; did you mean 'text'"),
        ({"train": "absent.txt"}, r"absent\.txt: no such file"),
        ({"train": "blank.txt"}, r"train: .*blank\.txt has no"),
        ({"train": "gap.tsv", "text": "text"}, r"gap\.tsv:3: column 'text' is empty"),
    ],
)
def test_texts_that_cannot_be_had_are_refused(
    recipe_values: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    folder = Path(recipe_values["data"])
    (folder / "blank.txt").write_text("\n \n")
    write_table(folder / "gap.tsv", ["id", "text"], [[1, "one"], [2, ""]])
    values = with_words(recipe_values, **settings)
    values["tasks"]["other"] = {"kind": "mlm", "of": ["mood"]}
    with pytest.raises(RecipeError, match=said):
        loaded(values)


def test_empty_cells_are_skipped_on_demand_and_told(recipe_values: dict[str, Any]) -> None:
    write_table(Path(recipe_values["data"]) / "gap.tsv", ["id", "text"], [[1, "one"], [2, ""]])
    own = {"train": "gap.tsv", "text": "text", "bad_rows": "skip"}
    (file,) = loaded(with_words(recipe_values, **own))["words"]["train"].files
    assert [(bad.line, bad.problem[:22]) for bad in file.skipped] == [(3, "column 'text' is empty")]


def test_selecting_by_words_asks_for_texts_to_judge_by(recipe_values: dict[str, Any]) -> None:
    values = with_words(recipe_values, of=["mood"])
    values["stages"][0]["select"] = "words"
    parse_recipe(values)  # judged by the dev rows of mood
    del values["tasks"]["mood"]["dev"]
    with pytest.raises(RecipeError, match=r"select: words has no `dev` file"):
        parse_recipe(values)


# --- a run -------------------------------------------------------------------------------------


def train(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    return trivium.train(parse_recipe(values), folder, console=Console(file=StringIO()))


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of two tasks, with one of these trained beside them."""
    home = tmp_path_factory.mktemp("words")
    values = with_words(make_recipe(tiny, home), of=["mood", "near"])
    stage = {
        "tasks": ["words", "mood"],
        "weights": {"words": 0.7, "mood": 0.3},
        "steps": 40,
        "sampler": "joint",
    }
    values["stages"] = [
        stage | {"batch_size": 16, "lr": 1e-2, "evaluate_every": 10, "select": "last"}
    ]
    train(values, home / "run")
    return home / "run"


def test_perplexity_falls_on_text_that_was_held_out(run: Path) -> None:
    found = json.loads((run / "scores.json").read_text())
    dev = found["tasks"]["words"]["dev"]
    # Texts are three of 17 words, and of them nearly any three; there are 48 pieces to guess from.
    assert 10 < dev["perplexity"] < 40
    assert 0 <= dev["masked_accuracy"] < 1
    events = [e for e in read_journal(run) if e["event"] == "evaluation"]
    first, last = (e["scores"]["words"]["dev"]["perplexity"] for e in (events[0], events[-1]))
    assert last < first
    # As means, words are left out of the overall score.
    each = [found["tasks"][n]["dev"] for n in ("mood", "same", "near")]
    mean = (each[0]["accuracy"] + each[1]["accuracy"] + each[2]["pearson"]) / 3
    assert found["overall"]["dev"]["mean"] == pytest.approx(mean)


def test_a_run_is_judged_again_alike_and_has_no_file_of_answers(run: Path) -> None:
    dev = json.loads((run / "scores.json").read_text())["tasks"]["words"]["dev"]
    assert evaluate(run)["tasks"]["words"]["dev"] == pytest.approx(dev, rel=1e-5)
    assert evaluate(run, task="words")["tasks"] == {"words": {"dev": pytest.approx(dev, rel=1e-5)}}
    assert sorted(p.name for p in (run / "predictions").iterdir()) == [
        "mood-dev.csv", "near-dev.csv", "same-dev.csv",
    ]  # fmt: skip


def test_words_are_judged_by_another_file(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("good day cat\n\nbad night dog\n")
    scores = evaluate(run, task="words", file=path)["tasks"]["words"]["file"]
    assert scores["rows"] == 2
    assert math.isfinite(scores["perplexity"])


def test_words_have_no_answers_to_give(run: Path, tmp_path: Path) -> None:
    said = "task 'words' practises reading and has no answers to give; ask 'mood' or 'same' or"
    predictor = trivium.load(run)
    for ask in (predictor.predict, predictor.probabilities):
        with pytest.raises(RecipeError, match=said):
            ask("words", ["good cat"])
    with pytest.raises(RecipeError, match=said):
        predict_file(run, "words", tmp_path / "in.tsv", tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


def test_the_saved_head_holds_no_embedding_and_serves_again(run: Path) -> None:
    tensors = read_tensors(run / "model" / "heads.safetensors")
    names = [name for name in tensors if name.startswith("words.")]
    assert sorted(names) == [
        "words.decoder.bias", "words.transform.LayerNorm.bias", "words.transform.LayerNorm.weight",
        "words.transform.dense.bias", "words.transform.dense.weight",
    ]  # fmt: skip
    embedding = read_weights(run / "model")["embeddings.word_embeddings.weight"]
    assert all(tensor.shape != embedding.shape for tensor in tensors.values())


def test_judging_leaves_training_as_it_was(recipe_values: dict[str, Any], tmp_path: Path) -> None:
    values = with_words(recipe_values, of=["mood"])
    values["stages"][0] |= {"tasks": ["words"], "steps": 6}
    found = []
    for every in (2, 6):
        values["stages"][0]["evaluate_every"] = every
        train(values, tmp_path / f"run-{every}")
        events = read_journal(tmp_path / f"run-{every}")
        found.append([event["losses"] for event in events if event["event"] == "step"])
    assert found[0] == found[1]


def test_masks_are_new_whenever_a_text_is_seen(recipe_values: dict[str, Any]) -> None:
    preview = check(parse_recipe(with_words(recipe_values, of=["mood"])), Console(file=StringIO()))
    encoded = preview.encoded["words"]
    every = torch.arange(len(encoded)).numpy()
    first, second = encoded.batch(every), encoded.batch(every)
    assert len(first.target_B) == len(encoded)  # one of each text's three words
    assert first.tokens.asked_M is not None
    assert second.tokens.asked_M is not None
    assert not torch.equal(first.tokens.asked_M, second.tokens.asked_M)


def test_the_preview_says_what_will_be_read(recipe_values: dict[str, Any]) -> None:
    values = with_words(recipe_values, of=["mood", "near"], dev_texts=20)
    screen = Console(file=StringIO(), width=200)
    check(parse_recipe(values), screen)
    assert isinstance(screen.file, StringIO)
    said = screen.file.getvalue()
    assert "asks 0.15 of word pieces" in said
    assert "words: the checkpoint has no head for masked words; one starts from the word" in said
    assert "distinct texts of mood, near; " in said
    assert "words dev: 20 distinct texts of mood, near, of " in said


def undisturbed(values: dict[str, Any], folder: Path, **stage: Any) -> Path:
    """A recipe of words from own.txt without dropout, and with masks that are always the same."""
    path = recipe_of(values, folder, **stage)
    told = with_words(yaml.safe_load(path.read_text()), train="own.txt", mask=ALL_ASKED)
    path.write_text(yaml.safe_dump(told))
    return path


@pytest.mark.thorough
def test_a_batch_in_pieces_teaches_what_it_does_as_a_whole(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    folder = Path(recipe_values["data"])
    lines = [" ".join(["good"] * (1 + n % 7) + ["cat"] * (n % 3)) + f" {n}" for n in range(60)]
    (folder / "own.txt").write_text("\n".join(lines))
    path = undisturbed(recipe_values, tmp_path, tasks=["words"], batch_size=12, steps=4)
    found = []
    for limit in (10**6, 40):
        whole = trivium.load_recipe(path, [f"stages.0.tokens_at_once={limit}"])
        trivium.train(whole, tmp_path / f"run-{limit}", console=Console(file=StringIO()))
        found.append(read_weights(tmp_path / f"run-{limit}" / "model"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("processes")
def test_two_processes_train_words_as_one_does(
    recipe_values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    # Texts of very different lengths: their words must count alike, whoever reads them.
    folder = Path(recipe_values["data"])
    lines = [" ".join(["good"] * (1 + 5 * (n % 2)) + ["cat"] * (n % 3)) for n in range(40)]
    (folder / "own.txt").write_text("\n".join(f"{line} {n}" for n, line in enumerate(lines)))
    plain = {"tasks": ["words", "near"], "sampler": "joint", "combiner": "pcgrad", "steps": 5}
    path = undisturbed(recipe_values, tmp_path, batch_size=7, **plain)
    trivium.train(path, tmp_path / "run-1", console=Console(file=StringIO()))
    distributed.train(forks, path, tmp_path / "run-2")
    one, two = (read_weights(tmp_path / f"run-{n}" / "model") for n in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    losses = [
        [event["losses"]["words"] for event in read_journal(tmp_path / f"run-{n}")
         if event["event"] == "step"] for n in (1, 2)
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_fresh_head_starts_from_how_often_each_piece_occurs(
    recipe_values: dict[str, Any],
) -> None:
    (Path(recipe_values["data"]) / "own.txt").write_text("good good cat\ncat good dog\n")
    values = with_words(recipe_values, train="own.txt")
    preview = check(parse_recipe(values), Console(file=StringIO()))
    head = preview.model.head("words")
    assert isinstance(head, WordsModule)
    start_from_counts(preview.model, preview.encoded)
    counts = {"good": 3, "cat": 2, "dog": 1, "day": 0}
    places = [5 + WORDS.index(word) for word in counts]
    wanted = [math.log((count + 1) / (6 + 48)) for count in counts.values()]
    assert head.decoder.bias[places].tolist() == pytest.approx(wanted)
    # What a checkpoint has learned is not touched.
    head.is_fresh = False
    torch.nn.init.zeros_(head.decoder.bias)
    start_from_counts(preview.model, preview.encoded)
    assert not head.decoder.bias.any()
