"""Whether what a server is made of is installed. Looked at before any of it is imported."""

from importlib.util import find_spec

from trivium.errors import RecipeError

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def refuse_missing() -> None:
    """Raises RecipeError."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"trivium serve needs {', '.join(missing)}, which is not installed: "
            'pip install "trivium[serve]"'
        )
