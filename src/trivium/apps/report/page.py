"""Sections to one HTML file that holds its scripts, styles and data.

Nothing in a table can become part of the page: the templates escape what they print, data stands
in blocks that are no scripts, and a policy in the page's head allows its own scripts, by their
sha256, and no network at all.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

import trivium
from trivium.apps.report.figure import Section
from trivium.apps.report.rows import RowSet
from trivium.apps.report.runs import ReportedRun
from trivium.pages.safe import as_data, colours, digests, upright


def render(runs: Sequence[ReportedRun], sections: Sequence[Section], rows: Sequence[RowSet]) -> str:
    """The page. rows: what the list of mistakes is made of, see `browser`."""
    figures = {}
    for section in sections:
        for place, panel in enumerate(section.panels):
            if panel.figure:
                figures[f"{section.id}-{place}"] = panel.figure.drawn
    scripts = [get_plotlyjs(), _file("page.js"), _file("browser.js")]
    environment = Environment(
        loader=PackageLoader("trivium.apps.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["worded"] = worded
    page = environment.get_template("page.html.j2").render(
        title=", ".join(run.name for run in runs),
        runs=runs,
        sections=sections,
        version=trivium.__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        policy=_policy(scripts),
        scripts=[Markup(script) for script in scripts],
        style=Markup(colours("light") + _file("page.css")),
        dark=Markup(colours("dark")),
        figures=Markup(as_data(figures)),
        rows=Markup(
            as_data(
                {"sets": [row_set.as_dict() for row_set in rows], "runs": [r.name for r in runs]}
            )
        ),
    )
    return upright(page)


def worded(text: str) -> Markup:
    """Text with `settings` set apart."""
    return Markup(re.sub("`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do, for browsers to enforce."""
    return (
        f"default-src 'none'; script-src {digests(scripts)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _file(name: str) -> str:
    return (files("trivium.apps.report") / "templates" / name).read_text(encoding="utf-8")
