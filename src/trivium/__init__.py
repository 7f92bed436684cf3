"""Trivium: several tables of labelled text into one small BERT encoder that serves them all.

    import trivium

    trivium.train("recipes/quickstart.yaml", "runs/first")
    model = trivium.load("runs/first")
    model.predict("topic", ["Where is my parcel?"])

Names are imported when they are first used, so that `import trivium` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trivium.garbage import without_collection

if TYPE_CHECKING:
    from trivium.apps.batch import predict_files
    from trivium.apps.presets import train
    from trivium.apps.report import report
    from trivium.apps.study import study
    from trivium.apps.tune import tune
    from trivium.errors import Interrupted, NotWrittenError, RecipeError
    from trivium.parts.tasks import Task
    from trivium.recipe import Recipe, Stage, load_recipe
    from trivium.run.affinity import affinity
    from trivium.run.calibrate import calibrate
    from trivium.run.check import check
    from trivium.run.cluster.asked import OnHere, OnRay
    from trivium.run.compare import compare
    from trivium.run.embed import embed_file
    from trivium.run.ensemble import ensemble
    from trivium.run.evaluate import evaluate
    from trivium.run.export import export
    from trivium.run.export_lora import export_lora
    from trivium.run.init import init
    from trivium.run.predict import predict_file
    from trivium.run.predictor.base import Predictor
    from trivium.run.predictor.load import load
    from trivium.run.pull import pull
    from trivium.run.push import push
    from trivium.run.soup import soup

__version__ = "0.1.0"

NEEDS_TORCH = 'pip install "trivium[train]"'
"""What to do where torch is missing."""

__all__ = [
    "Interrupted",
    "NotWrittenError",
    "OnHere",
    "OnRay",
    "Predictor",
    "Recipe",
    "RecipeError",
    "Stage",
    "Task",
    "__version__",
    "affinity",
    "calibrate",
    "check",
    "compare",
    "embed_file",
    "ensemble",
    "evaluate",
    "export",
    "export_lora",
    "init",
    "load",
    "load_recipe",
    "predict_file",
    "predict_files",
    "pull",
    "push",
    "report",
    "soup",
    "study",
    "train",
    "tune",
]

_HOMES = {
    "Interrupted": "trivium.errors",
    "NotWrittenError": "trivium.errors",
    "OnHere": "trivium.run.cluster.asked",
    "OnRay": "trivium.run.cluster.asked",
    "Predictor": "trivium.run.predictor.base",
    "Recipe": "trivium.recipe",
    "RecipeError": "trivium.errors",
    "Stage": "trivium.recipe",
    "Task": "trivium.parts.tasks",
    "calibrate": "trivium.run.calibrate",
    "affinity": "trivium.run.affinity",
    "check": "trivium.run.check",
    "compare": "trivium.run.compare",
    "embed_file": "trivium.run.embed",
    "ensemble": "trivium.run.ensemble",
    "evaluate": "trivium.run.evaluate",
    "export": "trivium.run.export",
    "export_lora": "trivium.run.export_lora",
    "init": "trivium.run.init",
    "load": "trivium.run.predictor.load",
    "load_recipe": "trivium.recipe",
    "predict_file": "trivium.run.predict",
    "predict_files": "trivium.apps.batch",
    "pull": "trivium.run.pull",
    "push": "trivium.run.push",
    "report": "trivium.apps.report",
    "soup": "trivium.run.soup",
    "study": "trivium.apps.study",
    "train": "trivium.apps.presets",
    "tune": "trivium.apps.tune",
}


_MODULES = ["sklearn"]
"""What needs an extra of its own, and is no single name."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"trivium.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'trivium' has no attribute {name!r}")
    try:
        with without_collection():
            return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"trivium.{name} needs PyTorch: {NEEDS_TORCH}") from error


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]
