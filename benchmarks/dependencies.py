"""What Trivium depends on, and under which licence: the table of docs/dependencies.md.

The names are those of pyproject.toml, the licences what each installed package says of itself.

    python -m benchmarks.dependencies            prints the table
    python -m benchmarks.dependencies --write    puts it into docs/dependencies.md
"""

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- made by benchmarks/dependencies.py -->", "<!-- end -->"
OWN = "trivium"
CORE, BUILD = "core", "build"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TROVE = "License :: OSI Approved :: "
LONGEST = 60
"""Characters; some packages put the whole text of their licence where its name belongs."""


@dataclass(slots=True)
class Dependency:
    name: str
    wanted_by: list[str] = field(default_factory=list)
    """`core`, `build` or extras, in the order of pyproject.toml."""


def dependencies(project: Mapping[str, Any]) -> list[Dependency]:
    """project: the content of pyproject.toml. By name; extras that only name extras say nothing."""
    wants = {
        BUILD: project["build-system"]["requires"],
        CORE: project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
    }
    found: dict[str, Dependency] = {}
    for extra, requirements in wants.items():
        for requirement in requirements:
            match = _NAME.match(requirement)
            assert match, requirement
            if match[0] != OWN:
                one = found.setdefault(match[0].lower(), Dependency(match[0]))
                one.wanted_by.append(extra)
    return [found[name] for name in sorted(found)]


def licence_of(told: Message) -> str:
    """What a package's metadata say, the surest first; "" where they say nothing of use."""
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = told.get_all("Classifier") or []
    if named := [c.removeprefix(_TROVE) for c in classifiers if c.startswith(_TROVE)]:
        return ", ".join(named)
    first = str(told.get("License") or "").strip().split("\n")[0]
    return first if 0 < len(first) <= LONGEST and first != "UNKNOWN" else ""


def table(project: Mapping[str, Any], before: Mapping[str, str] | None = None) -> list[str]:
    """Lines of Markdown. before: rows of an earlier table, for packages that are not here now."""
    rows = [
        "| package | wanted by | licence, as its metadata say | of version |",
        "|---|---|---|---|",
    ]
    for one in dependencies(project):
        wanted = ", ".join(one.wanted_by)
        try:
            told = metadata(one.name)
        except PackageNotFoundError:
            known = (before or {}).get(one.name, "not installed where this was made | ")
            rows.append(f"| {one.name} | {wanted} | {known} |")
            continue
        licence = licence_of(told).replace("|", "/") or "does not say; see its page"  # type: ignore[arg-type]
        rows.append(f"| {one.name} | {wanted} | {licence} | {told['Version']} |")
    return rows


def rows_of(page: str) -> dict[str, list[str]]:
    """The table's cells on the page, by the name of the package."""
    lines = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: others for name, *others in cells}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="into docs/dependencies.md")
    page = PAGE.read_text("utf-8")
    before = {name: " | ".join(cells[1:]) for name, cells in rows_of(page).items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = "\n".join(table(project, before))
    if not parser.parse_args().write:
        print(lines)
        return
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{lines}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
