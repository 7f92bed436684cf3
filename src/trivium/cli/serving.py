"""The command that keeps a model answering. It imports what it needs when it runs."""

import os
from typing import Annotated, Any

import typer

from trivium.cli.options import STOPPED, RunPath, messages
from trivium.run.screen.console import say

WHO, HOW, LIMITS, END, LOG = "Where and for whom", "Computing", "Limits", "The end", "Log"


def _flag(name: str, panel: str, help_: str, **more: Any) -> Any:
    """An option that the environment can set, too."""
    variable = "TRIVIUM_" + name.upper().replace("-", "_")
    return typer.Option(f"--{name}", envvar=variable, help=help_, rich_help_panel=panel, **more)


Name = Annotated[
    str | None, _flag("name", WHO, "What clients call the model; else as RUN's folder is called.")
]
Host = Annotated[str, _flag("host", WHO, "Address to listen on; 0.0.0.0 lets other machines in.")]
Port = Annotated[int, _flag("port", WHO, "0: any that is free. The address is printed.")]
ApiKeys = Annotated[
    list[str] | None,
    _flag(
        "api-key",
        WHO,
        "A key that opens the server, sent as [bold]Authorization: Bearer KEY[/]; repeatable. "
        "[bold]@FILE[/] holds one on each line. Without any, everybody may ask.",
        metavar="KEY",
    ),
]
MetricsKey = Annotated[bool, _flag("metrics-key", WHO, "Ask for a key at /metrics, too.")]
Origins = Annotated[
    list[str] | None,
    _flag(
        "allow-origin",
        WHO,
        "Let web pages from there ask, such as https://app.example; repeatable; *: any page.",
        metavar="ORIGIN",
    ),
]
Workers = Annotated[
    int, _flag("workers", HOW, "Processes that compute; 0: one per GPU, or per core.")
]
Precision = Annotated[
    str, _flag("precision", HOW, "fp32, bf16, or auto: as trained, where the device has it.")
]
Device = Annotated[str, _flag("device", HOW, "auto, cpu, cuda or cuda:N.")]
Backend = Annotated[
    str, _flag("backend", HOW, "torch, onnx, openvino, or auto: what RUN was written for.")
]
BatchTokens = Annotated[
    int, _flag("batch-tokens", HOW, "At most so many are computed at once, if so many wait.")
]
MaxRows = Annotated[int, _flag("max-rows", LIMITS, "Of one request; beyond it: 413.")]
MaxBodyBytes = Annotated[int, _flag("max-body-bytes", LIMITS, "Of one request; beyond it: 413.")]
MaxQueueRows = Annotated[int, _flag("max-queue-rows", LIMITS, "That may wait; beyond it: 429.")]
MaxQueueTokens = Annotated[
    int,
    _flag(
        "max-queue-tokens",
        LIMITS,
        "That may wait; beyond it: 429. More than are computed while anybody waits are of no use.",
    ),
]
MaxWait = Annotated[
    float,
    _flag("max-wait", LIMITS, "Seconds of work that may wait, as fast as it goes; beyond it: 429."),
]
Timeout = Annotated[
    float,
    _flag("timeout", LIMITS, "Seconds for a request; what is not computed by then: 504."),
]
DrainDelay = Annotated[
    float,
    _flag(
        "drain-delay",
        END,
        "Seconds after SIGTERM in which requests are still taken while /health/ready says no: "
        "as long as your balancer takes to notice.",
    ),
]
Grace = Annotated[float, _flag("grace", END, "Seconds after that to finish what was asked.")]
LogTexts = Annotated[bool, _flag("log-texts", LOG, "Write the texts into the log, too.")]
LogLevel = Annotated[
    str, _flag("log-level", LOG, "info: a line per request; warning: only where the server failed.")
]


def serve(
    context: typer.Context,
    run: RunPath,
    name: Name = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_keys: ApiKeys = None,
    metrics_key: MetricsKey = False,
    allow_origin: Origins = None,
    workers: Workers = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    backend: Backend = "auto",
    batch_tokens: BatchTokens = 2048,
    max_rows: MaxRows = 1024,
    max_body_bytes: MaxBodyBytes = 4 * 2**20,
    max_queue_rows: MaxQueueRows = 4096,
    max_queue_tokens: MaxQueueTokens = 2**17,
    max_wait_s: MaxWait = 3.0,
    timeout_s: Timeout = 30.0,
    drain_delay_s: DrainDelay = 5.0,
    grace_s: Grace = 30.0,
    log_texts: LogTexts = False,
    log_level: LogLevel = "info",
) -> None:
    """Answer over HTTP: all tasks of a run, or of an ensemble, at once.

    One process reads, checks and queues; the others compute. The environment
    can set each flag: --max-rows as [bold]TRIVIUM_MAX_ROWS[/]. The log, a line of
    JSON per request, goes to standard output, without texts. SIGTERM drains, a
    second signal stops at once. Needs trivium\\[serve]; docs/serve.md tells all.

    Example: trivium serve runs/first; and in another terminal
    curl localhost:8000/v1/predict -d '{"rows": {"message": "Where is my parcel?"}}'
    """
    with messages() as console:
        from trivium.apps.serve.installed import refuse_missing

        refuse_missing()
        from trivium.apps.serve.given import service_of, settings_of
        from trivium.apps.serve.running import serve as serve_until_stopped

        settings = settings_of(run, context.params, os.environ)
        finished = serve_until_stopped(
            lambda: service_of(run, settings),
            settings,
            lambda url: say(console, f"serving: {url}"),
        )
        if not finished:
            raise typer.Exit(STOPPED)
