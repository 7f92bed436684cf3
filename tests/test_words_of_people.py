"""What people wrote comes out as they wrote it: labels, texts, names and paths are no markup."""

import ast
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from tests.support.sources import sources
from tests.support.tables import make_recipe
from trivium.answering.occlusion import Explanation, Word, places_of
from trivium.cli import app
from trivium.run.screen.console import note, plain_console, say
from trivium.run.screen.grid import Grid, print_grid
from trivium.run.screen.progress import Monitor, rows_bar
from trivium.run.screen.shading import print_explanation

LABELS = {"up": "[/INST]", "down": "[urgent] :1234: \\[x]"}
TASK = "mood"
HOSTILE = ["[/INST]", "[urgent]", "train.csv:100:", ":1234:", "[bold]x[/]", "\\[x]", "[link=a]b"]


def said(*arguments: str | Path) -> tuple[int, str]:
    """Exit code, and all that was printed, as it was."""
    environment = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


class Place:
    """A folder, a data folder and a recipe whose names look like markup."""

    def __init__(self, tiny: Path, home: Path) -> None:
        self.home = home / "a[" / "b] :100:"
        self.home.mkdir(parents=True)
        values = make_recipe(tiny, self.home)
        values["data"] = str(self.home / "data[" / "red]")
        (self.home / "data[").mkdir()
        (self.home / "data").rename(values["data"])
        for split in ("train", "dev"):
            old = Path(values["data"]) / f"mood-{split}.tsv"
            lines = [line.split("\t") for line in old.read_text().splitlines()]
            rows = [[one, text, LABELS.get(mood, mood)] for one, text, mood in lines]
            old.with_name(f"[i]{split}:100:.tsv").write_text(
                "".join("\t".join(row) + "\n" for row in rows)
            )
            old.unlink()
        mood = values["tasks"].pop("mood")
        mood |= {"train": "[i]train:100:.tsv", "dev": "[i]dev:100:.tsv"}
        values["tasks"] = {TASK: mood, "near": values["tasks"]["near"]}
        values["stages"] = [values["stages"][0] | {"steps": 2}]
        self.values = values

    def recipe(self, **changes: Any) -> Path:
        path = self.home / "[r].yaml"
        path.write_text(yaml.safe_dump(self.values | changes))
        return path

    @property
    def dev(self) -> Path:
        return Path(self.values["data"]) / "[i]dev:100:.tsv"


