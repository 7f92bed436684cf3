"""What pages and docstrings hold to be tried: code blocks, commands, code within a line."""

import ast
import doctest
import inspect
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

import trivium

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))
_PROGRAMS = ("trivium", "torchrun", "make", "pip", "python3", ".venv/bin/")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: str
    line: int
    """Of its first line in the page, from 1."""
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        return self.language in ("", "bash") and self.text.startswith(_PROGRAMS)


@dataclass(frozen=True)
class Command:
    """A command line, as the shell hands it on; `*` is not replaced."""

    place: str
    words: tuple[str, ...]

    @property
    def ours(self) -> tuple[str, ...]:
        """What `trivium` is given, also by `torchrun`; nothing for another program."""
        return self.words[self.words.index("trivium") + 1 :] if "trivium" in self.words else ()


def blocks(page: str) -> list[Block]:
    found, fence, held = [], "", list[str]()
    for number, line in enumerate((ROOT / page).read_text("utf-8").splitlines(), start=1):
        if line.startswith("```") and fence:
            start = number - len(held)
            found.append(Block(page, start, fence.removeprefix("```").strip(), "\n".join(held)))
            fence, held = "", []
        elif line.startswith("```"):
            fence = line
        elif fence:
            held.append(line)
    assert not fence, f"{page}: a block is not closed"
    return found


def commands(page: str) -> list[Command]:
    """Every command line of a page's blocks, in its order."""
    return [
        Command(block.place, tuple(words))
        for block in blocks(page)
        if block.is_shell
        for line in block.text.replace("\\\n", " ").splitlines()
        for part in line.split(" && ")
        if (words := shlex.split(part, comments=True))
    ]


def spans(page: str) -> list[str]:
    """Code that stands within the text of a page."""
    text = (ROOT / page).read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def example(text: str) -> str:
    """The code that a docstring shows: after >>>, or else its indented blocks; "" for none."""
    if found := doctest.DocTestParser().get_examples(text):
        return "".join(each.source for each in found)
    indented = re.findall(r"(?:^ {4}.*\n|^\n)+", f"{inspect.cleandoc(text)}\n", re.MULTILINE)
    return "\n".join(textwrap.dedent(block) for block in indented).strip()


def refuse_wrong_calls(code: str) -> None:
    """Names of trivium that do not exist, and arguments that a function of it does not take."""
    if not re.search(r"trivium\.\w+\(", code):
        return
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "trivium":
            names = [keyword.arg for keyword in node.keywords if keyword.arg]
            signature = inspect.signature(getattr(trivium, node.func.attr))
            signature.bind(*node.args, **dict.fromkeys(names))
