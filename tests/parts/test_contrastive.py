"""Losses and scores of vectors: against sentence-transformers, their definitions, and by hand."""

import math
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sentence_transformers.sentence_transformer import losses as theirs
from torch import Tensor

from trivium.errors import RecipeError
from trivium.parts.losses import MNRL
from trivium.parts.retrieval import retrieval, uniformity
from trivium.parts.tasks import AnyTask, Matching, SimCSE
from trivium.parts.tasks.contrastive import numbered
from trivium.types import Example, Row


def units(rows: int, texts: int = 2, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rows, texts, width, generator=generator, dtype=torch.float64)
    return F.normalize(drawn, dim=2)


def distinct(rows: int, texts: int = 2) -> Tensor:
    return torch.arange(rows * texts).view(rows, texts)


def by_definition(unit_BSC: Tensor, text_BS: Tensor, scale: float, *, symmetric: bool) -> float:
    """The mean of -log softmax over what is wrong for each row, word for word."""
    rows, texts = text_BS.shape
    number = text_BS.tolist()

    def cosine(i: int, s: int, j: int, t: int) -> float:
        return float(unit_BSC[i, s] @ unit_BSC[j, t])

    losses = []
    sources = [(0, range(1, texts))] + ([(1, range(1))] if symmetric else [])
    for (source, columns), i in product(sources, range(rows)):
        target = 1 - source
        chosen = [cosine(i, source, i, target)]
        for t, j in product(columns, range(rows)):
            is_right = i == j and t == target
            partner = t == target and number[j][source] == number[i][source]
            if not (is_right or partner or number[j][t] in number[i][:2]):
                chosen.append(cosine(i, source, j, t))
        logits = [scale * value for value in chosen]
        losses.append(math.log(sum(map(math.exp, logits))) - logits[0])
    return sum(losses) / len(losses)


# --- the loss ----------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [2, 3, 4])
@pytest.mark.parametrize("scale", [20.0, 1.0])
def test_mnrl_and_its_gradient_are_those_of_sentence_transformers(texts: int, scale: float) -> None:
    vector_BSC = (3 * units(7, texts)).requires_grad_()
    reference = theirs.MultipleNegativesRankingLoss(None, scale=scale)
    wanted = reference.compute_loss_from_embeddings(list(vector_BSC.unbind(1)), None)
    found = MNRL(scale=scale).pairs(F.normalize(vector_BSC, dim=2), distinct(7, texts))
    torch.testing.assert_close(found, wanted)
    ours, other = (torch.autograd.grad(loss, vector_BSC)[0] for loss in (found, wanted))
    torch.testing.assert_close(ours, other)


@given(numbers=st.lists(st.integers(0, 5), min_size=2, max_size=15), symmetric=st.booleans(),
       texts=st.sampled_from([2, 3]))  # fmt: skip
def test_mnrl_is_its_definition_whatever_texts_are_the_same(
    numbers: list[int], symmetric: bool, texts: int
) -> None:
    rows = max(1, len(numbers) // texts)
    text_BS = torch.tensor((numbers * texts)[: rows * texts]).view(rows, texts)
    unit_BSC = units(rows, texts)
    found = MNRL(scale=3, symmetric=symmetric).pairs(unit_BSC, text_BS)
    wanted = by_definition(unit_BSC, text_BS, 3, symmetric=symmetric)
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_mnrl_by_hand() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    unit_BSC = torch.tensor([[east, east], [north, east]])
    each = [math.log(2), math.log(2)]  # two seconds that are alike
    assert MNRL().pairs(unit_BSC, distinct(2)).item() == pytest.approx(sum(each) / 2)
    # The same second text in both rows is right in both: nothing is left to be confused with.
    same = torch.tensor([[1, 3], [2, 3]])
    assert MNRL().pairs(unit_BSC, same).item() == pytest.approx(0)
    # Of the other direction both firsts stay, and are told apart by their cosines 1 and 0.
    told = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    found = MNRL(scale=2, symmetric=True).pairs(unit_BSC, distinct(2))
    assert found.item() == pytest.approx((math.log(2) + sum(told) / 2) / 2)


def test_a_hard_negative_is_wrong_for_every_row_but_those_it_belongs_to() -> None:
    unit_BSC = units(3, 3)
    plain = MNRL().pairs(unit_BSC, distinct(3, 3))
    text_BS = distinct(3, 3)
    text_BS[2, 2] = text_BS[0, 1]  # what is wrong in row 2 belongs to row 0
    left_out = MNRL().pairs(unit_BSC, text_BS)
    assert left_out < plain
    assert left_out.item() == pytest.approx(by_definition(unit_BSC, text_BS, 20, symmetric=False))


def test_a_batch_of_one_row_has_nothing_to_learn() -> None:
    unit_BSC = units(1).requires_grad_()
    loss = MNRL(symmetric=True).pairs(unit_BSC, distinct(1))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, unit_BSC)[0].any()
    assert len([*MNRL().notes(1)]) == 1
    assert not [*MNRL().notes(2)]


