"""A model in Python: DataFrames in and out, vectors, words that mattered, its files, its looks."""

import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trivium
from tests.support.exports import TEXT, untrained
from tests.support.tables import make_recipe
from trivium.answering.form import Form
from trivium.answering.occlusion import Place, places_of, without
from trivium.answering.vectors import unit
from trivium.errors import RecipeError
from trivium.run.predictor.summary import summary

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

TEXTS = ["good cat", "bad dog runs", "good cat", "red fish"]
PAIRS = list(zip(TEXTS[::-1], TEXTS, strict=True))
COLUMNS: dict[str, list[Any]] = {
    "id": [7, 8, 9, 10],
    "text": TEXTS,
    "first": TEXTS[::-1],
    "second": TEXTS,
}


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    trivium.train(
        make_recipe(tiny, folder),
        folder / "run",
        changes=["stages.0.steps=4"],
        console=Console(file=StringIO()),
    )
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> trivium.Predictor:
    return trivium.load(run)


def polars_frame(columns: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


def data_set(columns: Any) -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict(columns)


MAKERS: dict[str, Callable[[Any], Any]] = {
    "pandas": pandas.DataFrame,
    "arrow": pyarrow.table,
    "polars": polars_frame,
    "datasets": data_set,
}
any_library = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# --- DataFrames --------------------------------------------------------------------------------


@any_library
def test_a_frame_comes_back_with_the_answers_of_every_task_it_has_the_columns_of(
    model: trivium.Predictor, make: Callable[[Any], Any]
) -> None:
    table = make(COLUMNS)
    found = model.predict_frame(table)
    assert type(found) is type(table)
    columns = {name: list(found[name]) for name in COLUMNS}
    assert list(map(str, columns["text"])) == TEXTS
    rows = zip(*COLUMNS.values(), strict=True)
    answers = model.answer([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    for task in ("mood", "same", "near"):
        said = list(found[f"{task}_prediction"])
        assert [getattr(s, "as_py", lambda s=s: s)() for s in said] == [a[task] for a in answers]


def test_pandas_keeps_its_index_and_the_caller_s_frame_is_left_alone(
    model: trivium.Predictor,
) -> None:
    table = pandas.DataFrame(COLUMNS, index=["p", "q", "r", "s"])
    found = model.predict_frame(table, "mood", probabilities=True, prefix="my_")
    assert list(found.index) == ["p", "q", "r", "s"]
    assert list(table.columns) == list(COLUMNS)
    assert list(found.columns) == [
        *COLUMNS, "my_prediction", "my_confidence", "my_probability_down", "my_probability_up",
    ]  # fmt: skip


def test_a_frame_has_the_columns_of_the_file_that_predict_writes(
    model: trivium.Predictor, tmp_path: Path
) -> None:
    table = pandas.DataFrame(COLUMNS)
    table.to_csv(tmp_path / "in.csv", index=False)
    trivium.predict_file(model, None, tmp_path / "in.csv", tmp_path / "out.csv", top_k=2)
    written = pandas.read_csv(tmp_path / "out.csv")
    pandas.testing.assert_frame_equal(written, model.predict_frame(table, top_k=2))


def test_a_frame_without_rows_gets_its_columns_all_the_same(model: trivium.Predictor) -> None:
    found = model.predict_frame(pandas.DataFrame({"text": []}), "mood")
    assert list(found.columns) == ["text", "prediction", "confidence"]
    assert len(found) == 0


@any_library
def test_columns_of_a_frame_without_rows_have_the_types_that_answers_have(
    model: trivium.Predictor, make: Callable[[Any], Any]
) -> None:
    for detail in ({"top_k": 1}, {"probabilities": True}, {"probabilities": "json"}):
        some, none = (model.predict_frame(first(make(COLUMNS), n), **detail) for n in (2, 0))
        assert (len(some), len(none)) == (2, 0)
        assert types_of(none) == types_of(some)


def first(table: Any, rows: int) -> Any:
    if isinstance(table, pyarrow.Table):
        return table.slice(0, rows)
    return table.select(range(rows)) if hasattr(table, "features") else table.head(rows)


def types_of(frame: Any) -> dict[str, str]:
    if isinstance(frame, pyarrow.Table):
        return {field.name: str(field.type) for field in frame.schema}
    if hasattr(frame, "features"):
        return {name: str(kind) for name, kind in frame.features.items()}
    return {str(name): str(frame[name].dtype) for name in frame.columns}


@pytest.mark.parametrize("empty", [None, float("nan"), pandas.NA], ids=["None", "NaN", "NA"])
def test_a_cell_without_text_is_named_by_its_row_and_index(
    model: trivium.Predictor, empty: Any
) -> None:
    table = pandas.DataFrame({"text": ["good", empty, "bad"]}, index=["p", "q", "r"])
    with pytest.raises(RecipeError, match=r"row 1 \(index 'q'\): column 'text' is empty"):
        model.predict_frame(table)


@pytest.mark.parametrize(
    ("table", "tasks", "said"),
    [
        ({"txt": ["a"]}, None, "answers no task: no column 'txt'"),
        ({"txt": ["a"]}, "mood", "reads column 'text', not there"),
        ({"text": [3]}, "mood", "row 0: column 'text' holds a int. Make it text"),
        ({"text": ["a"]}, "moood", "no task 'moood'"),
        ({"text": ["a"]}, [], "names no task"),
        ({"text": ["a"]}, ["mood", "mood"], "names 'mood' twice"),
        ({"text": ["a"]}, 3, "must be names of tasks, found 3"),
        ({"text": ["a"], "prediction": ["b"]}, "mood", "already has a column 'prediction'"),
    ],
)
def test_a_frame_that_cannot_be_answered_is_refused(
    model: trivium.Predictor, table: Any, tasks: Any, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        model.predict_frame(pandas.DataFrame(table), tasks)


def test_what_is_no_frame_is_sent_elsewhere(model: trivium.Predictor) -> None:
    with pytest.raises(RecipeError, match="Ask about other rows with `answer`"):
        model.predict_frame([{"text": "a"}])


def test_what_is_no_frame_yet_is_told_what_makes_it_one(model: trivium.Predictor) -> None:
    lazy = pytest.importorskip("polars").DataFrame({"text": ["a"]}).lazy()
    with pytest.raises(RecipeError, match=r"found LazyFrame. Call its `collect\(\)` first."):
        model.predict_frame(lazy)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"top_k": True}, "top_k: True is no number of labels"),
        ({"prefix": 5}, "prefix: must be a text, found int"),
    ],
)
def test_settings_of_another_type_are_refused(
    model: trivium.Predictor, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        model.predict_frame(pandas.DataFrame({"text": ["a"]}), "mood", **settings)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([5], "row 0 must be a text, found 5."),
        ([None], "row 0 must be a text, found None."),
        ([b"abc"], "row 0 must be a text, found b'abc'."),
        ([("a", "b")], r"row 0 must be a text, found \('a', 'b'\)."),
        ({"a", "b"}, "rows must be a list of texts, found set."),
    ],
)
def test_rows_that_are_no_texts_are_told_as_they_were_given(
    model: trivium.Predictor, rows: Any, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        model.predict("mood", rows)


@any_library
def test_predict_and_answer_take_frames_and_their_columns(
    model: trivium.Predictor, make: Callable[[Any], Any]
) -> None:
    table = make(COLUMNS)
    wanted = model.predict("mood", TEXTS)
    assert model.predict("mood", table) == wanted
    assert model.predict("mood", table["text"]) == wanted
    assert model.predict("near", table) == model.predict("near", PAIRS)
    assert [answers["mood"] for answers in model.answer(table)] == wanted


@pytest.mark.parametrize("kind", [str, object], ids=["texts", "objects"])
def test_arrays_of_texts_and_of_pairs_are_rows(model: trivium.Predictor, kind: type) -> None:
    assert model.predict("mood", np.array(TEXTS, dtype=kind)) == model.predict("mood", TEXTS)
    pairs: Any = np.array([["a", "b"], ["c", "d"]], dtype=kind)
    assert model.predict("near", pairs) == model.predict("near", [("a", "b"), ("c", "d")])
    with pytest.raises(RecipeError, match=r"row 1 must be a text, found nan\."):
        model.predict("mood", np.array(["a", np.nan], dtype=object))


def test_arrow_s_arrays_are_rows_and_its_columns_are_named(model: trivium.Predictor) -> None:
    wanted = model.predict("mood", TEXTS)
    for texts in (pyarrow.array(TEXTS), pyarrow.chunked_array([TEXTS[:1], TEXTS[1:]])):
        assert model.predict("mood", texts) == wanted
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["text", "x", "x"])
    with pytest.raises(RecipeError, match=r"two columns of one name \('x'\); rename one"):
        model.predict_frame(twice, "mood")


