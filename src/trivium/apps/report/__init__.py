"""Reports: finished runs as one HTML file that needs nothing else, not even a network."""

try:
    import jinja2
    import plotly
except ImportError as error:
    from trivium.errors import RecipeError

    raise RecipeError(
        f"trivium report needs {error.name}, which is not installed: pip install 'trivium[report]'"
    ) from error

from trivium.apps.report.write import report

__all__ = ["report"]

del jinja2, plotly
