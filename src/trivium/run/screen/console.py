"""What the program says on a terminal: from one place, and never as markup.

Labels, texts, names and paths are people's: `[/INST]` may be a label, and `train.csv:100:` is a
line. So all that is said here is `Text`, whose style is no part of it, whatever a caller's console
would make of strings; and what a terminal would obey, an escape sequence in a label, is `harmless`.
"""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import StringIO, TextIOBase
from typing import IO, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from trivium.run.screen.harmless import Part, harmless, harmless_text

PAGE_WIDTH = 100
"""Characters of a line in a notebook."""
_PAGE = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{code}</pre>'


def heard_on(console: Console | None) -> Console:
    """A caller's console, or else the program's own, on standard error."""
    return plain_console() if console is None else console


def plain_console(file: IO[str] | None = None, width: int | None = None) -> Console:
    """The one kind of console that the program makes: a string on it is what it is.

    file: by default standard error, or in a notebook, which shows that as a mistake, standard
    output. Where that is closed, or leads to a full disk, nobody hears what is said, and work goes
    on.
    """
    is_ours = file is None and in_notebook()
    if file is None:
        file = cast(IO[str], _Unfailing(sys.stdout if is_ours else sys.stderr))
    return _Console(
        file=file,
        width=PAGE_WIDTH if is_ours and width is None else width,
        markup=False,
        emoji=False,
        highlight=False,
        # A kernel asks for colours by the environment, by which rich takes a page for a terminal.
        force_terminal=False if is_ours else None,
        force_jupyter=False,
    )


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Loads nothing for it."""
    library = sys.modules.get("IPython")
    shell = library.get_ipython() if library is not None else None
    return hasattr(shell, "kernel")  # IPython at a terminal has none


def is_page(console: Console) -> bool:
    """Whether what is said there is read in a notebook."""
    return in_notebook() and (console.is_jupyter or isinstance(console.file, _Unfailing))


def in_both_forms(shown: RenderableType) -> dict[str, str]:
    """What a notebook displays: what is people's is text in both forms, never markup."""
    console = plain_console(StringIO(), PAGE_WIDTH)
    console.record = True
    console.print(shown)
    page = console.export_html(inline_styles=True, code_format=_PAGE, clear=False)
    return {"text/plain": console.export_text(), "text/html": page}


def say(console: Console, *parts: Part, style: str = "", wraps: bool = False) -> None:
    """A line; it stays one however long it is, unless it `wraps`, as above a live part.

    style: of the whole.
    """
    line = harmless_text(*parts, style=style)
    console.print(line, soft_wrap=not wraps, highlight=False)


def note(console: Console, text: str) -> None:
    """Something that people should know, though nothing is wrong."""
    say(console, ("note", "yellow"), f" {text}")


def warn(console: Console, text: str) -> None:
    """Something that people should change, though a result is there."""
    say(console, ("warning", "bold yellow"), f" {text}")


def silence(stream: TextIO | None) -> None:
    """Send what is still to be written to a stream nowhere: it could not be written, and would be
    tried, and fail, once more when the program ends. None: it was closed by a shell."""
    if stream is None:
        return
    with suppress(OSError), open(os.devnull, "wb") as nowhere:  # OSError: it is no file at all
        os.dup2(nowhere.fileno(), stream.fileno())


def settle(stream: TextIO | None) -> None:
    """Hand over what is still to be written to a stream, or else silence it."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        silence(stream)


class _Console(Console):
    """One that no words can steer, however they came to it: the last door of what is shown."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)


class _Unfailing(TextIOBase):
    """Standard error, whose failures nobody could be told of; None: it was closed by a shell."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding if self._stream else "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno() if self._stream else super().fileno()

    def write(self, text: str) -> int:
        if self._stream:
            self._guarded(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        if self._stream:
            self._guarded(lambda stream: stream.flush())

    def _guarded(self, use: Callable[[TextIO], object]) -> None:
        assert self._stream is not None
        try:
            use(self._stream)
        except BrokenPipeError:  # whoever listened went away, as `head` does: the program ends
            raise
        except OSError:
            silence(self._stream)
