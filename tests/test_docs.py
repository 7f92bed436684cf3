"""What the documentation shows is tried: commands, Python, recipes, and the examples of functions.

Pages tell of runs that take minutes, so the quickstart is made short here: a tiny encoder, two
steps. What is not even run so is in NOT_RUN or SAID_ONLY, with its reason, and still parsed.
"""

import doctest
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

import trivium
from tests.support.hub import Hub, running, turn_to
from tests.support.markdown import (
    PAGES,
    ROOT,
    Block,
    Command,
    blocks,
    commands,
    example,
    refuse_wrong_calls,
    spans,
)
from tests.support.shell import call
from tests.support.thorough import some_of
from trivium.cli import app
from trivium.parts.tasks import AnyTask
from trivium.recipe import Recipe, load_recipe
from trivium.recipe.ensembles import load_ensemble
from trivium.recipe.parse import parse_file
from trivium.recipe.plain_yaml import read_yaml, write_yaml
from trivium.recipe.space import search_of

QUICKSTART = "recipes/quickstart.yaml"
MESSAGES = "recipes/data/support-desk/messages-dev.csv"
NOT_RUN = {
    r"^(study|tune|compare runs/study|train runs/search/)": "trains many runs, each in a process "
    "of its own; tests/apps and tests/run/test_verdict.py run these commands",
    r"^export runs/first (--out|--int8|--to openvino)": "takes long; tests/exporting makes graphs",
    r"recipes/(?!quickstart|search/quickstart|data)|runs/one-for-|runs/three": "reads public "
    "data, with MiniLM or BERT; tests/test_recipes.py trains these recipes for two steps",
    r"^serve ": "answers until a signal comes; tests/serve/test_process.py runs this command",
    r"runs/(separate|shared|only)-": "names runs of the reader's own",
    r"^calibrate .*(--answer-where|precision=)": "asks for more than a model of two steps can; "
    "tests/run/test_calibrate.py runs this command",
    r"^predict .*--on ray": "starts a cluster; tests/cluster runs it",
    r"^predict .*s3://": "asks an S3 server; tests/apps/test_remote_tables.py starts one",
}
"""Commands that are only parsed: what they match, and why."""
SAID_ONLY = {
    "docs/study.md": "trains six runs, each in a process of its own",
    "docs/serve.md": "needs Ray; what it asks of Trivium is what the command does",
}
"""Pages whose Python is not run, though its names and arguments are checked."""
ONLY_SHOWN = dict.fromkeys(("study", "tune"), "trains many runs, each in a process of its own")
"""Public names whose examples are not run either."""
ON_THE_HUB = ("docs/hub.md", "push", "pull")
"""What asks the hub: a stand-in for it is there."""
FUNCTIONS = [name for name in trivium.__all__ if name != "__version__"]
PUBLISHED = [page for page in PAGES if page != "docs/log.md"]  # the log tells what once was
COMMANDS: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BLOCKS = [block for page in PUBLISHED for block in blocks(page)]
FOLLOWED = [page for page in PUBLISHED if any(command.ours for command in commands(page))]
LONG = [f"docs/{name}.md" for name in ("affinity", "defaults", "ensembles", "python")]
LONG_EXAMPLES = ("affinity", "compare", "ensemble", "export", "export_lora", "report", "soup")
"""Pages that take longest to follow, and examples that do: for the whole run."""


def of(language: str) -> pytest.MarkDecorator:
    """A test of every block in a language."""
    found = [pytest.param(block, id=block.place) for block in BLOCKS if block.language == language]
    assert found
    return pytest.mark.parametrize("block", found)


# --- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PUBLISHED)
def test_commands_are_such_as_the_command_line_takes(page: str) -> None:
    for command in commands(page):
        if command.ours:
            parse(command)
        elif command.words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            assert command.words[1] in targets, command
        elif "pip" in command.words:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
            for extra in re.findall(r"trivium\[(\w+)\]", " ".join(command.words)):
                assert extra in project["optional-dependencies"], command


