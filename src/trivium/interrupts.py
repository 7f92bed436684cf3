"""Ctrl-C while the program is still being loaded."""

import os
import signal
from types import FrameType


def end_while_loading() -> None:
    """Have Ctrl-C end the process at once where a module is being loaded, with exit code 130.

    A KeyboardInterrupt raised in there may be lost: modules catch what they import, and code that
    they compile calls it a syntax error. Elsewhere it is raised as ever. A process that was started
    to ignore Ctrl-C goes on doing so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, b"stopped\n")
            os._exit(130)  # nothing was begun that would have to be tidied up
        frame = frame.f_back
    signal.default_int_handler(number, None)
