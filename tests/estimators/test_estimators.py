"""scikit-learn's own tools around Trivium's estimators, on a tiny encoder and few steps."""

import pickle
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import trivium
from tests.support.tables import WORDS, sentence
from tests.support.thorough import some_of
from trivium.errors import RecipeError
from trivium.sklearn import TriviumClassifier, TriviumRegressor, TriviumVectorizer

pandas = pytest.importorskip("pandas")

TEXTS = [sentence(7 * number) for number in range(48)]
MOODS = ["up" if WORDS.index(text.split()[0]) % 2 else "down" for text in TEXTS]
SCORES = [float(len(text)) for text in TEXTS]
ALL = (TriviumClassifier, TriviumRegressor, TriviumVectorizer)


@pytest.fixture(scope="module")
def how(tiny: Path) -> dict[str, Any]:
    return {"encoder": str(tiny), "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def short(how: dict[str, Any]) -> dict[str, Any]:
    return how | {"steps": 3, "batch_size": 8, "lr": 1e-3}


@pytest.fixture(scope="module")
def classifier(short: dict[str, Any]) -> TriviumClassifier:
    return TriviumClassifier(**short).fit(TEXTS, MOODS)


@pytest.fixture(scope="module")
def regressor(short: dict[str, Any]) -> TriviumRegressor:
    return TriviumRegressor(**short).fit(TEXTS, SCORES)


def said(fitted: Any) -> Any:
    """How its task says answers."""
    return fitted.model_.forms["answer"].says


# --- what scikit-learn asks of an estimator ----------------------------------------------------

CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
]
"""Its checks that bring no data; the others bring numbers, and are repeated below with texts."""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", ALL)
def test_scikit_learn_s_checks_that_bring_no_data_pass(kind: type, check: str) -> None:
    getattr(estimator_checks, check)(kind.__name__, kind())


def test_they_are_what_scikit_learn_takes_them_for() -> None:
    assert is_classifier(TriviumClassifier())
    assert is_regressor(TriviumRegressor())
    assert TriviumVectorizer().__sklearn_tags__().transformer_tags is not None
    assert all(kind().__sklearn_tags__().input_tags.string for kind in ALL)


@pytest.mark.parametrize("kind", ALL)
def test_one_that_is_not_fitted_says_so(kind: Any) -> None:
    ask = kind().transform if kind is TriviumVectorizer else kind().predict
    with pytest.raises(NotFittedError):
        ask(TEXTS)


def test_fit_gives_itself_back_and_changes_no_setting(short: dict[str, Any]) -> None:
    settings = short | {"changes": ("stages.0.schedule=constant",)}
    new = TriviumClassifier(**settings)
    before = deepcopy(new.get_params())
    assert new.fit(TEXTS, MOODS) is new
    assert new.get_params() == before
    public = {name for name in vars(new) if not name.startswith("_")} - set(before)
    assert all(name.endswith("_") for name in public)


@pytest.mark.thorough
def test_to_fit_again_is_to_fit_anew_and_asking_changes_nothing(
    short: dict[str, Any], classifier: TriviumClassifier
) -> None:
    again = clone(classifier).fit(TEXTS[::-1], MOODS[::-1]).fit(TEXTS, MOODS)
    before = set(vars(again))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert set(vars(again)) == before


