"""The architecture is a list; this is its only enforcement."""

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.processes import HEAVY, loaded_after, modules_after
from tests.support.sources import SOURCE, sources

LAYERS = {
    layer: height
    for height, layers in enumerate(
        [
            ("types", "errors", "part", "digest", "jsons", "pages", "interrupts", "garbage"),
            ("text", "model"),
            ("answering",),
            ("parts",),
            ("recipe",),
            ("run",),
            ("apps", "sklearn"),
            ("cli",),
            ("__main__",),
        ]
    )
    for layer in layers
}

STRANGERS = {("text", "model"), ("model", "text")}

ROOMS = {
    room: floor
    for floor, rooms in enumerate(
        [
            ("assembly", "screen"),
            ("rows",),
            ("folder", "drafting"),
            ("hub",),
            ("jobs", "predictor"),
            ("baselines", "teachers", "members", "verdict", "exporting", "deciding"),
            ("training", "card"),
            ("lookahead",),
            ("cluster",),
        ]
    )
    for room in rooms
}
"""The rooms of `run/`, from the ground up. Above them are its verbs, a file each."""

VERBS = len(ROOMS)

LATE = {
    "pyarrow", "openpyxl", "onnx_ir", "onnxscript", "onnxruntime", "openvino", "nncf", "narwhals",
    "datasets",
    "ray", "fsspec",
    "huggingface_hub", "psutil",
}  # fmt: skip
"""What may be imported where it is used: extras, what is there for callers' DataFrames, and what
most starts can do without."""


def violations(modules: Mapping[str, str]) -> list[str]:
    """What breaks the import rule, in words; modules: dotted name -> source."""
    found, graph = [], {}
    for module, source in modules.items():
        tree = ast.parse(source)
        graph[module] = imported(tree, modules)
        found += [f"{module}: {what}" for what in _relative(tree)]
        if not module.startswith("trivium.cli"):  # it says there why
            found += [f"{module}: {what}" for what in _hidden(tree)]
        found += [
            f"{module}: {what}" for name in graph[module] if (what := _forbidden(module, name))
        ]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("cycle: " + " -> ".join(error.args[1]))
    return found


