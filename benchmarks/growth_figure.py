"""The figure of `benchmarks.growth`: rows a CPU second, and peak memory, by rows of the table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, GAP = 340, 240, 64, 40, 90
COLOURS = {"check": "#4477aa", "train": "#cc6677", "again": "#ddaa33", "predict": "#228833"}
TOLD = {"again": "train, read before"}
Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Series -> verb -> rows -> figures."""


def figure(found: Results) -> str:
    """An SVG of two panels, both axes in powers of ten: a line per verb, dashed for the series
    that is not the last one."""
    panels = [
        _panel(
            found, 0, "rows a CPU second", lambda rows, told: rows / told.get("cpu_s", 1e30), (2, 6)
        ),
        _panel(found, 1, "peak memory, MiB", lambda _, told: told["anon_mib"], (2, 4.5)),
    ]
    wide = LEFT + 2 * WIDTH + GAP + 150
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{TOP + HEIGHT + 50}" '
        'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join([*panels, _legend(found, wide - 150)])
        + "\n</svg>\n"
    )


def _panel(found: Results, place: int, title: str, value: Any, ends: tuple[float, float]) -> str:
    left = LEFT + place * (WIDTH + GAP)
    low, high = ends

    def at(rows: float, y: float) -> tuple[float, float]:
        across = (math.log10(rows) - 4) / 3
        up = (math.log10(max(y, 1e-9)) - low) / (high - low)
        return left + across * WIDTH, TOP + HEIGHT * (1 - min(1.0, max(0.0, up)))

    parts = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    parts += [_line([at(1e4, 10**low), at(1e7, 10**low)], "#000"), *_ticks(at, ends)]
    for number, (series, verbs) in enumerate(found.items()):
        dashed = number < len(found) - 1
        for verb, by_rows in verbs.items():
            points = [
                at(int(rows), value(int(rows), told))
                for rows, told in sorted(by_rows.items(), key=lambda item: int(item[0]))
                if value(int(rows), told) > 1e-6
            ]
            parts.append(f"<g><title>{series} {verb}</title>")
            parts.append(_line(points, COLOURS[verb], dashed=dashed))
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{COLOURS[verb]}"/>'
                      for x, y in points]  # fmt: skip
            parts.append("</g>")
    return "\n".join(parts)


def _ticks(at: Any, ends: tuple[float, float]) -> list[str]:
    parts = []
    for power in range(4, 8):
        x, y = at(10**power, 10 ** ends[0])
        parts.append(
            f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">10{_up(power)}</text>'
        )
    for power in range(math.ceil(ends[0]), math.floor(ends[1]) + 1):
        x, y = at(1e4, 10**power)
        parts.append(_line([(x, y), at(1e7, 10**power)], "#ddd"))
        parts.append(
            f'<text x="{x - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">10{_up(power)}</text>'
        )
    return parts


def _up(power: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    through = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'


def _legend(found: Results, left: float) -> str:
    parts, y = [], TOP
    for number, (series, verbs) in enumerate(found.items()):
        for verb in verbs:
            dashed = number < len(found) - 1
            line = _line([(left, y), (left + 26, y)], COLOURS[verb], dashed=dashed)
            words = f"{TOLD.get(verb, verb)}, {series}" if len(found) > 1 else TOLD.get(verb, verb)
            parts.append(
                f'{line}<text x="{left + 32:.0f}" y="{y + 4}" font-size="10">{words}</text>'
            )
            y += 18
    return "\n".join(parts)
