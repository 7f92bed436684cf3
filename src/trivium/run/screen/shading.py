"""An explained answer on a terminal: its words, the stronger the more they did."""

from rich.console import Console
from rich.text import Text

from trivium.answering.occlusion import Explanation, Word
from trivium.run.screen.console import say
from trivium.run.screen.grid import Grid, print_grid
from trivium.run.screen.harmless import harmless

WORDS_SHOWN = 12
BAR = 20
"""Characters of the longest bar."""
_FAINT = 0.2
"""A word that did less than so much of what the strongest one did is not coloured."""


def print_explanation(found: Explanation, console: Console) -> None:
    """The texts with what spoke for the answer and against it, and the strongest words."""
    value = f"{found.value:.4g}"
    about = f"{found.about} {value}" if found.about != "score" else value
    other = f" (the answer is {found.answer})" if found.answer not in (found.about, "") else ""
    other = other if found.about != "score" else ""
    say(console, (found.task, "bold"), f": {about}{other}")
    most = max((abs(word.effect) for word in found.words), default=0.0) or 1.0
    for place, text in enumerate(found.texts):
        own = [word for word in found.words if word.place.text == place]
        say(console, _shaded(text, own, most))
    grid = Grid("what is lost without a word")
    for column in ("word", "effect", ""):
        grid.add_column(column)
    for word in found.strongest[:WORDS_SHOWN]:
        bar = "#" * round(BAR * abs(word.effect) / most)
        grid.add_row(word.word, f"{word.effect:+.4f}", Text(bar, style=_style(word, most)))
    print_grid(grid, console)
    if len(found.words) > WORDS_SHOWN:
        say(console, f"and {len(found.words) - WORDS_SHOWN:,} more words that did less")


def _shaded(text: str, words: list[Word], most: float) -> Text:
    shaded = Text(harmless(text))  # before a Text leaves some out, and the places are others
    for word in words:
        shaded.stylize(_style(word, most), word.place.start, word.place.end)
    return shaded


def _style(word: Word, most: float) -> str:
    if abs(word.effect) < _FAINT * most:
        return ""
    strong = "bold " if abs(word.effect) > most / 2 else ""
    return f"{strong}{'green' if word.effect > 0 else 'red'}"