def test_answers_do_not_depend_on_the_other_rows_or_their_order(
    classifier: TriviumClassifier, regressor: TriviumRegressor
) -> None:
    whole, scores = classifier.predict_proba(TEXTS), regressor.predict(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    some = [TEXTS[place] for place in order[:9]]
    np.testing.assert_allclose(classifier.predict_proba(some), whole[order[:9]], atol=1e-6)
    np.testing.assert_allclose(regressor.predict(some), scores[order[:9]], atol=1e-4)


# --- what it answers ---------------------------------------------------------------------------


def test_classes_are_those_of_y_and_probabilities_stand_in_their_order(
    classifier: TriviumClassifier,
) -> None:
    assert classifier.classes_.tolist() == ["down", "up"]
    probability = classifier.predict_proba(TEXTS)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    said = classifier.model_.probabilities("answer", TEXTS)
    np.testing.assert_allclose(probability[:, 1], [p["up"] for p in said], atol=2e-6)
    assert classifier.predict(TEXTS).tolist() == classifier.model_.predict("answer", TEXTS)


@pytest.mark.parametrize(
    ("classes", "names"),
    [((7, -3), ["-3", "7"]), ((True, False), ["False", "True"]), ((" ", "x"), ["0", "1"])],
)
def test_classes_of_any_type_come_back_as_they_are(
    short: dict[str, Any], classes: tuple[Any, Any], names: list[str]
) -> None:
    y = np.array([classes[mood == "up"] for mood in MOODS])
    found = TriviumClassifier(**short | {"steps": 1}).fit(TEXTS, y)
    assert found.predict(TEXTS).dtype == y.dtype
    assert set(found.predict(TEXTS)) <= set(y)
    assert list(said(found).names) == names


def test_what_can_be_learned_is_learned(how: dict[str, Any]) -> None:
    new = TriviumClassifier(**how, epochs=12, batch_size=8, lr=1e-2)
    assert new.fit(TEXTS, MOODS).score(TEXTS, MOODS) > 0.9


@pytest.mark.thorough
def test_a_weight_of_a_class_moves_answers_its_way(
    short: dict[str, Any], classifier: TriviumClassifier
) -> None:
    up = clone(classifier).set_params(class_weight={"up": 100}).fit(TEXTS, MOODS)
    assert up.predict_proba(TEXTS)[:, 1].mean() > classifier.predict_proba(TEXTS)[:, 1].mean()
    with pytest.raises(RecipeError, match="class_weight: 'left' is none of"):
        clone(classifier).set_params(class_weight={"left": 2}).fit(TEXTS, MOODS)


@pytest.mark.thorough
def test_numbers_stay_within_the_range_of_y_or_that_which_is_given(
    regressor: TriviumRegressor, short: dict[str, Any]
) -> None:
    found = regressor.predict(TEXTS)
    assert found.dtype == np.float64
    assert min(SCORES) <= found.min() <= found.max() <= max(SCORES)
    wide = TriviumRegressor(**short, range=(0, 100)).fit(TEXTS, SCORES)
    assert said(wide).range == (0, 100)
    constant = TriviumRegressor(**short | {"steps": 1}).fit(TEXTS, [2.0] * len(TEXTS))
    assert np.abs(constant.predict(TEXTS) - 2).max() <= 0.5


@pytest.mark.parametrize("encode", some_of(["joint", "separate"], "joint".__eq__))
def test_pairs_are_pairs_however_they_come(short: dict[str, Any], encode: Any) -> None:
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    new = TriviumClassifier(**short, encode=encode).fit(pairs, MOODS)
    frame = pandas.DataFrame(pairs, columns=["a", "b"])
    for other in (frame, np.array(pairs), [list(pair) for pair in pairs]):
        np.testing.assert_array_equal(new.predict_proba(other), new.predict_proba(pairs))
    with pytest.raises(RecipeError, match="row 0 must be a pair of texts"):
        new.predict(TEXTS)


@pytest.mark.parametrize(
    "make",
    [
        pandas.Series,
        lambda texts: pandas.Series(texts, index=range(100, 100 + len(texts))),
        lambda texts: pandas.DataFrame({"t": texts}),
        np.array,
        lambda texts: np.array(texts, dtype=object)[:, None],
        tuple,
    ],
)
def test_texts_may_come_as_people_hold_them(classifier: TriviumClassifier, make: Any) -> None:
    np.testing.assert_array_equal(
        classifier.predict_proba(make(TEXTS)), classifier.predict_proba(TEXTS)
    )


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        ("text", ["a"], "must be a list of texts, not a single one"),
        ([], [], "holds no rows"),
        (3, [1], "must be a list of texts, found int"),
        (["a", None], ["x", "y"], "row 1 must be a text, found an empty cell"),
        (["a", float("nan")], ["x", "y"], "row 1 must be a text, found an empty cell"),
        (np.ones((4, 1)), [0, 1, 0, 1], r"row 0 must be a text, found 1\.0"),
        (np.ones((4, 3)), [0, 1, 0, 1], "a row is a text or a pair of texts; found 3 columns"),
        (["a", "b"], None, "the target y is None"),
        (["a", "b"], ["x"], "inconsistent numbers of samples"),
        (["a", "b"], ["x", "x"], "needs two classes at least, found one class: 'x'"),
        (["a", "b"], np.array(["x", None], dtype=object), "y: row 1 is empty"),
        (["a", "b"], [0.5, 1.25], "Unknown label type"),
        (["a", "b"], pandas.Series(["x", pandas.NA], dtype="string"), "y: row 1 is empty"),
        (["a", "b"], pandas.Series([1, pandas.NA], dtype="Int64"), "y: row 1 is empty"),
        (["a", "b"], np.array(["x", 1], dtype=object), r"of one type, found str .*, int \(such"),
        (["a", "b"], ["x", "\ud800"], "class '.ud800' holds half a surrogate pair"),
    ],
)
def test_what_no_classifier_can_learn_is_refused_in_words(X: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TriviumClassifier(encoder="nowhere").fit(X, y)


def test_an_empty_cell_of_a_frame_is_named_by_its_index(classifier: TriviumClassifier) -> None:
    frame = pandas.DataFrame({"t": ["a", None]}, index=["p", "q"])
    with pytest.raises(RecipeError, match=r"row 1 \(index 'q'\)"):
        classifier.predict(frame)


@pytest.mark.parametrize("weight", [None, "much", [1]])
def test_a_weight_of_a_class_that_is_no_number_is_refused(weight: Any) -> None:
    with pytest.raises(RecipeError, match="class_weight: the weight of 'x' must be a number"):
        TriviumClassifier(encoder="nowhere", class_weight={"x": weight}).fit(["a", "b"], ["x", "y"])


@pytest.mark.parametrize("scale", [3, "ab", (0, 1, 2), (0, None), {"low": 0, "high": 1}])
def test_a_range_that_is_none_is_refused(scale: Any) -> None:
    with pytest.raises(RecipeError, match="range: must be two numbers"):
        TriviumRegressor(encoder="nowhere", range=scale).fit(["a", "b"], [0, 1])


def test_numbers_may_be_of_any_size_and_a_range_of_any_kind(short: dict[str, Any]) -> None:
    once = short | {"steps": 1}
    ends: Any = np.array([0, 100])
    wide = TriviumRegressor(**once, range=ends).fit(TEXTS, SCORES)
    assert said(wide).range == (0, 100)
    for number in (1e18, -1e18, 0.0):
        constant = TriviumRegressor(**once).fit(TEXTS, [number] * len(TEXTS))
        np.testing.assert_allclose(constant.predict(TEXTS[:3]), number, rtol=1e-5, atol=0.5)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (["a", "b"], "must be numbers"),
        ([1.0, float("inf")], "row 1 is no number"),
        (pandas.Series(pandas.date_range("2020", periods=2)), "numbers, found datetime64"),
        (np.array([1, 2], dtype="timedelta64[s]"), "numbers, found timedelta64"),
        (pandas.Series([1.5, pandas.NA], dtype="Float64"), "row 1 is empty"),
    ],
)
def test_what_no_regressor_can_learn_is_refused_in_words(y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TriviumRegressor(encoder="nowhere").fit(["a", "b"], y)


def test_a_setting_that_is_none_is_told_as_a_recipe_s(short: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="batch_size"):
        TriviumClassifier(**short | {"batch_size": "many"}).fit(TEXTS, MOODS)
    with pytest.raises(RecipeError, match="epoks"):
        TriviumClassifier(**short, changes=["stages.0.epoks=1"]).fit(TEXTS, MOODS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("tasks.answer.kind=ordinal", r"`tasks\.answer\.kind` follows from X and y"),
        ("tasks.*.labels=[x, y]", r"`tasks\.answer\.labels` follows from X and y"),
        ("tasks.answer.text=label", r"`tasks\.answer\.text` follows from X and y"),
    ],
)
def test_changes_leave_what_follows_from_the_data(
    short: dict[str, Any], change: str, told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        TriviumClassifier(**short, changes=[change]).fit(TEXTS, MOODS)
    with pytest.raises(RecipeError, match=r"changes: must be a list; write \['tasks"):
        TriviumClassifier(**short, changes=change).fit(TEXTS, MOODS)


@pytest.mark.parametrize("state", [5, None, np.random.RandomState(3)])
def test_the_seed_is_the_random_state(short: dict[str, Any], state: Any) -> None:
    new = TriviumClassifier(**short | {"steps": 1}, random_state=state)
    if state == 5:
        same = [clone(new).fit(TEXTS, MOODS).predict_proba(TEXTS) for _ in range(2)]
        np.testing.assert_array_equal(*same)
        assert new._seed() == 5
    else:
        assert 0 <= new._seed() < 2**31


# --- fitted again, and asked about columns -----------------------------------------------------


def test_a_fit_that_is_refused_leaves_the_earlier_one_whole(short: dict[str, Any]) -> None:
    fitted = TriviumClassifier(**short | {"steps": 1}).fit(TEXTS, MOODS)
    wanted, before = fitted.predict(TEXTS).tolist(), dict(vars(fitted))
    for wrong in ("steps", "batch_size", "precision"):
        fitted.set_params(**{wrong: "none"})
        with pytest.raises(RecipeError):
            fitted.fit(list(zip(TEXTS, TEXTS, strict=True)), [len(text) % 3 for text in TEXTS])
        fitted.set_params(**{wrong: short[wrong] if wrong != "steps" else 1})
    assert vars(fitted) == before
    assert fitted.predict(TEXTS).tolist() == wanted
    assert pickle.loads(pickle.dumps(fitted)).predict(TEXTS).tolist() == wanted


def test_a_fit_that_is_interrupted_leaves_the_earlier_one_whole(
    short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = TriviumClassifier(**short | {"steps": 1}).fit(TEXTS, MOODS)
    before = dict(vars(fitted))

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for verb in ("train", "load"):
        with monkeypatch.context() as broken:
            broken.setattr(trivium, verb, interrupted)
            with pytest.raises(KeyboardInterrupt):
                fitted.fit(TEXTS, [len(text) % 3 for text in TEXTS])
        assert vars(fitted) == before


def test_columns_are_known_by_name_and_never_taken_for_each_other(short: dict[str, Any]) -> None:
    frame = pandas.DataFrame({"first": TEXTS, "second": TEXTS[::-1]})
    new = TriviumClassifier(**short | {"steps": 1}).fit(frame, MOODS)
    assert new.feature_names_in_.tolist() == ["first", "second"]
    assert (new.feature_names_in_.dtype, new.n_features_in_) == (np.dtype(object), 2)
    again = pickle.loads(pickle.dumps(new))
    for fitted in (new, again, make_pipeline(new)):
        with pytest.raises(RecipeError, match=r"in that order.*found \['second', 'first'\]"):
            fitted.predict(frame[["second", "first"]])
        with pytest.raises(RecipeError, match=r"found \['a', 'b'\]\. Rename them"):
            fitted.predict_proba(frame.set_axis(["a", "b"], axis=1))
        with pytest.raises(RecipeError, match=r"Give it X\[\['first', 'second'\]\]"):
            fitted.predict(frame.assign(other="x"))
    wanted = new.predict_proba(frame)
    for same in (frame.to_numpy(), list(frame.itertuples(index=False, name=None))):
        np.testing.assert_array_equal(again.predict_proba(same), wanted)  # they have no names
    assert not hasattr(clone(new), "feature_names_in_")


def test_a_fit_on_rows_without_names_forgets_those_of_an_earlier_fit(how: dict[str, Any]) -> None:
    fitted = TriviumVectorizer(**how).fit(pandas.DataFrame({"t": TEXTS}))
    with pytest.raises(RecipeError, match="Rename them"):
        fitted.transform(pandas.DataFrame({"u": TEXTS}))
    for nameless in (TEXTS, pandas.DataFrame({0: TEXTS})):
        fitted.fit(nameless)
        assert not hasattr(fitted, "feature_names_in_")
        assert fitted.n_features_in_ == 1
        fitted.transform(pandas.DataFrame({"u": TEXTS[:1]}))


# --- around it ---------------------------------------------------------------------------------


@pytest.mark.thorough
def test_it_is_cross_validated(short: dict[str, Any]) -> None:
    scores = cross_val_score(TriviumClassifier(**short), TEXTS, MOODS, cv=2)
    assert scores.shape == (2,)
    assert ((scores >= 0) & (scores <= 1)).all()
    probability = cross_val_predict(
        TriviumClassifier(**short), pandas.Series(TEXTS), MOODS, cv=2, method="predict_proba"
    )
    assert probability.shape == (len(TEXTS), 2)


def test_it_is_searched_within_a_pipeline(short: dict[str, Any]) -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, TriviumClassifier(**short))
    grid = {"triviumclassifier__lr": [1e-3, {"encoder": 0.0, "heads": 1e-2}]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="accuracy").fit(TEXTS, MOODS)
    assert len(search.cv_results_["params"]) == 2
    assert (
        search.predict([text.upper() for text in TEXTS]).tolist() == search.predict(TEXTS).tolist()
    )


def test_vectors_feed_any_other_estimator(how: dict[str, Any]) -> None:
    pipeline = make_pipeline(TriviumVectorizer(**how), LogisticRegression(C=1e3))
    assert pipeline.fit(TEXTS, MOODS).score(TEXTS, MOODS) > 0.6
    assert cross_val_score(pipeline, TEXTS, MOODS, cv=2).shape == (2,)
    vectors = pipeline[0].transform(TEXTS)
    assert vectors.shape == (len(TEXTS), 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    told = TriviumVectorizer(**how).set_output(transform="pandas").fit_transform(TEXTS)
    assert list(told.columns)[:2] == ["triviumvectorizer0", "triviumvectorizer1"]


def test_vectors_are_those_of_a_pretrained_encoder_or_of_a_run(
    how: dict[str, Any], classifier: TriviumClassifier, tmp_path: Path
) -> None:
    saved = classifier.model_.save(tmp_path / "saved")
    own = how | {"normalize": False}
    frozen, tuned = (
        TriviumVectorizer(**own).fit(TEXTS), TriviumVectorizer(**own, run=saved).fit(TEXTS)
    )  # fmt: skip
    np.testing.assert_array_equal(
        tuned.transform(TEXTS), classifier.model_.embed(TEXTS, normalize=False)
    )
    assert np.abs(tuned.transform(TEXTS) - frozen.transform(TEXTS)).max() > 1e-4


# --- kept --------------------------------------------------------------------------------------


def test_it_is_pickled_with_its_model_and_nothing_of_the_folder_it_was_in(
    classifier: TriviumClassifier, regressor: TriviumRegressor, tmp_path: Path
) -> None:
    for fitted in (classifier, regressor):
        again = pickle.loads(pickle.dumps(fitted))
        assert again.model_.folder != fitted.model_.folder
        np.testing.assert_array_equal(again.predict(TEXTS), fitted.predict(TEXTS))
        home = again._home.path
        del again
        assert not home.exists()
    assert classifier.model_.folder is not None
    assert deepcopy(classifier).predict(TEXTS[:1]) == classifier.predict(TEXTS[:1])


def test_a_pickled_model_that_was_altered_is_refused(classifier: TriviumClassifier) -> None:
    state = classifier.__getstate__()
    state["_files"]["heads.safetensors"] = b"x"
    with pytest.raises(RecipeError, match="altered"):
        TriviumClassifier().__setstate__(state)


@pytest.mark.thorough
def test_a_vectorizer_is_pickled_fitted_or_not(
    how: dict[str, Any], classifier: TriviumClassifier, tmp_path: Path
) -> None:
    saved = classifier.model_.save(tmp_path / "saved")
    for new in (TriviumVectorizer(**how), TriviumVectorizer(**how, run=saved)):
        with pytest.raises(NotFittedError):
            pickle.loads(pickle.dumps(new)).transform(TEXTS)
        kept = pickle.dumps(new.fit(TEXTS))
        wanted = new.transform(TEXTS)
        if new.run is not None:
            (saved / "trivium.json").unlink()
        np.testing.assert_array_equal(pickle.loads(kept).transform(TEXTS), wanted)


@pytest.mark.thorough
def test_a_copy_opens_what_was_fitted_and_not_what_settings_say_now(
    how: dict[str, Any], classifier: TriviumClassifier, tmp_path: Path
) -> None:
    saved = classifier.model_.save(tmp_path / "saved")
    fitted = TriviumVectorizer(**how, run=saved).fit(TEXTS)
    of_run = fitted.transform(TEXTS)
    fitted.set_params(run=None).fit(TEXTS)
    of_encoder = fitted.transform(TEXTS)
    assert np.abs(of_encoder - of_run).max() > 1e-4
    fitted.set_params(encoder="nowhere", run="nowhere", precision="bf16")
    for copied in (pickle.loads(pickle.dumps(fitted)), deepcopy(fitted)):
        np.testing.assert_array_equal(copied.transform(TEXTS), of_encoder)
        assert copied.model_.precision == "fp32"
        assert copied.get_params() == fitted.get_params()


def test_a_copy_computes_as_the_fitted_one_does(short: dict[str, Any]) -> None:
    fitted = TriviumClassifier(**short | {"steps": 1}).fit(TEXTS, MOODS)
    copied = deepcopy(fitted.set_params(precision="bf16", device="nowhere"))
    assert copied.model_.precision == fitted.model_.precision == "fp32"


def test_a_model_whose_folder_was_cleared_is_refused_where_it_is_pickled(
    short: dict[str, Any],
) -> None:
    fitted = TriviumClassifier(**short | {"steps": 1}).fit(TEXTS, MOODS)
    home = fitted._home
    assert home is not None
    (home.model / "vocab.txt").unlink()
    with pytest.raises(RecipeError, match=r"no longer whole.*vocab\.txt.*fit it again"):
        pickle.dumps(fitted)
    shutil.rmtree(home.path)
    with pytest.raises(RecipeError, match="no longer whole"):
        deepcopy(fitted)
    fitted.predict(TEXTS[:1])  # it is in memory


def test_the_package_has_them_by_name() -> None:
    assert trivium.sklearn.TriviumClassifier is TriviumClassifier
    assert "sklearn" in dir(trivium)