def test_wrong_questions_are_told_in_words_of_their_own(
    model: trivium.Predictor, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"^row 1 must be a text, found"):
        model.embed(["a", None])
    with pytest.raises(RecipeError, match=r"^rows must be a list of texts, found NoneType"):
        model.embed(None)  # type: ignore[arg-type]
    for ask in (model.predict, model.probabilities):
        with pytest.raises(RecipeError, match="must be the name of one task"):
            ask(["mood"], ["a"])  # type: ignore[arg-type]
    frame: Any = pandas.DataFrame({"text": ["a"]})
    with pytest.raises(RecipeError, match="the table: must be the path of a file, found DataFrame"):
        trivium.predict_file(model, "mood", frame, tmp_path / "out.csv")


@pytest.mark.parametrize(
    "detail", [{"probabilities": True}, {"probabilities": "json"}, {"top_k": 1}]
)
def test_what_is_told_of_labels_is_asked_of_no_score(
    model: trivium.Predictor, tmp_path: Path, detail: dict[str, Any]
) -> None:
    table = pandas.DataFrame(COLUMNS)
    table.to_csv(tmp_path / "in.csv", index=False)
    said = f"{next(iter(detail))}: 'near' answers with a score, and has no labels"
    with pytest.raises(RecipeError, match=said):
        model.predict_frame(table, "near", **detail)
    with pytest.raises(RecipeError, match=said):
        trivium.predict_file(model, "near", tmp_path / "in.csv", tmp_path / "out.csv", **detail)
    assert "mood_prediction" in model.predict_frame(table, ["mood", "near"], **detail)


