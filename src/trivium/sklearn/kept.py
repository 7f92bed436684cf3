"""A model that an estimator holds: its folder while it lives, its files where it is pickled."""

import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

import trivium
from trivium.errors import RecipeError
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.kept import model_files
from trivium.run.predictor.plain import load_plain
from trivium.sklearn.texts import NAMES, Rows, refuse_other_columns, rows_of

HOME, HOW, MODEL, FILES = "_home", "_how", "model_", "_files"


class Home:
    """A temporary folder that goes with whoever holds it."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="trivium-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    @property
    def model(self) -> Path:
        """Where a model's files are in it."""
        return self.path / "model"

    def files(self) -> dict[str, bytes]:
        """The model's files by name. Raises RecipeError where they are not what they were."""
        try:
            return {name: (self.model / name).read_bytes() for name in model_files(self.model)}
        except (OSError, RecipeError) as error:
            raise RecipeError(
                f"{self.path}: the temporary folder of this estimator's model is no longer whole: "
                f"{error} It cannot be pickled or copied; fit it again. (Something may clear "
                "temporary folders here: TMPDIR names another place for them.)"
            ) from error


class HoldsModel(BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """An estimator whose `model_` is in a temporary folder of its own, which goes with it, or a
    pretrained encoder.

    Pickled (or copied) it takes the files along: safetensors and JSON, which are verified as every
    model's are when they are opened again. How it was opened goes with them: what its settings say
    is for the next `fit`.
    """

    model_: Predictor
    _home: Home | None
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def _hold(self, how: Mapping[str, Any], home: Home | None, found: Mapping[str, Any]) -> None:
        """Take a model, and what else a fit found, in place of what an earlier fit did: all at
        once, so that one that is refused or interrupted leaves the earlier one whole."""
        model = _opened(how, home)
        rest = {name: value for name, value in vars(self).items() if name != NAMES}
        self.__dict__ = rest | dict(found) | {HOW: dict(how), HOME: home, MODEL: model}

    def _rows(self, X: Any) -> Rows:
        """The rows to answer. Raises RecipeError where they are not such as it was fitted to."""
        check_is_fitted(self)
        refuse_other_columns(X, getattr(self, NAMES, None))
        return rows_of(X, self.n_features_in_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, MODEL)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop(MODEL, None)
        if (home := state.pop(HOME, None)) is not None:
            state[FILES] = home.files()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = dict(state)
        files = own.pop(FILES, None)
        super().__setstate__(own)
        if HOW not in own:
            return
        home = None if files is None else _written(files)
        self._home, self.model_ = home, _opened(own[HOW], home)


def _opened(how: Mapping[str, Any], home: Home | None) -> Predictor:
    """The model in a folder; without one the pretrained encoder that `how` names."""
    return load_plain(**how) if home is None else trivium.load(home.model, **how)


def _written(files: Mapping[str, bytes]) -> Home:
    home = Home()
    for name, content in files.items():
        path = home.model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return home