def parse(command: Command) -> None:
    """Options and their values, as on a shell; recipes of the project must be there and load."""
    name, *words = command.ours
    assert name in COMMANDS, f"{command.place}: trivium {name}: no such command"
    try:
        given = COMMANDS[name].make_context(name, words).params
    except Exception as error:  # of a class that moves from one version of typer to another
        raise AssertionError(f"{command.place}: {' '.join(command.words)}: {error}") from error
    for word in words:
        if word.startswith("recipes/"):
            assert sorted(ROOT.glob(word)), f"{command.place}: no {word}"
    path = given.get("recipe")
    # Of older versions of typer the path is a string still.
    if path is not None and Path(path).name == "quickstart.yaml":  # its data is in the project
        load_recipe(ROOT / path, given.get("set_") or [], given.get("budget", "full"))


@pytest.mark.parametrize("page", PUBLISHED)
def test_code_within_the_text_names_what_there_is(page: str) -> None:
    known = {option for name in COMMANDS for option in options(name)}
    for span in spans(page):
        command, *rest = span.split()
        if command == "trivium" and rest:
            assert rest[0] in COMMANDS, span
            known_here = options(rest[0])
        else:
            known_here = known if command.startswith("--") else set()
        if known_here:
            assert {word for word in span.split() if word.startswith("--")} <= known_here, span
        for word in span.split():
            if word.startswith(("recipes/", "docs/", "tests/")):
                assert sorted(ROOT.glob(word)), f"no {word}"
        if name := re.match(r"trivium\.(\w+)\(|trivium\.load\b", span):
            assert (name[1] or "load") in trivium.__all__, span
            refuse_wrong_calls(span)


def options(command: str) -> set[str]:
    return {o for p in COMMANDS[command].params for o in (*p.opts, *p.secondary_opts)}


# --- recipes -----------------------------------------------------------------------------------

BASE = """
encoder: minilm
data: .
tasks:
  sentiment: {kind: classification, text: a, label: z, head: linear, train: a.csv, dev: b.csv}
  paraphrase: {kind: classification, text: [a, b], label: z, train: a.csv, dev: b.csv}
  similarity: {kind: regression, text: [a, b], label: z, range: [0, 5], train: a.csv, dev: b.csv}
  topic: {kind: classification, text: a, label: z, train: a.csv, dev: b.csv}
  same_question: {kind: classification, text: [a, b], label: z, train: a.csv, dev: b.csv}
stages: [{epochs: 2, sampler: joint, lr: {encoder: 5e-5, heads: 1e-3}}]
"""
"""A recipe with the tasks that the pages speak of, for what they show of one."""


@of("yaml")
def test_a_recipe_or_a_piece_of_one_is_such_as_a_recipe_has(block: Block, tmp_path: Path) -> None:
    path, base = tmp_path / "recipe.yaml", tmp_path / "of-the-pages.yaml"
    path.write_text(block.text, encoding="utf-8")
    base.write_text(BASE, encoding="utf-8")
    values, whole = read_yaml(path), read_yaml(base)
    if "extends" in values or "ensemble" in values:
        (tmp_path / "recipes").symlink_to(ROOT / "recipes")
        for name in ("base.yaml", "shared.yaml", "smart.yaml"):
            shutil.copyfile(base, tmp_path / name)
        assert load_recipe(path) if "extends" in values else load_ensemble(path)
        return
    if "train" in values:  # of a task
        values = {"tasks": whole["tasks"] | {"sentiment": whole["tasks"]["sentiment"] | values}}
    for name, task in values.get("tasks", {}).items():
        values["tasks"][name] = whole["tasks"][name] if task == "..." else task
    file = parse_file(whole | values, block.place)
    path.write_text(write_yaml(whole | values), encoding="utf-8")
    for budget in file.budgets:
        load_recipe(path, budget=budget)
    if file.search is not None:
        search_of(file, path)


# --- Python ------------------------------------------------------------------------------------


@of("python")
def test_python_calls_what_there_is_with_arguments_that_it_takes(block: Block) -> None:
    refuse_wrong_calls(block.text)


# --- what is run -------------------------------------------------------------------------------

SHORT = ("--set", "stages.*.steps=2")
RERUN = {"README.md": "runs/first", "docs/ensembles.md": "runs/abc"}
"""Runs that a page makes twice, at the shell and in Python."""


