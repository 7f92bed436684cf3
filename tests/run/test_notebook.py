"""In a notebook, training is one display that is updated in its place."""

import sys
import types
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.run.screen.console import in_notebook, is_page, plain_console
from trivium.run.screen.notebook import LINES
from trivium.run.screen.progress import Monitor


@pytest.fixture(scope="module")
def recipe(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    values = make_recipe(tiny, folder) | {"probe": False}
    values["stages"] = [values["stages"][0] | {"steps": 30, "evaluate_every": 1}]
    (folder / "r.yaml").write_text(yaml.safe_dump(values))
    return folder / "r.yaml"


class Shown:
    """What a front end would hold: displays by their number, each as it is now."""

    def __init__(self) -> None:
        self.displays: list[dict[str, str]] = []
        self.updates = 0

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> "Handle":
        assert raw
        assert display_id
        self.displays.append(content)
        return Handle(self, len(self.displays) - 1)


class Handle:
    def __init__(self, shown: Shown, number: int) -> None:
        self._shown, self._number = shown, number

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self._shown.displays[self._number] = content
        self._shown.updates += 1


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """This process as a kernel, whose displays are kept; the real thing is tried below."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as ipykernel does
    shown = Shown()
    library = types.ModuleType("IPython")
    library.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    library.display = types.SimpleNamespace(display=shown.display)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", library)
    return shown


def test_a_stage_is_one_display_however_much_is_said(
    page: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    console = plain_console()
    with Monitor(console, "both", ["a"], 200, 0) as monitor:
        for step in range(200):
            monitor.step({"a": 0.5}, 1, 1)
            monitor.evaluation({"a": ("accuracy", step / 200)}, "n", "kept", kept=True)
    (only,) = page.displays
    assert page.updates >= 1
    assert "200/200" in only["text/plain"]
    assert only["text/plain"].count(" dev: ") == LINES
    assert f"({200 - LINES} earlier lines)" in only["text/plain"]
    assert capsys.readouterr() == ("", "")


def test_what_people_wrote_is_no_markup_in_a_display(page: Shown) -> None:
    with Monitor(plain_console(), "<b>[red]", ["<script>x</script>"], 1, 0) as monitor:
        monitor.step({"<script>x</script>": 0.5}, 1, 1)
        monitor.say("<img src=x> [bold]&amp;[/]")
    (only,) = page.displays
    assert "<script>" not in only["text/html"]
    assert "<img" not in only["text/html"]
    assert "&lt;img src=x&gt; [bold]&amp;amp;[/]" in only["text/html"]
    assert "<img src=x> [bold]&amp;[/]" in only["text/plain"]


def test_lines_go_to_the_output_that_is_no_mistake(
    page: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    plain_console().print("a line")
    assert capsys.readouterr() == ("a line\n", "")
    assert page.displays == []


def test_a_console_of_the_callers_own_is_left_alone(page: Shown) -> None:
    mine = Console(file=StringIO(), force_jupyter=False)
    assert not is_page(mine)
    with Monitor(mine, "both", ["a"], 1, 0) as monitor:
        monitor.step({"a": 0.5}, 1, 1)
    assert page.displays == []


def test_elsewhere_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    at_a_terminal = types.ModuleType("IPython")
    at_a_terminal.get_ipython = lambda: types.SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", at_a_terminal)
    assert not in_notebook()


def test_in_a_real_kernel_a_cell_that_trains_holds_one_display(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat  # type: ignore[import-not-found]  # comes with nbclient

    monkeypatch.setenv("PYTHONPATH", str(Path(trivium.__file__).parents[1]))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    said = f"import trivium\n_ = trivium.train({str(recipe)!r}, {str(recipe.with_name('run'))!r})"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(said)])
    updates = []

    class Watched(client.NotebookClient):  # type: ignore[misc]
        def process_message(self, message: Any, *rest: Any) -> Any:
            updates.append(message["msg_type"] == "update_display_data")
            return super().process_message(message, *rest)

    Watched(book, timeout=120, kernel_name="python3", coalesce_streams=True).execute()
    outputs = book.cells[0].outputs
    kinds = [output.output_type for output in outputs]
    assert kinds.count("display_data") == 1
    assert kinds.count("stream") <= 3  # what is told before and after, and a library's warning
    (shown,) = (output.data for output in outputs if output.output_type == "display_data")
    assert "30/30" in shown["text/plain"]
    assert "step 30 dev: " in shown["text/plain"]
    assert sum(updates) >= 1
    said = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert "Tasks on one encoder" in said
    assert "30/30" not in said