def test_two_tasks_never_fill_one_column(tiny: Path, tmp_path: Path) -> None:
    labels = {"kind": "classification", "labels": ["prediction", "b"]}
    tasks = {"a": {**TEXT, **labels}, "a_probability": {**TEXT, **labels}}
    model = trivium.load(untrained(tmp_path / "run", tiny, tasks))
    table = pandas.DataFrame({"text": ["good"]})
    with pytest.raises(RecipeError, match="'a_probability_prediction' would be of task"):
        model.predict_frame(table, probabilities=True)
    table.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(RecipeError, match="'a_probability_prediction' would be of task"):
        trivium.predict_file(
            model, None, tmp_path / "in.csv", tmp_path / "out.csv", probabilities=True
        )
    assert len(model.predict_frame(table).columns) == 5


def test_a_frame_that_lacks_a_task_s_column_is_refused(model: trivium.Predictor) -> None:
    with pytest.raises(RecipeError, match="'mood': the table: no column 'text'"):
        model.predict("mood", pandas.DataFrame({"txt": ["a"]}))


def test_answering_a_list_loads_no_library_of_frames(model: trivium.Predictor) -> None:
    kept = sys.modules.pop("narwhals", None)
    try:
        model.predict("mood", TEXTS)
        assert "narwhals" not in sys.modules
    finally:
        if kept is not None:
            sys.modules["narwhals"] = kept


