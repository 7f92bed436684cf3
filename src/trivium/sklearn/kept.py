"""A model that an estimator holds: its folder while it lives, its files where it is pickled."""

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sklearn.base import BaseEstimator

import trivium
from trivium.run.predictor.base import Predictor

HOME, MODEL, FILES = "_home", "model_", "_files"


class Home:
    """A temporary folder that goes with whoever holds it."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="trivium-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    @property
    def model(self) -> Path:
        """Where a model's files are in it."""
        return self.path / "model"


class HoldsModel(BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """An estimator whose `model_` is in a temporary folder of its own, which goes with it.

    Pickled (or copied) it takes the files along: safetensors and JSON, which are verified as every
    model's are when they are opened again.
    """

    precision: str
    device: str
    model_: Predictor
    _home: Home

    def _load(self, home: Home) -> None:
        self._home = home
        self.model_ = trivium.load(home.model, precision=self.precision, device=self.device)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop(MODEL, None)
        if (home := state.pop(HOME, None)) is not None:
            state[FILES] = {
                path.relative_to(home.model).as_posix(): path.read_bytes()
                for path in sorted(home.model.rglob("*"))
                if path.is_file()
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop(FILES, None)
        super().__setstate__(state)
        if files is None:
            return
        home = Home()
        for name, content in files.items():
            path = home.model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._load(home)
