"""The project's own modules, as text."""

from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "trivium"


def sources() -> dict[str, str]:
    """Every module but the package's own `__init__`, which only knows where names live."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    del found["trivium"]
    return found
