"""Flags: each a setting, each in the environment, each with the setting's default."""

from pathlib import Path
from typing import Any

import pytest
import typer

from tests.support.shell import call
from trivium.apps.serve.given import settings_of
from trivium.apps.serve.keys import read_keys
from trivium.apps.serve.settings import Settings
from trivium.cli import app
from trivium.errors import RecipeError

OPTIONS = {
    each.name: each
    for each in typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    if each.name not in ("run", "help")
}


def test_every_flag_is_a_setting_with_its_default_and_a_variable() -> None:
    fields = dict(Settings.model_fields)
    del fields["sha256"], fields["run"]  # of the folder
    assert set(OPTIONS) == set(fields)
    for name, option in OPTIONS.items():
        if name != "name":
            assert (option.default or None) == (fields[name].default or None), name
        flag = option.opts[0].removeprefix("--")
        assert option.envvar == "TRIVIUM_" + flag.upper().replace("-", "_")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a run's, as far as names go."""
    home = tmp_path / "triage"
    (home / "model").mkdir(parents=True)
    (home / "model" / "trivium.json").write_text("{}")
    return home


def test_a_model_is_called_as_its_run(folder: Path) -> None:
    for place in (folder, folder / "model"):
        found = settings_of(place, {"run": place, "name": None, "max_rows": 3})
        assert (found.name, found.max_rows, len(found.sha256)) == ("triage", 3, 64)
    assert settings_of(folder, {"name": "other"}).name == "other"


@pytest.mark.parametrize(
    "name", ["", "a\nb", "a\x1b[2Jb", "caf\udce9", "/desk", "desk/", "a//b", "..", "a/./b",
             "acme/ready", "acme/infer"],
)  # fmt: skip
def test_a_name_that_no_client_could_ask_for_is_refused_at_the_start(
    folder: Path, name: str
) -> None:
    with pytest.raises(RecipeError, match=r"^--name: .*no client could ask for it in a URL; give"):
        settings_of(folder, {"name": name})


@pytest.mark.parametrize("name", ["infer", "ready", "acme/desk", "acme/infer/desk", "Größe 2.0"])
def test_a_name_may_be_as_on_the_hub(folder: Path, name: str) -> None:
    assert settings_of(folder, {"name": name}).name == name


def test_keys_come_from_flags_and_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\nalpha\n\nbeta\n")
    assert read_keys(["gamma", f"@{path}", "alpha"]) == ("gamma", "alpha", "beta")
    path.write_text("# none\n")
    with pytest.raises(RecipeError, match="holds no key"):
        read_keys([f"@{path}"])


def test_the_environment_sets_what_flags_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_MAX_ROWS", "0")
    assert "--max-rows: 0" in call("serve", folder)[1]


@pytest.mark.parametrize("said", ["", "  "])
def test_a_key_in_the_environment_that_was_not_filled_in_opens_no_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr("trivium.apps.serve.running.serve", lambda *_: True)
    assert call("serve", folder)[0] == 0
    monkeypatch.setenv("TRIVIUM_API_KEY", said)
    code, printed = call("serve", folder)
    assert code == 2
    assert "TRIVIUM_API_KEY: is set, and holds no key" in printed
    assert call("serve", folder, "--api-key", "given")[0] == 0
    monkeypatch.setenv("TRIVIUM_API_KEY", "one other")
    assert call("serve", folder)[0] == 0


def test_metrics_ask_for_a_key_only_where_there_is_one(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--metrics-key: asks for a key, and there is none"):
        settings_of(folder, {"metrics_key": True})
    assert settings_of(folder, {"metrics_key": True, "api_keys": ["one"]}).metrics_key


@pytest.mark.parametrize(
    "origin",
    ["https://app.example/", "https://app.example/shop", "app.example", "https://App.example",
     "https://app.example:443", "http://app.example:80", "https://*/", ""],
)  # fmt: skip
def test_an_origin_that_no_page_has_is_refused_at_the_start(folder: Path, origin: str) -> None:
    with pytest.raises(RecipeError, match=r"^--allow-origin: .*no page has this origin"):
        settings_of(folder, {"allow_origin": ["https://app.example", origin]})


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://app.example", "http://localhost:3000", "http://[::1]:8080",
     "https://app.example:80", "chrome-extension://abc"],
)  # fmt: skip
def test_an_origin_is_as_browsers_send_it(folder: Path, origin: str) -> None:
    assert settings_of(folder, {"allow_origin": [origin]}).allow_origin == (origin,)


@pytest.mark.parametrize("missing", ["fastapi", "prometheus_client"])
def test_what_is_not_installed_is_named_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def find(name: str) -> Any:
        return None if name == missing else object()

    monkeypatch.setattr("trivium.apps.serve.installed.find_spec", find)
    code, said = call("serve", folder)
    assert code == 2
    assert f"needs {missing}" in said
    assert 'pip install "trivium[serve]"' in said