@pytest.fixture
def workshop(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's recipes and a short quickstart, which is the working folder."""
    copy_recipes(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_recipes(tiny: Path, folder: Path) -> None:
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    text = (folder / QUICKSTART).read_text("utf-8")
    for old, new in (("minilm", str(tiny)), ("epochs: 6", "steps: 2")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / QUICKSTART).write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of the quickstart for the examples of functions."""
    folder = tmp_path_factory.mktemp("trained")
    copy_recipes(tiny, folder)
    changes = {"first": "seed=0", "a": "seed=0", "b": "seed=1", "c": "seed=2"}
    for run, change in (changes | {"frozen": "stages.0.trains=frozen"}).items():
        trivium.train(folder / QUICKSTART, folder / "runs" / run, changes=[change])
    return folder / "runs"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as hub:
        turn_to(hub, tmp_path / "cache", monkeypatch)
        yield hub


def for_the_hub(folder: Path) -> None:
    """A run to push, and texts to ask about."""
    trivium.train(folder / QUICKSTART, "runs/first")
    shutil.copyfile(folder / MESSAGES, folder / "in.csv")


def sentiment_and_similarity(folder: Path) -> None:
    """Three recipes as docs/compare.md names them: each of two tasks alone, and both."""
    values = read_yaml(folder / QUICKSTART)
    tasks = {"sentiment": values["tasks"]["topic"], "similarity": values["tasks"]["same_question"]}
    values["data"] = "recipes/data/support-desk"
    for name in ("sentiment", "similarity", "both"):
        own = {task: of for task, of in tasks.items() if name in (task, "both")}
        content = write_yaml(values | {"tasks": own})
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8")


def many_tables(folder: Path) -> None:
    """A run, and a folder of tables to ask it about."""
    trivium.train(folder / QUICKSTART, "runs/first")
    (folder / "in").mkdir()
    for name in ("a.csv", "b.csv", "c.csv"):
        shutil.copyfile(folder / MESSAGES, folder / "in" / name)


def with_budget(folder: Path) -> None:
    """The quickstart with the budget that docs/study.md shows."""
    own = (folder / QUICKSTART).read_text("utf-8")
    own = own.replace("data/support-desk", "recipes/data/support-desk")
    (folder / "recipe.yaml").write_text(own + shown("docs/study.md", "budgets:"))


def shown(page: str, start: str) -> str:
    """The block of a page that begins so."""
    (text,) = [block.text for block in blocks(page) if block.text.startswith(start)]
    return text


STAND_INS: dict[str, Callable[[Path], object]] = {
    "docs/calibrate.md": lambda folder: (folder / "costs.csv").write_text(
        shown("docs/calibrate.md", "urgency,")
    ),
    "docs/compare.md": sentiment_and_similarity,
    "docs/distillation.md": lambda folder: (folder / "student.yaml").write_text(
        shown("docs/distillation.md", "extends:")
    ),
    "docs/ensembles.md": lambda folder: shutil.copyfile(folder / MESSAGES, folder / "in.csv"),
    "docs/hub.md": for_the_hub,
    "docs/export.md": lambda folder: trivium.train(folder / QUICKSTART, "runs/first"),
    "docs/methods.md": with_budget,
    "docs/pretraining.md": lambda folder: (folder / "my-text.txt").write_text("Where is it?\n"),
    "docs/ray.md": many_tables,
    "docs/report.md": lambda folder: trivium.train(folder / QUICKSTART, "runs/first"),
    "docs/study.md": with_budget,
}
"""What a page's commands need and the reader is to bring."""


@pytest.mark.whole_run
@pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # the hub's own library's
@pytest.mark.parametrize("page", some_of(FOLLOWED, lambda page: page not in LONG))
def test_a_page_can_be_followed(page: str, workshop: Path, request: pytest.FixtureRequest) -> None:
    if page in ON_THE_HUB:
        request.getfixturevalue("hub")
    if page in STAND_INS:
        STAND_INS[page](workshop)
    for command in commands(page):
        line = " ".join(command.ours)
        is_run = line and command.words[0] == "trivium"
        if is_run and not any(re.search(pattern, line) for pattern in NOT_RUN):
            code, said = call(*command.ours, *(SHORT if command.ours[0] == "train" else ()))
            assert code == 0, f"{command.place}: trivium {line}: {said}"
    shutil.rmtree(workshop / RERUN.get(page, "runs/none"), ignore_errors=True)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python" and page not in SAID_ONLY:
            exec(compile(block.text, block.place, "exec"), names)


def test_no_reason_for_not_running_is_out_of_date() -> None:
    lines = [" ".join(command.ours) for page in PUBLISHED for command in commands(page)]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in lines), pattern
    assert set(SAID_ONLY) <= {block.page for block in BLOCKS if block.language == "python"}


# --- examples in docstrings --------------------------------------------------------------------


@pytest.mark.whole_run
def test_the_packages_own_example_runs(workshop: Path) -> None:
    code = example(trivium.__doc__ or "")
    assert "trivium.load" in code
    exec(compile(code, "trivium", "exec"), {})


@pytest.mark.whole_run
@pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # the hub's own library's
@pytest.mark.parametrize("name", some_of(FUNCTIONS, lambda name: name not in LONG_EXAMPLES))
def test_a_public_name_shows_an_example_that_runs(
    name: str, workshop: Path, request: pytest.FixtureRequest
) -> None:
    text = getattr(trivium, name).__doc__ or ""
    code = example(text)
    assert code, f"trivium.{name} shows no example"
    refuse_wrong_calls(code)
    if name in ONLY_SHOWN:
        return
    shutil.copytree(request.getfixturevalue("trained"), workshop / "runs")
    if name in ON_THE_HUB:
        request.getfixturevalue("hub")
    if name == "pull":
        trivium.push("runs/first", "desk/support")
    if ">>>" not in text:
        exec(compile(code, name, "exec"), {"trivium": trivium})
        return
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, {"trivium": trivium}, name, None, None)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.DocTestRunner(optionflags=flags).run(test, out=said.append).failed == 0, said