# --- vectors -----------------------------------------------------------------------------------


def test_vectors_have_length_1_unless_they_are_wanted_as_they_are(
    model: trivium.Predictor,
) -> None:
    plain_BD = model.embed(TEXTS, normalize=False)
    np.testing.assert_array_equal(plain_BD, model.vectors(TEXTS))
    unit_BD = model.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(unit_BD, axis=1), 1, rtol=1e-6)
    cosine_B = (unit_BD * plain_BD).sum(axis=1) / np.linalg.norm(plain_BD, axis=1)
    np.testing.assert_allclose(cosine_B, 1, rtol=1e-6)
    assert model.embed([]).shape[0] == 0


def test_a_vector_of_zeros_stays_so() -> None:
    assert unit(np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)).tolist() == [
        [0.0, 0.0], [pytest.approx(0.6), pytest.approx(0.8)],
    ]  # fmt: skip


# --- words -------------------------------------------------------------------------------------


def test_what_a_word_did_is_what_is_lost_without_it(model: trivium.Predictor) -> None:
    found = model.explain("mood", "good cat runs")
    assert [word.word for word in found.words] == ["good", "cat", "runs"]
    whole, *others = model.probabilities(
        "mood", ["good cat runs", "cat runs", "good runs", "good cat "]
    )
    assert found.answer == found.about == max(whole, key=whole.__getitem__)
    assert found.value == pytest.approx(whole[found.about], abs=1e-5)
    for word, other in zip(found.words, others, strict=True):
        assert word.effect == pytest.approx(whole[found.about] - other[found.about], abs=1e-5)
    effects = [abs(word.effect) for word in found.strongest]
    assert effects == sorted(effects, reverse=True)


def test_of_two_labels_what_speaks_for_one_speaks_against_the_other(
    model: trivium.Predictor,
) -> None:
    up, down = (model.explain("mood", "good cat runs", label) for label in ("up", "down"))
    assert up.value + down.value == pytest.approx(1, abs=1e-5)
    for one, other in zip(up.words, down.words, strict=True):
        assert one.effect == pytest.approx(-other.effect, abs=1e-5)


def test_both_texts_of_a_pair_and_scores_are_explained(model: trivium.Predictor) -> None:
    found = model.explain("near", ("good cat", "cat"))
    assert [(word.word, word.place.text) for word in found.words] == [
        ("good", 0), ("cat", 0), ("cat", 1),
    ]  # fmt: skip
    assert found.about == "score"
    assert found.answer == pytest.approx(found.value, rel=1e-5)
    lost = found.value - float(model.predict("near", ("good ", "cat"))[0])
    assert found.words[1].effect == pytest.approx(lost, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "words", "rest"),
    [
        ("Don't go!", ["Don't", "go", "!"], ["go!", "Don't !", "Don't go"]),
        ("a  b", ["a", "b"], [" b", "a  "]),
        ("我爱 you", ["我", "爱", "you"], ["爱 you", "我 you", "我爱 "]),
        ("", [], []),
    ],
)
def test_words_are_left_out_with_one_of_their_blanks(
    text: str, words: list[str], rest: list[str]
) -> None:
    places = places_of([text])
    assert [text[place.start : place.end] for place in places] == words
    assert [without([text], place)[0] for place in places] == rest


def test_only_the_text_that_holds_the_word_changes() -> None:
    assert without(("a b", "a b"), Place(1, 0, 1)) == ("a b", "b")


