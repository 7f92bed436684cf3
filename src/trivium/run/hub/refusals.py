"""What the hub, or the way to it, answers instead of doing what was asked: in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from trivium.errors import RecipeError, first_line
from trivium.run.folder.names import MANIFEST

_bases = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
# Its own class for answers, and whatever class of errors its library of HTTP has: that library has
# changed before.
HUB_ERRORS: tuple[type[Exception], ...] = (OSError, *_bases)
# The library raises the last two for what a server says while files go up.
_TOLD: tuple[type[Exception], ...] = (*HUB_ERRORS, ValueError, RuntimeError)
_LOG_IN = "Log in (`hf auth login`), or set HF_TOKEN"


@contextmanager
def as_told(name: str, revision: str | None = None, instead: str = "") -> Iterator[None]:
    """What goes wrong with the hub within the block, as one RecipeError.

    name: of the model; instead: what else the name could have been, and is not.
    """
    try:
        yield
    except RecipeError:
        raise
    except _TOLD as error:
        raise RecipeError(f"{name}: {instead}{_in_words(error, revision)}") from error


def is_away(error: BaseException) -> bool:
    """Whether nobody answered, or only that the server is out of order."""
    if isinstance(error, HfHubHTTPError):
        return bool(error.response.status_code >= 500)
    return isinstance(error, HUB_ERRORS) and not isinstance(error, EntryNotFoundError)


def _in_words(error: BaseException, revision: str | None) -> str:
    hub = constants.ENDPOINT
    known = {
        HFValidationError: "is no name that the hub allows: user/name, of letters, digits, - _ .",
        OfflineModeIsEnabled: "the hub is not asked, since HF_HUB_OFFLINE is set. Unset it.",
        GatedRepoError: f"is given only to those who asked for it: {hub}; then {_LOG_IN}.",
        RevisionNotFoundError: f"the hub's model has no revision {revision!r}.",
        LocalEntryNotFoundError: f"the hub could not be reached at {hub}. Try again when it can.",
        EntryNotFoundError: f"what the hub has of that name holds no {MANIFEST}: it is no model of "
        "Trivium.",
        RepositoryNotFoundError: f"{hub} has no model of that name"
        + (
            ", or it is private and your token may not read it. Check the name and the token."
            if get_token()
            else f", or it is private. Check the name. For a private one: {_LOG_IN}."
        ),
    }
    for kind, words in known.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, HfHubHTTPError):
        return _of_status(error, hub)
    first = first_line(error).rstrip(".")
    if isinstance(error, HUB_ERRORS):
        return f"the hub could not be reached at {hub} ({first}). Try again when it can."
    cause = error.__cause__
    if isinstance(error, RuntimeError) and cause is not None and isinstance(cause, HUB_ERRORS):
        return _in_words(cause, revision)  # of one file among several
    return f"the hub did not take it: {first}"


def _of_status(error: HfHubHTTPError, hub: str) -> str:
    status = error.response.status_code
    said = error.server_message or first_line(error).rstrip(".")
    if status == 401:
        token = "does not know your token" if get_token() else "wants a token"
        return f"{hub} {token} (401). {_LOG_IN}, of somebody who may do this."
    if status == 403:
        return f"{hub} does not let your token do this (403: {said}). Use one that may write there."
    if status == 429:
        return f"{hub} wants fewer requests (429). Wait a little, and try again."
    if status >= 500:
        return f"{hub} is out of order ({status}). Try again later."
    return f"{hub} refused ({status}: {said})."
