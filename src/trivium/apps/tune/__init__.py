"""Searches: a recipe's settings are varied, trial by trial, by Optuna; each trial is a run."""

try:
    import matplotlib
    import optuna
    import sklearn
except ImportError as error:
    from trivium.errors import RecipeError

    raise RecipeError(
        f"trivium tune needs {error.name}, which is not installed: pip install 'trivium[tune]'"
    ) from error

from trivium.apps.tune.search import tune

__all__ = ["tune"]

del matplotlib, optuna, sklearn
