"""Matching and SimCSE as tasks of a run: their rows, their training, and what comes out."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.distributed import recipe_of, train, weights
from tests.support.forks import Forks
from tests.support.tables import make_recipe, sentence, write_table
from trivium.errors import RecipeError
from trivium.parts.retrieval import retrieval
from trivium.recipe import parse_recipe
from trivium.run.folder.journal import read_journal
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.training.distributed import Processes
from trivium.run.training.pieces import pieces
from trivium.text.tokenizer import Tokenizer

Values = dict[str, Any]

PAIR: Values = {"text": ["first", "second"], "train": "match-train.tsv", "dev": "match-dev.tsv"}


def matching(values: Values, **settings: Any) -> Values:
    """A recipe of one task: the second text of a row is the first one's words in another order."""
    data = Path(values["data"])
    for split, numbers in (("train", range(96)), ("dev", range(96, 128))):
        firsts = [sentence(7 * number) for number in numbers]
        rows: list[list[object]] = []
        for text, other in zip(firsts, firsts[1:] + firsts[:1], strict=True):
            rows.append([text, " ".join(text.split()[::-1]), "yes", 1.0])
            rows.append([text, " ".join(other.split()[::-1]), "no", 0.0])
        write_table(data / f"match-{split}.tsv", ["first", "second", "says", "near"], rows)
    task = {"kind": "matching", **PAIR, "label": "says", "positive": "yes"} | settings
    return values | {"tasks": {"match": task}}


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Values:
    return make_recipe(tiny, tmp_path_factory.mktemp("matching"))


def ran(values: Values, folder: Path, **stage: Any) -> list[Values]:
    stages = [values["stages"][0] | stage]
    trivium.train(parse_recipe(values | {"stages": stages}), folder, console=quiet())
    return [*read_journal(folder)]


def quiet() -> Console:
    return Console(file=StringIO())


@pytest.mark.parametrize("negative", [(), ("no",)])
def test_training_brings_together_what_belongs_together(
    values: Values, tmp_path: Path, negative: tuple[str, ...]
) -> None:
    recipe = matching(values, negative=list(negative))
    journal = ran(recipe, tmp_path / "run", steps=40, batch_size=32, evaluate_every=8)
    judged = [e["scores"]["match"]["dev"] for e in journal if e["event"] == "evaluation"]
    losses = [e["losses"]["match"] for e in journal if e["event"] == "step"]
    assert judged[0]["rows"] == 32
    assert max(each["accuracy_at_1"] for each in judged) > judged[0]["accuracy_at_1"]
    assert max(each["mrr"] for each in judged) > judged[0]["mrr"]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_what_is_judged_are_the_vectors_that_people_get(values: Values, tmp_path: Path) -> None:
    recipe = matching(values)
    ran(recipe, tmp_path / "run", steps=2)
    model = load_trained(tmp_path / "run")
    dev = load_data(parse_recipe(recipe))[1]["match"]["dev"].examples
    first, second = zip(*(example.texts for example in dev), strict=True)
    vectors = [torch.from_numpy(model.vectors(list(texts))) for texts in (first, second)]
    unit_B2C = torch.nn.functional.normalize(torch.stack(vectors, 1), dim=2)
    target_B2 = torch.tensor([example.target for example in dev])
    scores = trivium.evaluate(tmp_path / "run", console=quiet())["tasks"]["match"]["dev"]
    wanted = retrieval(unit_B2C, target_B2)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    with pytest.raises(RecipeError, match=r"practises .* and has no answers to give"):
        model.predict("match", [("good cat", "cat good")])


def test_a_dev_file_with_scores_is_judged_by_their_order(values: Values, tmp_path: Path) -> None:
    recipe = matching(values, score="near", label="", positive=[])
    task = recipe["tasks"]["match"]
    data = Path(recipe["data"])
    rows = [line.split("\t")[:2] for line in (data / "match-train.tsv").read_text().splitlines()]
    write_table(data / "plain.tsv", ["first", "second"], [[*row] for row in rows[1:]])
    journal = ran(recipe | {"tasks": {"match": task | {"train": "plain.tsv"}}},
                  tmp_path / "run", steps=2, select="match")  # fmt: skip
    (judged,) = [e["scores"]["match"]["dev"] for e in journal if e["event"] == "evaluation"]
    assert set(judged) == {"spearman", "pearson", "rows"}
    assert judged["rows"] == 64


