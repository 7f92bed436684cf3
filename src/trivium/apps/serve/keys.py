"""Keys: who may ask."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from trivium.apps.serve.errors import Problem
from trivium.errors import RecipeError

OPEN = {"/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
"""Paths that ask for no key. The page at `/` holds nothing of the data then."""

VARIABLE = "TRIVIUM_API_KEY"
"""In which keys may stand, set apart by blanks."""


class Keys:
    """What was given to `--api-key`; none of them: everybody may ask."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.digests = [_digest(key.encode()) for key in keys]

    def refuse_others(self, header: str | None) -> None:
        """Raises Problem unless the header Authorization holds a key. Takes as long for any key
        that is wrong, so that none can be found out letter by letter."""
        kind, _, given = (header or "").partition(" ")
        digest = _digest(given.strip().encode("latin-1", "replace"))
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        if kind.lower() == "bearer" and any(matches):
            return
        why = "is missing" if not header else "is none of this server's"
        challenge = "Bearer" if not header else 'Bearer error="invalid_token"'
        message = f"the key {why}; send the header Authorization: Bearer KEY."
        raise Problem(401, "unauthorized", message, headers={"www-authenticate": challenge})


def refuse_no_key(environment: Mapping[str, str]) -> None:
    """Raises RecipeError where a key is meant to be in the environment, and is not: a secret that
    was not filled in would leave the server open to all, without a word."""
    if not environment.get(VARIABLE, "a key or none").strip():
        raise RecipeError(
            f"{VARIABLE}: is set, and holds no key. Set a key, or unset it, so that everybody may "
            "ask."
        )


def read_keys(given: Sequence[str]) -> tuple[str, ...]:
    """Keys as they are given: each itself, or `@FILE` with one on each line. Raises RecipeError."""
    keys: list[str] = []
    for each in given:
        if not each.startswith("@"):
            keys.append(each)
            continue
        try:
            lines = Path(each[1:]).read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise RecipeError(f"--api-key {each}: cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise RecipeError(f"--api-key {each}: holds no key; write one on each line.")
        keys += found
    for key in keys:
        if not key.isascii() or not key.isprintable() or " " in key or not key:
            raise RecipeError("--api-key: a key is letters, digits and signs of ASCII, no blanks.")
    return tuple(dict.fromkeys(keys))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