# --- nothing is left out -----------------------------------------------------------------------
TOLD = "\n".join((ROOT / page).read_text("utf-8") for page in PUBLISHED)
OF_NO_RECIPE = {"prior", "abstain"}
"""Settings within a trained model's folder, which only `trivium calibrate` writes."""
DEFINED: dict[str, dict[str, Any]] = Recipe.model_json_schema()["$defs"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_told_of_on_some_page(name: str) -> None:
    untold = {word for word in options(name) if not re.search(rf"{re.escape(word)}\b", TOLD)}
    untold = {word for word in untold if word.startswith("--")}
    assert not {word for word in untold if word.replace("--", "--no-") not in TOLD}


def test_every_setting_of_a_recipe_is_told_of_on_some_page() -> None:
    settings = {key for part in DEFINED.values() for key in part.get("properties", {})}
    told = {key for key in settings if re.search(rf"\b{re.escape(key)}\b", TOLD)}
    assert settings - told <= OF_NO_RECIPE


def test_every_method_has_a_line_on_the_page_of_methods() -> None:
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    kinds = {
        part["properties"]["kind"]["const"]
        for part in DEFINED.values()
        if "const" in part.get("properties", {}).get("kind", {})
    }
    assert len(kinds) > 50
    only = {"adamw", "vectors", "words"}  # nothing to choose from
    told = {kind for kind in kinds if re.search(rf"`{kind}\b|kind: {kind}\b|: {kind}`", page)}
    assert kinds - told == only


def test_every_score_is_told_of_beside_its_kind_of_task() -> None:
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    lines = dict(re.findall(r"^\| `(\w+)` \| (`.+) \|$", page.partition("## Scores")[2], re.M))
    for kind in get_args(get_args(AnyTask)[0]):
        told = re.findall(r"`(\w+)`", lines[kind.model_fields["kind"].default])
        scores = list(kind.judged_by)
        assert told[:1] == scores[:1]
        assert set(told) - {"score"} == set(scores)


def test_every_switch_is_told_of_on_some_page() -> None:
    files = [*(ROOT / "src").rglob("*.py"), ROOT / "hatch_build.py", ROOT / "native" / "build.py"]
    used = {
        name
        for path in files
        for name in re.findall(r"TRIVIUM_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))
    }
    flags = {f"TRIVIUM_{word[2:].replace('-', '_').upper()}" for word in options("serve")}
    of_its_own = {"TRIVIUM_PARENT", "TRIVIUM_NATIVE_FILE"}  # told from one process to another
    assert {name for name in used - flags if name not in TOLD} == of_its_own
