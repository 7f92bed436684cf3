"""`trivium predict`: of one table, or of many. Imports its verb when it runs; see `trivium.cli`."""

from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from trivium.cli.options import (
    Address,
    AnswersFile,
    Backend,
    Device,
    EveryTask,
    Gpus,
    InOneColumn,
    LeastCertain,
    Memory,
    OverwriteFile,
    Precision,
    Prefix,
    RunOrName,
    ShardCpus,
    ShardsAtOnce,
    TableForm,
    TaskNames,
    TopK,
    Where,
    WithProbabilities,
    messages,
)
from trivium.garbage import without_collection
from trivium.run.screen.console import say

Tables = Annotated[
    list[str],
    typer.Option(
        "--file",
        help="Table of texts (.csv .tsv .jsonl .parquet), or - (CSV, TSV). Several, a folder, or a "
        "pattern such as [bold]'in/*.csv'[/]: then OUT is a folder. They, and it, may be URLs "
        "(s3://, …).",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="K/N", help="Of many files the share 3/8: the third of eight."),
]


def predict(
    run: RunOrName,
    file: Tables,
    task: TaskNames = None,
    every: EveryTask = False,
    out: AnswersFile = "-",
    probabilities: WithProbabilities = False,
    as_json: InOneColumn = False,
    top_k: TopK = None,
    least_certain: LeastCertain = None,
    form: TableForm = "table",
    prefix: Prefix = "",
    overwrite: OverwriteFile = False,
    precision: Precision = "auto",
    device: Device = "auto",
    backend: Backend = "auto",
    shard: Shard = None,
    on: Where = "here",
    address: Address = None,
    cpus: ShardCpus = None,
    memory: Memory = None,
    gpus: Gpus = None,
    at_once: ShardsAtOnce = None,
) -> None:
    """Answer every row of a table, in its order, keeping its columns; any size of file.

    Of many tables each has answers of its name in the folder OUT; what is
    answered already is skipped.

    Examples: trivium predict runs/three --task sentiment --file in.csv --out out.csv;
    trivium predict runs/three --all --file 'in/*.csv' --out answers
    """
    with messages() as console:
        how = {
            "task": _asked(task, every=every), "top_k": top_k, "form": form, "prefix": prefix,
            "probabilities": _wanted(probabilities, as_json=as_json), "overwrite": overwrite,
            "precision": precision, "device": device, "backend": backend, "console": console,
        }  # fmt: skip
        where = (on, address, cpus, memory, gpus, at_once)
        _answer(run, file, out, how, shard, where, least_certain)


def _answer(
    run: Any,
    files: list[str],
    out: str,
    how: dict[str, Any],
    shard: str | None,
    where: tuple[Any, ...],
    least_certain: int | None,
) -> None:
    """Raises RecipeError."""
    with without_collection():
        from trivium.apps.batch.files import are_many, shard_of
        from trivium.errors import RecipeError
        from trivium.run.assembly.machine import keep_few_kernels
        from trivium.run.cluster.asked import OnHere, asked_for
        from trivium.run.predict import predict_file

    keep_few_kernels()
    console: Console = how["console"]
    cluster = asked_for(*where)
    if isinstance(cluster, OnHere):
        raise RecipeError(
            "--jobs: here one table has all cores; several at a time are answered with --on ray, "
            "or by several commands, each with its --shard."
        )
    if shard is None and cluster is None and not are_many(files):
        rows = predict_file(run, source=files[0], target=out, least_certain=least_certain, **how)
        kept = f", the {least_certain:,} least certain kept" if least_certain else ""
        say(console, f"{rows:,} rows answered{kept}" + (f": {out}" if out != "-" else ""))
        return
    if least_certain is not None or "-" in (out, *files):
        raise RecipeError(
            "--file: of many tables, each has answers of its own in a folder; name it with --out, "
            "and leave - and --least-certain out."
        )
    from trivium.apps.batch import predict_files

    share = (1, 1) if shard is None else shard_of(shard)
    found = predict_files(run, sources=files, out=out, shard=share, on=cluster, **how)
    known = f", {found['skipped']:,} were there" if found["skipped"] else ""
    say(console, f"{found['files']:,} files answered{known}, {found['rows']:,} rows: {out}")


def _wanted(probabilities: bool, *, as_json: bool) -> "bool | Literal['json']":
    """What `predict_file` calls the probabilities. Raises RecipeError."""
    from trivium.errors import RecipeError

    if as_json and not probabilities:
        raise RecipeError("--json: says how --probabilities are written; give both.")
    return "json" if as_json else probabilities


def _asked(task: str | None, *, every: bool) -> str | list[str] | None:
    """What `predict_file` calls the tasks. Raises RecipeError."""
    from trivium.errors import RecipeError

    if (task is None) != every:
        raise RecipeError("say which question to answer: --task NAME (or NAME,NAME), or --all.")
    names = [name.strip() for name in (task or "").split(",")]
    return None if every else names if len(names) > 1 else names[0]
