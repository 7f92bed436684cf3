"""Texts as vectors, for pipelines."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

import trivium
from trivium.answering.says import Floats
from trivium.run.predictor.plain import load_plain
from trivium.sklearn.kept import HoldsModel, Home
from trivium.sklearn.texts import rows_of


class TriviumVectorizer(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # sklearn has no types
    TransformerMixin,  # type: ignore[misc]
    HoldsModel,
):
    """Texts to an encoder's vectors: the mean over a text's tokens, at length 1.

    encoder: a pretrained one, as it is (minilm, a folder or a hub name). run: instead of it the
    fine-tuned encoder of a run, a model's folder or a model on the hub. normalize: whether vectors
    have length 1. `fit` learns nothing from the texts.

        make_pipeline(TriviumVectorizer(), LogisticRegression(max_iter=1000))
    """

    def __init__(
        self,
        *,
        encoder: str = "minilm",
        run: str | Path | None = None,
        normalize: bool = True,
        precision: str = "auto",
        device: str = "auto",
    ) -> None:
        self.encoder = encoder
        self.run = run
        self.normalize = normalize
        self.precision = precision
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 a pipeline hands it on
        """Load the encoder. Raises RecipeError."""
        rows_of(X, 1)
        self._open()
        self._n_features_out = self._vectors(["a"]).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """vector_BD of the texts. Raises RecipeError, which names the row of what is none."""
        check_is_fitted(self)
        return self._vectors([text for (text,) in rows_of(X, 1)])

    def _open(self) -> None:
        how = {"precision": self.precision, "device": self.device}
        if self.run is None:
            self.model_ = load_plain(self.encoder, **how)
            return
        home = Home()
        trivium.load(self.run, **how).save(home.model)
        self._load(home)

    def _vectors(self, texts: list[str]) -> Floats:
        return self.model_.embed(texts, normalize=self.normalize)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_n_features_out" in state and not hasattr(self, "model_"):
            self._open()  # a pretrained encoder is where it was, and not in the state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags
