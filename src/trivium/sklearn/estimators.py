"""Estimators that fine-tune an encoder on texts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state

import trivium
from trivium.answering.says import Floats, Score
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.screen.console import plain_console
from trivium.sklearn.kept import HoldsModel, Home
from trivium.sklearn.targets import (
    classes_in,
    names_of_classes,
    numbers_in,
    range_for,
    targets,
    weights_of,
)
from trivium.sklearn.texts import Rows, columns_seen, rows_of

TASK = "answer"
"""What the only task of such a run is called."""
COLUMNS = {1: ["text"], 2: ["first", "second"]}


OWN = ("kind", "text", "label", "labels")
"""Settings of that task that follow from X and y."""


def refuse_other_task(recipe: dict[str, Any], changes: Sequence[str]) -> None:
    """Refuse changes by which the model would answer something else than what stands in y. Raises
    RecipeError."""
    if not changes:
        return
    before, after = (load_recipe(recipe, each).tasks.get(TASK) for each in ((), changes))
    for name in OWN:
        was, will = (getattr(task, name, None) for task in (before, after))
        if was != will:
            raise RecipeError(
                f"changes: `tasks.{TASK}.{name}` follows from X and y, and may not be changed "
                f"(from {was!r} to {will!r}). For another kind of task: trivium.train."
            )


class _Trained(HoldsModel):
    """What a classifier and a regressor of texts share."""

    def __init__(
        self,
        *,
        encoder: str = "minilm",
        epochs: int = 3,
        steps: int | None = None,
        batch_size: int = 32,
        lr: float | Mapping[str, float] | None = None,
        max_length: int | None = None,
        encode: Literal["separate", "joint"] = "joint",
        head: str | Mapping[str, Any] | None = None,
        trains: str | Mapping[str, Any] = "full",
        changes: Sequence[str] = (),
        random_state: Any = 0,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.max_length = max_length
        self.encode = encode
        self.head = head
        self.trains = trains
        self.changes = changes
        self.random_state = random_state
        self.precision = precision
        self.device = device
        self.verbose = verbose

    def _fit(
        self, rows: Rows, labels: Sequence[Any], task: dict[str, Any], found: dict[str, Any]
    ) -> None:
        """Train, and then take the model with what else was found, by attribute."""
        columns = COLUMNS[len(rows[0])]
        table = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        table["label"] = list(labels)
        recipe, changes = self._recipe(columns, task), self._changes()
        refuse_other_task(recipe, changes)
        home = Home()
        run = home.path / "run"
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            scores = trivium.train(
                recipe,
                run,
                tables={TASK: table},
                changes=changes,
                console=plain_console() if self.verbose else plain_console(nowhere),
            )
        (run / "model").rename(home.model)
        how = {"precision": self.precision, "device": self.device}
        self._hold(how, home, found | {"scores_": scores})

    def _recipe(self, columns: list[str], task: dict[str, Any]) -> dict[str, Any]:
        text = columns if len(columns) > 1 else columns[0]
        settings = {"head": self.head, "max_length": self.max_length}
        settings |= {"encode": self.encode} if len(columns) > 1 else {}
        stage = {
            "epochs": None if self.steps is not None else self.epochs,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "trains": self.trains,
            "select": "last",  # there are no dev rows: a search holds some out itself
        } | ({} if self.lr is None else {"lr": self.lr})
        return {
            "encoder": self.encoder,
            "seed": self._seed(),
            "precision": self.precision,
            "device": self.device,
            "tasks": {TASK: {"text": text, "label": "label"} | settings | task},
            "stages": [stage],
        }

    def _changes(self) -> list[str]:
        if isinstance(self.changes, str):
            raise RecipeError(f"changes: must be a list; write [{self.changes!r}].")
        return list(self.changes)

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _said(self, X: Any) -> Floats:
        """readout_BK of the rows."""
        rows = self._rows(X)
        return self.model_.arrays({TASK: rows})[TASK]


class TriviumClassifier(ClassifierMixin, _Trained):  # type: ignore[misc]  # sklearn has no types
    """Texts, or pairs of texts, to one of several classes: a fine-tuned BERT encoder.

    X: a list, an array or a Series of texts; pairs of texts, or a DataFrame of two columns, are
    pairs. The settings are those of a recipe (docs/methods.md); `changes` says any other by its
    dotted path, such as "stages.0.schedule=constant", where the task is called `answer`.

    encoder: minilm, a folder or a hub name. epochs, or steps: how long. lr: one rate, or
    {"encoder": ..., "heads": ...}. class_weight: balanced, or a weight by class. random_state: of
    new parameters, rows' order and dropout. verbose: what `trivium train` says.

    After `fit`: `classes_`, `model_` (a Predictor, whose `save` and `push` take it elsewhere),
    `scores_` (what the run cost).
    """

    def __init__(
        self,
        *,
        encoder: str = "minilm",
        epochs: int = 3,
        steps: int | None = None,
        batch_size: int = 32,
        lr: float | Mapping[str, float] | None = None,
        max_length: int | None = None,
        encode: Literal["separate", "joint"] = "joint",
        head: str | Mapping[str, Any] | None = None,
        trains: str | Mapping[str, Any] = "full",
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        changes: Sequence[str] = (),
        random_state: Any = 0,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            encoder=encoder, epochs=epochs, steps=steps, batch_size=batch_size, lr=lr,
            max_length=max_length, encode=encode, head=head, trains=trains, changes=changes,
            random_state=random_state, precision=precision, device=device, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts and their classes. Raises RecipeError (a ValueError)."""
        rows = rows_of(X)
        classes, codes = classes_in(targets(rows, y))
        task = {"kind": "classification", "labels": names_of_classes(classes)}
        task |= {"class_weights": weights_of(self.class_weight, classes)}
        self._fit(rows, codes.tolist(), task, columns_seen(X, rows) | {"classes_": classes})
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Each class's probability, in the order of `classes_`."""
        readout_BK = self._said(X).astype(np.float64)
        probability_BK: NDArray[np.float64] = readout_BK / readout_BK.sum(axis=1, keepdims=True)
        return probability_BK

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row."""
        most_B = self.predict_proba(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[most_B]
        return found


class TriviumRegressor(RegressorMixin, _Trained):  # type: ignore[misc]  # sklearn has no types
    """Texts, or pairs of texts, to a number: a fine-tuned BERT encoder.

    As TriviumClassifier. range: the lowest and the highest number, to which answers are clipped;
    by default those of y.
    """

    def __init__(
        self,
        *,
        encoder: str = "minilm",
        epochs: int = 3,
        steps: int | None = None,
        batch_size: int = 32,
        lr: float | Mapping[str, float] | None = None,
        max_length: int | None = None,
        encode: Literal["separate", "joint"] = "joint",
        head: str | Mapping[str, Any] | None = None,
        trains: str | Mapping[str, Any] = "full",
        range: tuple[float, float] | None = None,
        changes: Sequence[str] = (),
        random_state: Any = 0,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            encoder=encoder, epochs=epochs, steps=steps, batch_size=batch_size, lr=lr,
            max_length=max_length, encode=encode, head=head, trains=trains, changes=changes,
            random_state=random_state, precision=precision, device=device, verbose=verbose,
        )  # fmt: skip
        self.range = range

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts and their numbers. Raises RecipeError (a ValueError)."""
        rows = rows_of(X)
        numbers = numbers_in(targets(rows, y))
        task = {"kind": "regression", "range": range_for(self.range, numbers)}
        self._fit(rows, numbers.tolist(), task, columns_seen(X, rows))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number of each row."""
        score_B: NDArray[np.float64] = self._said(X)[:, 0].astype(np.float64)
        says = self.model_.forms[TASK].says
        assert isinstance(says, Score)
        return score_B.clip(*says.range)