def imported(tree: ast.AST, modules: Mapping[str, str]) -> list[str]:
    """Our modules that a module imports, wherever it does so."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in modules else node.module for name in whole]
    # `from trivium import __version__` names no module.
    return sorted({name for name in names if name.startswith("trivium.")})


def _forbidden(module: str, name: str) -> str | None:
    ours, theirs = module.split(".")[1], name.split(".")[1]
    if theirs not in LAYERS or ours not in LAYERS:
        return f"{name}: a module that stands in no layer"
    if LAYERS[theirs] > LAYERS[ours]:
        return f"imports {name}, which is above it"
    if (ours, theirs) in STRANGERS:
        return f"imports {name}, a stranger to it"
    if ours != theirs or ours not in ("run", "apps"):
        return None
    one, other = (path.split(".")[2] for path in (module, name))
    if one == other:
        return None
    if ours == "apps":
        return f"imports {name}, another app"
    return None if _floor(one) > _floor(other) else f"imports {name}, which is not below it"


def _floor(room: str) -> int:
    """Of a room of `run/`, or of a verb."""
    return ROOMS.get(room, VERBS)


def _relative(tree: ast.AST) -> list[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return ["relative import" for node in nodes if node.level > 0]


def _hidden(tree: ast.AST) -> list[str]:
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            hidden = {name for name in names if name.split(".")[0] not in LATE}
            found += [f"imports {name} inside a function" for name in sorted(hidden)]
    return found


def test_imports_point_down_and_never_in_circles() -> None:
    modules = sources()
    assert len(modules) > 30
    rooms = {path.name for path in (SOURCE / "run").iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(ROOMS)
    assert {name.split(".")[1] for name in modules} <= set(LAYERS)
    assert violations(modules) == []


def test_tests_lend_nothing_to_one_another_but_through_their_support() -> None:
    folder = Path(__file__).parent
    files = {path: ast.parse(path.read_text("utf-8")) for path in folder.rglob("*.py")}
    assert len(files) > 60
    borrowed = [
        f"{path.relative_to(folder)}: {node.module}"
        for path, tree in files.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tests"
        if not (node.module or "").startswith("tests.support")
    ]
    assert borrowed == []


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"trivium.types": "import trivium.part\nfrom trivium.run import train"}, "above it"),
        ({"trivium.parts.heads": "def f():\n    from trivium.recipe import Recipe"}, "above it"),
        ({"trivium.run.train": "import trivium.cli"}, "above it"),
        ({"trivium.text.tables": "from trivium.model.encoder import Encoder"}, "stranger"),
        ({"trivium.model.encoder": "import trivium.text.packing"}, "stranger"),
        ({"trivium.apps.tune": "from trivium.apps.serve import app"}, "another app"),
        ({"trivium.run.rows.load": "from trivium.run.train import train"}, "not below it"),
        ({"trivium.run.rows.load": "from trivium.run.folder.names import MODEL"}, "not below it"),
        ({"trivium.run.screen.live": "import trivium.run.rows.load"}, "not below it"),
        ({"trivium.run.train": "from trivium.run.check import check"}, "not below it"),
        ({"trivium.run.train": "from .plan import Plan"}, "relative import"),
        ({"trivium.run.train": "def f():\n    import json"}, "inside a function"),
        ({"trivium.run.train": "async def f():\n    from json import dump"}, "inside a function"),
        ({"trivium.parts.a": "from trivium.misc import b"}, "no layer"),
        (
            {
                "trivium.parts.a": "from trivium.parts import b",
                "trivium.parts.b": "from trivium.parts.c import C",
                "trivium.parts.c": "import trivium.parts.a",
            },
            "cycle: trivium.parts",
        ),
        (
            {
                "trivium.types": "from trivium.errors import A",
                "trivium.errors": "from trivium.types import B",
            },
            "cycle: ",
        ),
    ],
)
def test_a_forbidden_import_is_found(modules: dict[str, str], said: str) -> None:
    assert said in "\n".join(violations(modules))


def test_what_the_rule_allows_is_not_reported() -> None:
    allowed = {
        "trivium.cli": "def f():\n    from trivium.run.train import train",
        "trivium.run.train": "from trivium import __version__\nfrom trivium.parts import heads",
        "trivium.run.check": "from trivium.run.training.plan import Plan",
        "trivium.run.training.plan": "from trivium.run.training.state import Counters",
        "trivium.run.predictor.load": "from trivium.run.assembly.model import build",
        "trivium.parts.heads": "import torch\nfrom trivium.model.encoder import Encoder",
        "trivium.text.parquet": "def f():\n    import pyarrow.parquet",
        "trivium.apps.report.page": "from trivium.apps.report import plots",
    }
    assert violations(allowed) == []


def test_importing_the_package_costs_nothing() -> None:
    assert loaded_after("import trivium; trivium.RecipeError; trivium.__version__") == []


def test_reading_scores_needs_no_torch_and_no_trainer() -> None:
    found = modules_after("import trivium.run.folder.scores")
    assert {name for name in HEAVY if name in found} <= {"pydantic"}
    ours = {name for name in found if name.startswith("trivium.")}
    rooms = {name.split(".")[2] for name in ours if name.startswith("trivium.run.")}
    assert rooms == {"folder"}
    # The package itself loads `garbage`.
    assert {name.split(".")[1] for name in ours} == {"run", "errors", "garbage"}


def test_a_wanted_end_is_known_without_torch() -> None:
    assert loaded_after("from trivium.errors import Interrupted, RecipeError") == []


def test_predicting_loads_what_computes_only_when_it_is_chosen() -> None:
    """So that a model in another form answers where torch is not installed."""
    assert {*loaded_after("import trivium.run.predict")} == {"numpy", "pydantic", "tokenizers"}


VERBS_TRIED = {
    "check": set[str](), "train": set[str](), "evaluate": set[str](), "compare": set[str](),
    "push": {"huggingface_hub"}, "pull": {"huggingface_hub"},
}  # fmt: skip
"""By verb, what it works with that others do without."""


VERB_BY_VERB = """
import importlib, json, os, sys
import torch  # with which all of them work
for verb in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(f"trivium.run.{verb}")
        print(json.dumps([verb, [*sys.modules]]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, verb
"""


@pytest.fixture(scope="module")
def loaded_by() -> dict[str, set[str]]:
    """By verb: all that a process has imported that loads it, and PyTorch."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", VERB_BY_VERB, *VERBS_TRIED],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {verb: set(names) for verb, names in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("verb", VERBS_TRIED)
def test_a_verb_loads_nothing_heavy_but_what_it_works_with(
    verb: str, loaded_by: dict[str, set[str]]
) -> None:
    """Each of the others would add a second or more to every start."""
    needed = {"torch", "numpy", "pydantic", "tokenizers", "yaml"} | VERBS_TRIED[verb]
    assert loaded_by[verb].intersection(HEAVY) == needed


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "from trivium.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
    assert set(loaded_after(code)) <= {"pydantic"}  # the terminal's libraries may use it