def test_the_task_makes_vectors_of_its_outputs_and_tells_two_passes_apart() -> None:
    task = Matching(name="m", text=("a", "b"))
    unit_BSC = units(4)
    output_BK = unit_BSC.flatten(1)
    target_B = task.targets([(1, 2), (3, 4), (5, 6), (1, 6)])
    wanted = MNRL().pairs(unit_BSC, target_B)
    torch.testing.assert_close(task.compute_loss(output_BK, target_B), wanted)
    other = units(4, seed=1)
    apart = (unit_BSC - other).square().sum(2).mean()
    torch.testing.assert_close(task.divergence(output_BK, other.flatten(1)).double(), apart)
    assert task.outputs_beside(5) == 10


# --- scores ------------------------------------------------------------------------------------


def test_retrieval_by_hand() -> None:
    def at(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    unit_B2C = torch.tensor([[at(0), at(10)], [at(40), at(90)], [at(80), at(45)]])
    # Row 0 finds its own; row 1 has 45 and 10 before its 90; row 2 has 90 before its 45.
    found = retrieval(unit_B2C, distinct(3))
    assert found["accuracy_at_1"] == pytest.approx(1 / 3)
    assert found["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    # Were rows 1 and 2 of one text, neither's second would be wrong for the other.
    assert retrieval(unit_B2C, torch.tensor([[0, 1], [2, 3], [2, 5]]))["accuracy_at_1"] == (
        pytest.approx(2 / 3)
    )
    # A text is not its own wrong answer, and one that stands in two rows counts once.
    again = torch.tensor([[0, 1], [5, 3], [4, 5]])
    assert retrieval(unit_B2C, again)["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_perfect_vectors_find_everything_and_equal_ones_nothing(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.parts.retrieval.AT_ONCE", 7)
    perfect = units(rows, texts=1, width=64).expand(-1, 2, -1)
    assert retrieval(perfect, distinct(rows)) == {"accuracy_at_1": 1.0, "mrr": 1.0}
    alike = torch.ones(rows, 2, 4) / 2
    found = retrieval(alike, distinct(rows))
    assert found["accuracy_at_1"] == (1.0 if rows == 1 else 0.0)
    assert found["mrr"] == pytest.approx(1 / rows)


@pytest.mark.parametrize("rows", [2, 9])
def test_uniformity_is_its_definition(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.parts.retrieval.AT_ONCE", 4)
    unit_BC = units(rows, texts=1).squeeze(1)
    wanted = -torch.pdist(unit_BC).pow(2).mul(-2).exp().mean().log()  # as in the paper's code
    assert uniformity(unit_BC) == pytest.approx(wanted.item(), rel=1e-4)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(8)
    assert uniformity(torch.ones(rows, 4) / 2) == pytest.approx(0, abs=1e-5)
    assert uniformity(unit_BC[:1]) == 0


def test_scores_of_dev_pairs_are_ranked_against_their_cosines() -> None:
    task = Matching(name="m", text=("a", "b"), score="near")
    unit_BSC = units(6)
    cosine_B = (unit_BSC[:, 0] * unit_BSC[:, 1]).sum(1)
    assert task.metric == "spearman"
    found = task.scores(unit_BSC.flatten(1), cosine_B**3)
    assert found["spearman"] == pytest.approx(1)
    assert 0.5 < found["pearson"] < 1
    assert task.leaderboard({"spearman": -1.0}) == 0


# --- rows --------------------------------------------------------------------------------------


def nli(**settings: Any) -> Matching:
    values = {"name": "m", "text": ("a", "b"), "label": "says", "positive": "yes"} | settings
    return Matching.model_validate(values)


def read(task: Matching, *rows: tuple[str, str, str]) -> list[Example]:
    return [
        task.example(Row({"a": a, "b": b, "says": says}, line))
        for line, (a, b, says) in enumerate(rows, 2)
    ]


def texts(rows: list[Example]) -> list[tuple[str, ...]]:
    return [row.texts for row in rows]


ROWS = [
    ("one", "yes 1", "yes"), ("one", "no 1", "no"), ("one", "yes 2", "yes"), ("one", "no 2", "no"),
    ("one ", "yes 1 ", "yes"), ("one", "yes 3", "yes"), ("two", "yes 4", "yes"),
    ("three", "no 3", "no"), ("four", "perhaps", "perhaps"),
]  # fmt: skip


def test_pairs_are_the_rows_of_positive_labels_once() -> None:
    task = nli()
    found = task.gather({split: read(task, *ROWS) for split in ("train", "dev")})
    pairs = [("one", "yes 1"), ("one", "yes 2"), ("one", "yes 3"), ("two", "yes 4")]
    assert texts(found["train"][0]) == texts(found["dev"][0]) == pairs
    assert found["train"][1] == "4 distinct pairs of 9 rows"
    assert found["train"][0][0] == numbered(("one", "yes 1"), 2)
    assert numbered((" one", "yes 1\n"), 2).target == numbered(("one", "yes 1"), 2).target
    assert task.row_texts == 2


def test_with_a_negative_label_every_pair_has_a_wrong_text_each_in_its_turn() -> None:
    task = nli(negative=["no"])
    found = task.gather({split: read(task, *ROWS) for split in ("train", "dev")})
    assert texts(found["train"][0]) == [
        ("one", "yes 1", "no 1"), ("one", "yes 2", "no 2"), ("one", "yes 3", "no 1"),
    ]  # fmt: skip
    assert found["train"][1] == (
        "3 distinct pairs, each with a negative; 1 more have no negative and are left out"
    )
    assert len(found["dev"][0]) == 4, "dev rows are pairs"
    assert task.row_texts == 3
    assert task.targets([row.target for row in found["train"][0] if row.target]).shape == (3, 3)


def test_without_a_label_all_rows_are_pairs() -> None:
    task = Matching(name="m", text=("a", "b"))
    found = task.gather({"train": read(task, *ROWS)})
    assert len(found["train"][0]) == len(ROWS) - 1


@pytest.mark.parametrize(
    ("task", "rows", "said"),
    [
        (nli(positive="entailed"), ROWS, "column 'says' nowhere holds 'entailed'"),
        (nli(negative="never"), ROWS, "no first text stands both in a row that is 'yes' and in"),
        (nli(score="says", label="", positive=()), [("a", "b", "3")], "scores are for the dev"),
    ],
)
def test_rows_that_make_no_pairs_are_refused(
    task: Matching, rows: list[tuple[str, str, str]], said: str
) -> None:
    with pytest.raises(RecipeError, match=f"task 'm': train: .*{said}"):
        task.gather({"train": read(task, *rows)})


def test_dev_rows_without_the_score_are_refused() -> None:
    task = Matching(name="m", text=("a", "b"), score="near")
    with pytest.raises(RecipeError, match="dev: has no column 'near'"):
        task.gather({"dev": read(task, *ROWS)})


@pytest.mark.parametrize("cell", ["", "near", "nan", "inf", "1_0"])
def test_a_score_that_is_no_number_is_a_bad_row(cell: str) -> None:
    task = Matching(name="m", text=("a", "b"), score="near")
    with pytest.raises(ValueError, match=r"column 'near' holds .*, which is not a number"):
        task.example(Row({"a": "x", "b": "y", "near": cell}, 2))


def test_simcse_has_every_text_twice_to_train_and_once_to_judge() -> None:
    task = SimCSE(name="s", of=("a",))
    rows = [Example(("one", "two"), 1.0, 2), Example((" one", "three"), 1.0, 3)]
    found = task.gather({"train": rows, "dev": [Example(("three",), 1.0, 2)]})
    assert texts(found["train"][0]) == [("one", "one"), ("two", "two")]
    assert texts(found["dev"][0]) == [("three",)]
    first, second = task.targets([row.target for row in found["train"][0] if row.target]).tolist()
    assert first[0] == first[1] != second[0] == second[1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text": "a"}, "name two columns"),
        ({"encode": "joint"}, "encode: matching has no use for it"),
        ({"test": "t.tsv"}, "test: matching has no use for it"),
        ({"label": "says"}, "label: needs `positive`"),
        ({"positive": "yes"}, "`positive` needs `label`"),
        ({"negative": "no"}, "negative: needs `label` and `positive`"),
        ({"label": "l", "positive": ["x", 1], "negative": 1}, "negative: '1' is also positive"),
        ({"train": {"file": "t.tsv", "relabel": {"a": "b"}}}, "relabel: there is no `label`"),
        ({"loss": "cosent"}, "loss: cosent needs a task that answers with a score.*use mnrl"),
        ({"head": {"kind": "cosine"}}, "vectors"),
        ({"loss": {"kind": "mnrl", "scale": 0}}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(AnyTask).validate_python(
            {"kind": "matching", "name": "m", "text": ["a", "b"]} | values
        )


def test_simcse_refuses_what_it_has_no_use_for() -> None:
    with pytest.raises(ValidationError, match="label: SimCSE has no use for it"):
        SimCSE(name="s", of=("a",), label="x")
