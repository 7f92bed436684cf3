"""What runs of `benchmarks.defaults` say: the untouched defaults beside the best of a search.

A search chooses the variant with the best mean on dev, and is judged on test rows, which had no say
in that nor in which step of a run was kept. What is good enough is above the probe, and not more
than its own standard error (by rows) below what the search chose.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults_runs import DEFAULT, SPLITS, Known, Tried, chosen, read

Found = Mapping[str, Mapping[str, Tried]]
"""By table and variant."""


def show(folder: Path) -> str:
    """All runs below a folder, FOLDER/TABLE--VARIANT/seed-K, in Markdown: the default of every
    table, how often it is good enough, every variant as if it were the default, and all of them
    table by table."""
    found, known = read(folder)
    lines = [
        "| table | train | test | usual | probe | default | chosen on dev | of them | difference | "
        "best on test | seeds ± | above the probe | within one error |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|---|---|",
        *(_line(name, tried, known[name]) for name, tried in found.items()),
        "",
        *_judgement(found, known),
        "",
        *_as_defaults(found, known),
    ]
    for name, tried in found.items():
        lines += ["", *_of_table(name, tried, known[name])]
    for split in SPLITS:
        lines += ["", *_all_of(found, split)]
    return "\n".join(lines)


def is_above(tried: Tried, known: Known, split: str = "test") -> bool:
    """Whether a variant is not below the probe."""
    # A mean of 1,000 numbers may be one of its last digits off.
    return tried.score(split) >= known.probe[split] - 1e-9


def is_near(one: Tried, best: Tried, split: str = "test") -> bool:
    """Whether a variant is within its own standard error, by rows, of another one."""
    return one.score(split) >= best.score(split) - one.row_error(split)


# --- the default --------------------------------------------------------------------------------


def _line(name: str, tried: Mapping[str, Tried], known: Known) -> str:
    default, dev_best, best = tried[DEFAULT], chosen(tried), chosen(tried, "test")
    beyond, error = tried[dev_best].beyond(default, "test")
    rows = default.value_SB["test"].shape[1]
    cells = [
        name,
        f"{known.train_rows:,}",
        f"{rows:,}",
        f"{known.usual['test']:.4f}",
        f"{known.probe['test']:.4f}",
        f"{default.score('test'):.4f} ±{default.row_error('test'):.3f}",
        dev_best,
        f"{tried[dev_best].score('test'):.4f}",
        f"{_signed(beyond)} ±{error:.3f}",
        f"{best} {tried[best].score('test'):.4f}",
        f"{default.seed_error('test'):.4f}",
        _said(is_above(default, known)),
        _said(is_near(default, tried[dev_best])),
    ]
    return _row(cells)


def _judgement(found: Found, known: Mapping[str, Known]) -> Iterator[str]:
    """How often the defaults are good enough."""
    for split in ("test", "dev"):
        below, behind, behind_best = [], [], []
        for name, tried in found.items():
            default = tried[DEFAULT]
            below += [] if is_above(default, known[name], split) else [name]
            behind += [] if is_near(default, tried[chosen(tried)], split) else [name]
            behind_best += [] if is_near(default, tried[chosen(tried, split)], split) else [name]
        for words, names in (
            ("below the probe", below),
            ("more than a standard error below what is chosen on dev", behind),
            (f"more than a standard error below the best on {split} (flattered)", behind_best),
        ):
            yield f"{split}: {words}: {len(names)} of {len(found)}: {_listed(names)}"


# --- every variant ------------------------------------------------------------------------------


def _as_defaults(found: Found, known: Mapping[str, Known]) -> Iterator[str]:
    """A row per variant: on which tables it would not be good enough, were it the default."""
    yield (
        "| were it the default | tables | mean over the default | below the probe | more than an "
        "error below what is chosen on dev | below the probe on dev |"
    )
    yield "|---|--:|--:|---|---|---|"
    for variant in _variants(found):
        there = {name: tried for name, tried in found.items() if variant in tried}
        gains = [each[variant].beyond(each[DEFAULT], "test")[0] for each in there.values()]
        below, below_dev = (
            [name for name, each in there.items() if not is_above(each[variant], known[name], on)]
            for on in ("test", "dev")
        )
        behind = [n for n, each in there.items() if not is_near(each[variant], each[chosen(each)])]
        numbers = [variant, str(len(there)), _signed(np.mean(gains))]
        yield _row([*numbers, *map(_counted, (below, behind, below_dev))])


def _of_table(name: str, tried: Mapping[str, Tried], known: Known) -> Iterator[str]:
    """A row per variant of one table, the best on dev first."""
    probe, usual = known.probe, known.usual
    yield (
        f"**{name}**, {known.metric}: probe {probe['dev']:.4f} on dev, {probe['test']:.4f} on test;"
        f" usual answer {usual['test']:.4f} on test"
    )
    yield ""
    yield (
        "| variant | seeds | dev | test | ± by rows | spread over seeds | over the default | "
        "over the probe | above the probe | within one error of the first | kept its start |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|---|--:|"
    order = sorted(tried, key=lambda variant: -tried[variant].score("dev"))
    best = tried[chosen(tried)]
    for variant in order:
        one = tried[variant]
        beyond, error = one.beyond(tried[DEFAULT], "test")
        yield _row(
            [
                variant,
                str(len(one.value_SB["test"])),
                f"{one.score('dev'):.4f}",
                f"{one.score('test'):.4f}",
                f"{one.row_error('test'):.4f}",
                f"{one.seed_spread('test'):.4f}",
                "" if variant == DEFAULT else f"{_signed(beyond)} ±{error:.3f}",
                _signed(one.score("test") - probe["test"]),
                _said(is_above(one, known)),
                _said(is_near(one, best)),
                str(one.starts),
            ]
        )


def _all_of(found: Found, split: str) -> Iterator[str]:
    """A row per table, a column per variant; at the end the mean difference to the default."""
    variants = _variants(found)
    yield _row([split, *variants])
    yield "|---" + "|--:" * len(variants) + "|"
    for name, tried in found.items():
        cells = (f"{tried[v].score(split):.4f}" if v in tried else "–" for v in variants)
        yield _row([name, *cells])
    means = []
    for variant in variants:
        beyond = [t[variant].beyond(t[DEFAULT], split)[0] for t in found.values() if variant in t]
        means.append(f"{_signed(np.mean(beyond))} ({len(beyond)})")
    yield _row(["mean over the default", *means])


def _variants(found: Found) -> list[str]:
    return list(dict.fromkeys(variant for tried in found.values() for variant in tried))


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _signed(value: float | np.floating[Any]) -> str:
    return f"{round(float(value), 4) + 0.0:+.4f}"  # no -0.0000


def _said(is_so: bool) -> str:
    return "yes" if is_so else "**no**"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _counted(names: list[str]) -> str:
    return f"{len(names)}: {_listed(names)}" if names else "none"
