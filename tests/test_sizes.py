"""Files and functions stay small enough to be read at once: the budgets of CONTRIBUTING.md.

Arguments, nesting and branches are counted by ruff, whose exceptions stand where they are made.
"""

import ast

from tests.support.sources import sources

FILE, FUNCTION = 300, 40
"""Lines."""
EXCEPTIONS = {
    "trivium.apps.tune.search:_prepare": 50,
}
"""What is longer, and how long it may be: no entry may grow, and none outlives its need."""


def sizes() -> dict[str, tuple[int, int]]:
    """Lines and budget of every module, and of every function without its docstring."""
    found = {}
    for module, text in sources().items():
        found[module] = (text.count("\n"), FILE)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1 - _said(node)
                name = f"{module}:{node.name}"
                found[name] = (max(lines, found.get(name, (0, 0))[0]), FUNCTION)
    return found


def test_no_file_and_no_function_is_longer_than_its_budget() -> None:
    over = {name: lines for name, (lines, budget) in sizes().items() if lines > budget}
    assert {name: lines for name, lines in over.items() if lines > EXCEPTIONS.get(name, 0)} == {}


def test_no_exception_outlives_its_need() -> None:
    found = sizes()
    assert [name for name in EXCEPTIONS if found[name][0] <= found[name][1]] == []


def _said(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of its docstring."""
    if ast.get_docstring(function) is None:
        return 0
    return (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