@pytest.fixture(scope="module")
def place(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tiny, tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def runs(place: Place) -> list[Path]:
    """Two runs, and what training them said of itself."""
    made = [place.home / "run[" / f"{seed}]:100:" for seed in range(2)]
    for seed, run in enumerate(made):
        code, output = said(
            "train", place.recipe(adapters=["lora"]), "--out", run, "--set", f"seed={seed}"
        )
        assert code == 0
        assert f"model: {run / 'model'}\n" in output
        assert TASK in output
    return made


def test_a_preview_shows_labels_names_and_files_as_they_are(place: Place) -> None:
    code, output = said("check", place.recipe())
    assert code == 0
    for words in (*LABELS.values(), TASK, "[/red]/[i]train:100:.tsv, ", "[i]dev:100:.tsv, "):
        assert words in output, words


def test_a_row_is_named_by_its_line(place: Place, tmp_path: Path) -> None:
    bad = place.dev.with_name("train.csv")
    good = place.dev.with_name("[i]train:100:.tsv").read_text().splitlines()
    rows = [line.replace("\t", ",") for line in good[:97]]
    rows[99:] = [rows[1], rows[2], "7,a [/b] text :1234:,nothing [/INST2]"]
    bad.write_text("\n".join(rows) + "\n")
    labels = ["--set", f"tasks.{TASK}.train=train.csv"]
    labels += ["--set", f"tasks.{TASK}.labels={json.dumps(list(LABELS.values()))}"]
    for verb, out in (("check", []), ("train", ["--out", str(tmp_path / "run")])):
        code, output = said(verb, place.recipe(), *labels, *out)
        assert code == 2
        assert "train.csv:100:" in output
        assert "nothing [/INST2]" in output
    code, output = said("check", place.recipe(), *labels, "--set", f"tasks.{TASK}.bad_rows=skip")
    assert code == 0
    assert f"row left out: {bad}:100:" in output


def test_scores_and_answers_name_tasks_and_places_as_they_are(
    place: Place, runs: list[Path], tmp_path: Path
) -> None:
    code, output = said("evaluate", runs[0])
    assert (code, TASK in output) == (0, True)
    code, output = said("evaluate", runs[0], "--json")
    assert (code, TASK in json.loads(output)["tasks"]) == (0, True)
    out = tmp_path / "answers[" / "b]:100:.csv"
    out.parent.mkdir()
    asked = ["--task", TASK, "--file", str(place.dev), "--out", str(out)]
    code, output = said("predict", runs[0], *asked)
    assert (code, output) == (0, f"32 rows answered: {out}\n")
    answers = {line.rpartition(",")[0].rpartition(",")[2] for line in out.read_text().splitlines()}
    assert answers <= {"prediction", *LABELS.values()}
    code, output = said("predict", runs[0], "--task", "[/x]:100:", "--file", place.dev)
    assert (code, "[/x]:100:" in output) == (2, True)


def test_what_is_made_of_runs_names_them_as_they_are(
    place: Place, runs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "a[" / "b]:100:"
    for verb, options, end in (("ensemble", ["--how", "weights"], ""), ("soup", [], "/model")):
        code, output = said(verb, *runs, *options, "--out", out / verb)
        told = {"ensemble": "ensemble", "soup": "model"}[verb]
        assert (code, f"{told}: {out / verb}{end}\n" in output, TASK in output) == (0, True, True)
        for run in runs:
            assert run.name in output
    other, page = out / "other[i]:100:", out / "verdict[" / "b].md"
    assert said("train", place.recipe(), "--out", other)[0] == 0
    code, output = said("compare", *runs, other, "--no-time", "--out", page)
    assert (code, f"verdict: {page}\n" in output, other.name in output) == (0, True, True)
    code, output = said("report", *runs, "--out", out / "[" / "report].html")
    assert (code, f"report: {out / '[' / 'report].html'} (" in output) == (0, True)
    code, output = said("lora", runs[0], "--merged", out / "[" / "merged]")
    assert (code, f"written: {out / '[' / 'merged]'}\n" in output) == (0, True)
    code, output = said("export", other, "--to", "sentence-transformers", "--out", out / "[i]:100:")
    assert (code, f"written: {out / '[i]:100:'}\n" in output) == (0, True), output
    code, output = said("train", place.recipe(adapters=["lora"]), "--out", runs[0], "--resume")
    assert (code, f"{runs[0]}: this run is finished" in output) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "runs/a[/b]:100:"],
        ["check", "[/red]:1234:.yaml"],
        ["check", "recipe.yaml", "--sett[/b]:100:"],
        ["soup", "x[/b]:100:", "y", "--out", "z"],
        ["[/b]:100:"],
        ["tune", "[/b]:100:.yaml"],
        ["study", "[/b]:100:.yaml", "--out", "s"],
        ["push", "[/b]:100:", "[/b]:100:"],
    ],
)
def test_a_mistake_is_quoted_as_it_was_made(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = said(*arguments)
    assert code == 2
    wanted = "[/red]:1234:" if "[/red]" in arguments[-1] else "[/b]:100:"
    assert wanted in output


def consoles() -> list[tuple[Console, StringIO]]:
    """Ours, and callers', on a terminal and in a file; a caller's would take words for markup."""
    files = [StringIO() for _ in range(3)]
    return list(
        zip(
            [
                plain_console(files[0], 200),
                Console(file=files[1], width=200),
                Console(file=files[2], width=200, force_terminal=True, color_system=None),
            ],
            files,
            strict=True,
        )
    )


@pytest.mark.parametrize("words", HOSTILE)
def test_whoever_made_the_console_words_stay_as_they_are(words: str) -> None:
    for console, heard in consoles():
        say(console, words, (words, "bold"))
        note(console, words)
        grid = Grid(f"T {words}")
        grid.add_column(f"C {words}")
        grid.add_row(f"R {words}")
        print_grid(grid, console)
        for shown in (words * 2, f"note {words}", f"T {words}", f"C {words}", f"R {words}"):
            assert shown in heard.getvalue(), shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\N{SYMBOL FOR ESCAPE}[31mred\N{SYMBOL FOR ESCAPE}[0m"),
        ("\x1b]0;title\x07", "\N{SYMBOL FOR ESCAPE}]0;title\N{SYMBOL FOR BELL}"),
        ("a\rb\x7f", "a\N{SYMBOL FOR CARRIAGE RETURN}b\N{SYMBOL FOR DELETE}"),
        ("\x9b2J", "\N{REPLACEMENT CHARACTER}2J"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}lave", "\N{REPLACEMENT CHARACTER}lave"),
        (
            "\u0645\u0631\u062d\u0628\u0627 \U0001f44d\U0001f3fd\t",
            "\u0645\u0631\u062d\u0628\u0627 \U0001f44d\U0001f3fd",
        ),
    ],
)
def test_no_words_can_steer_a_terminal(words: str, shown: str) -> None:
    for console, heard in consoles():
        say(console, words, (words, "bold"))
        say(console, Text(words))
        grid = Grid(words)
        grid.add_column(words)
        grid.add_row(words, Text(words, style="bold"))
        print_grid(grid, console)
        assert heard.getvalue().count(shown) >= 5
        assert not any(mark in heard.getvalue() for mark in "\x07\r\x7f\x9b\u202e")
        assert "\x1b[31m" not in heard.getvalue()
        edges = [
            line for line in heard.getvalue().splitlines() if line.startswith(("\u2502", "\u2514"))
        ]
        assert len({cell_len(line) for line in edges}) == 1, "a table's edge is straight"
    heard_by_ours = StringIO()
    plain_console(heard_by_ours).print(f"whatever else is printed: {words}")
    assert not any(mark in heard_by_ours.getvalue() for mark in "\x1b\x07\r\x7f\x9b\u202e")


def test_shades_of_an_explanation_stay_on_their_words_beside_control_characters() -> None:
    first = Word("bad", places_of(["\r\x07\r bad"])[-1], 0.9)
    found = Explanation("mood", ("\r\x07\r bad",), "down", "down", 0.9, (first,))
    heard = StringIO()
    console = Console(file=heard, width=60, force_terminal=True, color_system="standard")
    print_explanation(found, console)
    assert "\x1b[1;32mbad\x1b[0m" in heard.getvalue()


@pytest.mark.parametrize("words", HOSTILE)
def test_bars_show_words_as_they_are(words: str) -> None:
    for console, heard in consoles():
        if not console.is_terminal:
            continue
        with rows_bar(console, words) as bar:
            bar.add_task(f"B {words}", total=3)
        with Monitor(console, f"S {words}", [words], 2, 0) as monitor:
            monitor.step({words: 0.5}, 1, 1)
            monitor.evaluation({words: ("m", 0.5)}, words, f"V {words}", kept=True)
        for shown in (f"B {words}", f"S {words}", f"{words} loss", f"{words} m 0.5", f"V {words}"):
            assert shown in heard.getvalue(), shown


def test_nothing_is_said_but_from_one_place() -> None:
    """Else the next message would be markup again."""
    told = re.compile(
        r"rich\.markup|from_markup|rich\.table|console\.(print|log|rule)\(|\brprint\b"
    )
    found = []
    for module, text in sources().items():
        home = module in ("trivium.run.screen.console", "trivium.run.screen.grid")
        found += [module for _ in told.findall(text) if not home]
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            if name == "Console" and module != "trivium.run.screen.console":
                found.append(module)
            if (
                name == "TextColumn"
                and ast.unparse(options.get("markup", ast.Constant(1))) != "False"
            ):
                found.append(module)
    assert found == []
