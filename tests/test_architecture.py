"""What ARCHITECTURE.md says of files and rooms is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "trivium"
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
OF_RUN = TEXT.partition("\n## The rooms of `run/`\n")[2].partition("\n## ")[0]
ROOMS = dict(re.findall(r"^\| \d \| `(\w+)/` \| (.*) \|$", OF_RUN, re.MULTILINE))


def modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_every_room_of_run_is_described() -> None:
    assert set(ROOMS) == {path.parent.name for path in (SOURCE / "run").glob("*/__init__.py")}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_is_described_by_its_modules(room: str) -> None:
    assert set(re.findall(r"`(\w+)`", ROOMS[room])) == modules(SOURCE / "run" / room)


def test_the_verbs_are_named() -> None:
    (line,) = (line for line in TEXT.splitlines() if line.startswith("`run/` holds one file per"))
    named = re.findall(r"`(\w+)`", line.partition(":")[2])
    assert set(named) == modules(SOURCE / "run")


def test_files_that_are_named_exist() -> None:
    paths = re.findall(r"`(\w+(?:/\w+)*/\w+\.py)`", TEXT)
    assert len(paths) > 30
    homes = (SOURCE, SOURCE / "cli", ROOT)
    assert [p for p in paths if not any((home / p).exists() for home in homes)] == []
