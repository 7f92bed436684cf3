"""Plain YAML, read and written: data only, and words stay as they are written."""

import re
from pathlib import Path
from typing import Any

import yaml

from trivium.errors import RecipeError, first_line

MOST_BYTES = 16 * 2**20
MOST_VALUES = 1_000_000


def read_yaml(path: Path) -> dict[str, Any]:
    """The table in a YAML file. Raises RecipeError with the line of what is no plain YAML."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise RecipeError(f"{path}: has {size >> 20:,} MiB, which no recipe needs.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe.") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a folder; name the recipe's YAML file.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        values = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{path}{line}: not plain YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not plain YAML: {first_line(error)}") from None
    if not isinstance(values, dict):
        kinds = {list: "a list", type(None): "empty"}
        found = kinds.get(type(values), f"the single value {values!r}")
        raise RecipeError(
            f"{path}: a recipe is a table of settings (encoder, data, tasks, stages); "
            f"this is {found}."
        )
    return values


def parse_yaml(text: str) -> Any:
    """A value in YAML; what stands in it by an alias is a copy. Raises yaml.YAMLError."""
    try:
        values = yaml.load(text, _Loader)
        if _size(values, {}) > MOST_VALUES:  # a few aliases of aliases can stand for billions
            raise yaml.YAMLError(f"holds more than {MOST_VALUES:,} values, aliases written out")
        return unshared(values)
    except RecursionError:
        raise yaml.YAMLError("lists or tables stand too deep inside one another") from None
    except ValueError as error:  # a number of thousands of digits
        raise yaml.YAMLError(str(error)) from None


def _size(value: Any, known: dict[int, int]) -> int:
    """Values within a value, itself included; what stands in several places counts in each."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known) for each in inner)
    return known[id(value)]


def unshared(value: Any) -> Any:
    """A copy whose tables and lists are each in one place, so that each can be changed alone.

    `copy.deepcopy` would keep a table that stands in two places as one.
    """
    if isinstance(value, dict):
        return {key: unshared(each) for key, each in value.items()}
    return [unshared(each) for each in value] if isinstance(value, list) else value


def write_yaml(values: Any) -> str:
    """Values as YAML that our loader, and others, read back as they were."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def write_inline(value: Any) -> str:
    """One value on one line, to stand behind a key."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return text.removesuffix("...\n").rstrip("\n")


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags, a key twice is an error, and words stay words (see below)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise yaml.constructor.ConstructorError(
                None, None, f"a recipe has no use for the tag {tag!r}", event.start_mark
            )
        return super().compose_node(parent, index)


# YAML 1.1 takes yes and on for true, True in a table for true, 010 for 8, 12:30 for 750, = and
# dates for values of their own, and 5e-5 for text. Labels are to be read as they are written.
_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [rule for rule in rules if rule[0].rpartition(":")[2] in ("null", "merge")])
}
_NUMBER_STARTS = list("-+.0123456789")
for _kind, _pattern, _starts in (
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", _NUMBER_STARTS),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.inf|\.nan",
        _NUMBER_STARTS,
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _starts
    )


class _Dumper(yaml.SafeDumper):
    """Quotes what our loader, or anybody else's, would take for something other than text."""


_Dumper.yaml_implicit_resolvers = {
    first: _Loader.yaml_implicit_resolvers.get(first, [])
    + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
    for first in {*_Loader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Unless escaped, these count as line breaks, which YAML folds.
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if not isinstance(key, str):
            problem = "a key is one word or number, not a list or a table"
        elif key in seen:
            problem = f"the key {key!r} stands here twice"
        else:
            seen.add(key)
            continue
        raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Those between stand for bytes of file names that are not UTF-8."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """Where JSON escapes what is beyond U+FFFF it writes two halves, which YAML leaves apart."""
    text: str = loader.construct_scalar(node)
    whole = _PAIR.sub(lambda two: two[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    if lone := _LONE.search(whole):
        problem = f"\\u{ord(lone[0]):04x} is half a character"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return whole


_Loader.add_constructor("tag:yaml.org,2002:str", _text)
