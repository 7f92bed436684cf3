"""How fast a worker gets through its batches, of late."""

HALF_LIFE_S = 10.0
"""Of being busy, after which a batch counts half."""


class Speed:
    """Tokens per second of a busy worker, as a moving figure; the last batches count most."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """A batch that was computed, from when it was given until it was heard."""
        kept = 0.5 ** (seconds / HALF_LIFE_S)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds

    @property
    def tokens_per_s(self) -> float:
        """Of one worker; 0 before the first batch."""
        return self._tokens / self._seconds if self._seconds > 0 else 0.0