def test_batches_are_kept_whole_and_triples_stand_text_by_text(values: Values) -> None:
    recipe, data = load_data(parse_recipe(matching(values, negative="no")))
    encoded = encode_all(recipe, data, Tokenizer(Path(recipe.encoder)), 32)["match"]
    rows = torch.arange(6).numpy()
    (piece,) = pieces(encoded, rows, 1, Processes(), torch.device("cpu"))
    tokens = piece.batch.tokens
    assert len(tokens.lengths_R) == 18
    assert piece.batch.target_B.shape == (6, 3)
    texts = torch.split(tokens.ids_N, tokens.lengths_R.tolist())
    first = data["match"]["train"].examples[0].texts
    tokenizer = Tokenizer(Path(recipe.encoder))
    for place, text in zip((0, 6, 12), first, strict=True):
        (ids,) = tokenizer([text])
        assert texts[place][1:-1].tolist() == list(ids)
    assert encoded.row_lengths(rows).sum() == len(tokens.ids_N)


def test_simcse_finds_texts_again_under_other_dropout(values: Values, tmp_path: Path) -> None:
    mood = values["tasks"]["mood"]
    recipe = values | {"tasks": {"mood": mood, "close": {"kind": "simcse", "of": "mood"}}}
    journal = ran(recipe, tmp_path / "run", tasks=["close"], steps=20, batch_size=32)
    losses = [e["losses"]["close"] for e in journal if e["event"] == "step"]
    assert sum(losses[-5:]) < sum(losses[:5])
    judged = [e["scores"]["close"]["dev"] for e in journal if e["event"] == "evaluation"]
    assert all(0 < each["uniformity"] < 8 and each["rows"] == 32 for each in judged)


def test_simcse_without_dropout_is_told(values: Values, tmp_path: Path) -> None:
    tasks = {"mood": values["tasks"]["mood"], "close": {"kind": "simcse", "of": "mood"}}
    recipe = recipe_of(values | {"tasks": {"mood": tasks["mood"]}}, tmp_path, steps=1)
    said = StringIO()
    close = "tasks.close={kind: simcse, of: mood}"
    trivium.check(str(recipe), Console(file=said, width=300), changes=[close])
    assert "close: simcse tells a text from itself by dropout, but this encoder has none" in (
        said.getvalue()
    )


def test_without_a_file_of_pairs_a_recipe_is_refused(values: Values) -> None:
    recipe = matching(values)
    del recipe["tasks"]["match"]["train"]
    with pytest.raises(RecipeError, match=r"tasks.match: has no pairs; name its file"):
        parse_recipe(recipe)


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("processes")
def test_two_processes_reach_the_weights_of_one(
    values: Values, forks: Forks, tmp_path: Path
) -> None:
    more = matching(values, negative="no", loss={"kind": "mnrl", "symmetric": True})["tasks"]
    both = values | {"tasks": {"near": values["tasks"]["near"]}}
    # 96 rows by 19: the sixth batch has one row, of which the second process has none.
    recipe = recipe_of(both, tmp_path, sampler="joint", steps=6,
                       batch_size={"near": 4, "match": 19})  # fmt: skip
    text = recipe.read_text()
    recipe.write_text(text.replace("tasks:\n", f"tasks:\n  match: {more['match']!r}\n", 1))
    trivium.train(recipe, tmp_path / "run1")
    train(forks, recipe, tmp_path / "run2")
    one, two = weights(tmp_path / "run1"), weights(tmp_path / "run2")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    losses = [
        [e["losses"]["match"] for e in read_journal(tmp_path / run) if e["event"] == "step"]
        for run in ("run1", "run2")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
