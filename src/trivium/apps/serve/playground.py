"""The page at `/`: type a text and see what every task says of it.

One file, under the report's policy: its script and its style are allowed by their sha256, data
stands in a block that is no script, and nothing is asked of any server but the one it came from.
Browsers are told to refuse markup that is made of strings, so that no label can become any.
"""

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import trivium
from trivium.answering.described import Described
from trivium.answering.form import Form
from trivium.answering.rows import answering
from trivium.answering.says import Score, SeveralLabels
from trivium.apps.serve.examples import examples_of
from trivium.pages.safe import as_data, colours, digests

__all__ = ["examples_of", "page"]

_SCRIPTS = [
    "page.js",
    "texts.js",
    "answers.js",
    "troubles.js",
    "calls.js",
    "explaining.js",
    "asking.js",
]
"""In the order in which they need each other; together they are one script."""


def page(
    described: Described,
    *,
    model_name: str,
    limits: Mapping[str, float],
    examples: Sequence[Mapping[str, str]],
) -> str:
    """The page, as HTML.

    model_name: its title; limits: what a request may hold, told as `/v1/info` tells it; examples:
    rows to try, as `examples_of` gives them.

        predictor = trivium.load("runs/first")
        described = predictor.described("torch")
        html = page(described, model_name="first", limits={"rows": 256}, examples=[])
    """
    script = "\n".join(["(() => {", '"use strict";', *map(_file, _SCRIPTS), "})();"])
    style, dark = colours("light") + _file("page.css"), colours("dark")
    return Template(_file("page.html")).substitute(
        title=html.escape(model_name),
        version=html.escape(trivium.__version__),
        policy=html.escape(_policy(script, style, dark), quote=True),
        style=style,
        dark=dark,
        script=script,
        facts=as_data(
            {
                "model": model_name,
                "backend": described.backend,
                "precision": described.precision,
                "tasks": [_facts(form) for form in answering(described.forms).values()],
                "limits": dict(limits),
                "examples": [dict(row) for row in examples],
            }
        ),
    )


def _facts(form: Form) -> dict[str, Any]:
    """What the page needs to know of a task."""
    says = form.says
    assert says is not None
    return {
        "name": form.name,
        "columns": list(form.text),
        "says": says.says,
        "labels": list(says.names),
        "threshold": says.threshold if isinstance(says, SeveralLabels) else None,
        "thresholds": says.decide.thresholds
        if isinstance(says, SeveralLabels) and says.decide is not None
        else {},
        "separator": says.separator if isinstance(says, SeveralLabels) else None,
        "range": list(says.range) if isinstance(says, Score) else None,
        "cut": form.cut,
        "max_length": form.max_length,
    }


def _policy(script: str, *styles: str) -> str:
    """What the page may do, for browsers to enforce."""
    return (
        f"default-src 'none'; script-src {digests([script])}; style-src {digests(styles)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _file(name: str) -> str:
    return (files("trivium.apps.serve") / "static" / name).read_text(encoding="utf-8")
