"""Texts as vectors, for pipelines."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

import trivium
from trivium.answering.says import Floats
from trivium.sklearn.kept import HoldsModel, Home
from trivium.sklearn.texts import columns_seen, rows_of


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
        seen = columns_seen(X, rows_of(X, 1))
        how: dict[str, Any] = {"precision": self.precision, "device": self.device}
        home = None
        if self.run is None:  # it is where it was, and not in a pickle
            how["encoder"] = self.encoder
        else:
            home = Home()
            trivium.load(self.run, **how).save(home.model)
        self._hold(how, home, seen)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """vector_BD of the texts. Raises RecipeError, which names the row of what is none."""
        texts = [text for (text,) in self._rows(X)]
        vectors: Floats = self.model_.embed(texts, normalize=self.normalize)
        return vectors

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.embed(["a"]).shape[1])