@pytest.mark.parametrize(
    ("task", "row", "label", "said"),
    [
        ("mood", ["a", "b"], None, "one text is explained at a time"),
        ("near", "a", None, "one pair of texts is explained"),
        ("mood", "a", "upp", "has no 'upp'.*did you mean 'up'"),
        ("near", ("a", "b"), "up", "answers with a score"),
        ("moood", "a", None, "no task 'moood'"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    model: trivium.Predictor, task: str, row: Any, label: str | None, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        model.explain(task, row, label)


# --- its files and its looks -------------------------------------------------------------------


def test_a_saved_model_answers_as_before(model: trivium.Predictor, tmp_path: Path) -> None:
    again = trivium.load(model.save(tmp_path / "deep" / "saved"))
    np.testing.assert_array_equal(again.embed(TEXTS), model.embed(TEXTS))
    assert again.predict("same", ("a", "b")) == model.predict("same", ("a", "b"))
    assert (tmp_path / "deep" / "saved" / "README.md").is_file()


def test_a_folder_is_replaced_only_if_it_is_a_model_and_that_is_wanted(
    model: trivium.Predictor, tmp_path: Path
) -> None:
    saved = model.save(tmp_path / "saved")
    with pytest.raises(RecipeError, match="or replace the model there: overwrite=True"):
        model.save(saved)
    model.save(saved, overwrite=True)
    (saved / "mine.txt").write_text("kept")
    with pytest.raises(RecipeError, match=r"is not empty\. Name another folder\."):
        model.save(saved, overwrite=True)
    assert (saved / "mine.txt").read_text() == "kept"
    with pytest.raises(RecipeError, match="holds the model itself"):
        model.save(model.folder or "", overwrite=True)


def test_an_ensemble_is_saved_whole(run: Path, model: trivium.Predictor, tmp_path: Path) -> None:
    quiet = Console(file=StringIO())
    trivium.train(run / "recipe.yaml", tmp_path / "other", changes=["seed=1"], console=quiet)
    trivium.ensemble([run, tmp_path / "other"], tmp_path / "two", console=quiet)
    both = trivium.load(tmp_path / "two")
    again = trivium.load(both.save(tmp_path / "saved"))
    assert again.probabilities("mood", TEXTS) == both.probabilities("mood", TEXTS)
    both.save(tmp_path / "saved", overwrite=True)
    assert repr(both).splitlines()[0].startswith("EnsemblePredictor(2 encoders")


def test_a_damaged_model_is_not_copied(model: trivium.Predictor, tmp_path: Path) -> None:
    saved = trivium.load(model.save(tmp_path / "saved"))
    (tmp_path / "saved" / "heads.safetensors").write_bytes(b"x")
    with pytest.raises(RecipeError, match="altered"):
        saved.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_model_tells_its_tasks_and_labels(model: trivium.Predictor) -> None:
    assert repr(model).splitlines() == [
        "TorchPredictor(encoder of 2 layers, width 32, fp32)",
        "  mood: classification of 'text' into down, up",
        "  same: classification of 'first' and 'second' into no, yes",
        "  near: regression of 'first' and 'second' from 0 to 3",
    ]


def test_many_labels_are_told_by_their_number() -> None:
    says = {"says": "one_label", "labels": {str(n): f"l{n}" for n in range(77)}}
    form = Form.model_validate(
        {"name": "t", "kind": "k", "text": ("x",), "apart": False, "max_length": 8, "says": says}
    )
    told = summary("Predictor", "one encoder", "fp32", {"t": form}).splitlines()[1]
    assert told == "  t: k of 'x' into l0, l1, l2, l3, l4, l5, l6, l7, … (77 labels)"


def test_labels_that_a_terminal_would_obey_are_told_as_python_writes_them() -> None:
    says = {"says": "one_label", "labels": {"0": "\x1b[31mred", "1": "\U0001f44d مرحبا"}}
    form = Form.model_validate(
        {"name": "t", "kind": "k", "text": ("x",), "apart": False, "max_length": 8, "says": says}
    )
    told = summary("Predictor", "one encoder", "fp32", {"t": form}).splitlines()[1]
    assert told == "  t: k of 'x' into \\x1b[31mred, \U0001f44d مرحبا"


def test_the_package_lists_its_public_names() -> None:
    assert set(trivium.__all__) <= set(dir(trivium))
