"""docs/dependencies.md names all that pyproject.toml does, and a licence for each."""

import tomllib
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from benchmarks.dependencies import PAGE, ROOT, dependencies, licence_of, rows_of, table

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_page_names_every_dependency_who_wants_it_and_its_licence() -> None:
    rows = rows_of(PAGE.read_text("utf-8"))
    wanted = {one.name: ", ".join(one.wanted_by) for one in dependencies(PROJECT)}
    assert {name: cells[0] for name, cells in rows.items()} == wanted, (
        "make it anew: python -m benchmarks.dependencies --write"
    )
    for name, (_, licence, version) in rows.items():
        assert licence, name
        assert "not installed" not in licence, name
        assert version, name


def test_licences_are_what_packages_of_the_same_version_say() -> None:
    rows = rows_of(PAGE.read_text("utf-8"))
    looked_at = 0
    for name, (_, licence, version) in rows.items():
        try:
            told = metadata(name)
        except PackageNotFoundError:
            continue
        if told["Version"] == version:
            looked_at += 1
            assert licence_of(told).replace("|", "/") == licence, name  # type: ignore[arg-type]
    if not looked_at:
        pytest.skip("other versions are installed")


def test_names_are_gathered_from_every_list_and_extras_of_extras_are_left_out() -> None:
    project = {
        "build-system": {"requires": ["hatchling>=1"]},
        "project": {
            "dependencies": ["PyYAML>=6", "uvloop>=1; sys_platform != 'win32'"],
            "optional-dependencies": {"a": ["torch[full]>=2"], "b": ["trivium[a]", "torch"]},
        },
    }
    found = [(one.name, one.wanted_by) for one in dependencies(project)]
    assert found == [
        ("hatchling", ["build"]), ("PyYAML", ["core"]), ("torch", ["a", "b"]), ("uvloop", ["core"]),
    ]  # fmt: skip


def test_a_package_that_is_not_here_keeps_its_row() -> None:
    project = {
        "build-system": {"requires": ["no-such-package"]},
        "project": {"dependencies": [], "optional-dependencies": {}},
    }
    kept = table(project, {"no-such-package": "MIT | 1.0"})[-1]
    assert kept == "| no-such-package | build | MIT | 1.0 |"
    assert "not installed" in table(project)[-1]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "x"}, "MIT OR Apache-2.0"),
        ({"Classifier": "License :: OSI Approved :: BSD License", "License": "x"}, "BSD License"),
        ({"License": "Apache 2.0\nand its whole text"}, "Apache 2.0"),
        ({"License": "UNKNOWN"}, ""),
        ({"License": "w" * 61}, ""),
        ({}, ""),
    ],
)
def test_a_licence_is_the_surest_that_metadata_say(fields: dict[str, str], licence: str) -> None:
    told = Message()
    for name, value in fields.items():
        told[name] = value
    assert licence_of(told) == licence
