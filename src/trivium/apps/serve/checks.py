"""What a body says, checked: every mistake with its place, and rows as what is asked of tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trivium.answering.form import Form
from trivium.answering.rows import Wanted, answered_by, none_fits
from trivium.apps.serve.errors import Detail, Faults, Problem, found_text
from trivium.apps.serve.settings import MAX_CHARACTERS, MAX_DETAILS

A_TEXT = f"a text of up to {MAX_CHARACTERS:,} characters"


def check_keys(
    value: Any, allowed: Sequence[str], required: Sequence[str], where: str = "body"
) -> dict[str, Any]:
    """An object with these keys and no others. Raises Problem."""
    faults = Faults()
    if not isinstance(value, dict):
        faults.add(where, found_text(value), f"an object with {' and '.join(required)}")
        faults.refuse()
    inside = "" if where == "body" else f"{where}."
    for key in value:
        if key not in allowed:
            faults.add_unknown(f"{inside}{key[:80]}", key, allowed, "a key out of")
    for key in required:
        if key not in value:
            faults.add(f"{inside}{key}", "nothing", "a key that must be there")
    faults.refuse()
    found: dict[str, Any] = value
    return found


def check_flag(body: Mapping[str, Any], key: str) -> bool:
    """Raises Problem."""
    value = body.get(key, False)
    if not isinstance(value, bool):
        refuse(key, found_text(value), "true or false")
    return bool(value)


def check_top_k(body: Mapping[str, Any], where: str = "top_k") -> int | None:
    """How many labels are wanted; None: not said. Raises Problem."""
    value = body.get("top_k")
    if value is None:
        return None
    if not is_count(value):
        refuse(where, found_text(value), "a whole number from 1 on")
    return int(value)


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 1 on, of no absurd size; to JSON 2.0 is one, too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 1 <= value <= 2**31 and value == int(value)


def check_tasks(body: Mapping[str, Any], forms: Mapping[str, Form]) -> list[str] | None:
    """The tasks that are named; None: not said. Raises Problem."""
    value = body.get("tasks")
    if value is None:
        return None
    faults = Faults()
    if not isinstance(value, list) or not value:
        refuse("tasks", found_text(value), "a list with one task's name at least")
    if len(value) > len(forms) + MAX_DETAILS:  # more mistakes than would be listed
        refuse("tasks", found_text(value), f"every task once, of {len(forms)}")
    named: set[str] = set()
    for place, name in enumerate(value):
        if not isinstance(name, str):
            faults.add(f"tasks[{place}]", found_text(name), "a task's name")
        elif name not in forms:
            faults.add_unknown(f"tasks[{place}]", name, forms, "a task out of")
        elif name in named:
            faults.add(f"tasks[{place}]", found_text(name), "every task once")
        else:
            named.add(name)
    faults.refuse()
    return list(value)


def refuse_too_many(rows: int, limit: int, where: str = "rows") -> None:
    """Raises Problem."""
    if rows > limit:
        detail = Detail(where, f"{rows:,} rows", f"up to {limit:,}", "send several requests")
        message = f"{where}: found {rows:,} rows; allowed are {limit:,} (max_rows of /v1/info)."
        raise Problem(413, "too_many_rows", message, [detail])


def check_rows(
    value: Any, forms: Mapping[str, Form], tasks: Sequence[str] | None
) -> tuple[Wanted, int]:
    """Rows by column, as what they ask of the tasks that they have the columns of, or of `tasks`;
    and how many they are. One row may stand alone. forms: that answer. Raises Problem."""
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        refuse("rows", found_text(value), "a list of rows, one at least")
    columns = {column for form in forms.values() for column in form.text}
    chosen = forms if tasks is None else {name: forms[name] for name in tasks}
    fitting: dict[frozenset[str], Mapping[str, Form]] = {}
    wanted, faults = Wanted(), Faults()
    for number, row in enumerate(rows):
        if not _is_row(row, columns, f"rows[{number}]", faults):
            continue
        has = frozenset(row)
        if has not in fitting:
            fitting[has] = answered_by(chosen, row)
        asked = fitting[has]
        if not asked or (tasks is not None and len(asked) < len(chosen)):
            _cannot_be_asked(f"rows[{number}]", row, chosen, asked, faults)
            continue
        for name, form in asked.items():
            wanted.add(name, number, tuple([row[column] for column in form.text]))
    faults.refuse()
    return wanted, len(rows)


def text_fault(value: Any) -> tuple[str, str, str] | None:
    """What is wrong with a cell: what was found, what is allowed, a hint."""
    if not isinstance(value, str):
        hint = 'leave the column out, or send ""' if value is None else "send it as a text"
        return found_text(value), A_TEXT, hint
    if len(value) > MAX_CHARACTERS:
        return f"{len(value):,} characters", A_TEXT, "cut it, or ask about its parts"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"half of a surrogate pair at character {error.start}"
            return found, "Unicode characters", "send a text that was cut between characters"
    return None


def refuse(where: str, found: str, allowed: str, hint: str = "") -> None:
    """Raises Problem for one place."""
    faults = Faults()
    faults.add(where, found, allowed, hint)
    faults.refuse()


def _is_row(row: Any, columns: Iterable[str], where: str, faults: Faults) -> bool:
    if not isinstance(row, dict):
        faults.add(where, found_text(row), "a row: an object of texts by column")
        return False
    before = faults.count
    for column, cell in row.items():
        if column not in columns:
            what = "a column that a task reads, out of"
            faults.add_unknown(f"{where}.{column[:80]}", column, sorted(columns), what)
        elif (fault := text_fault(cell)) is not None:
            faults.add(f"{where}.{column}", *fault)
    return faults.count == before


def _cannot_be_asked(
    where: str,
    row: Mapping[str, str],
    chosen: Mapping[str, Form],
    asked: Mapping[str, Form],
    faults: Faults,
) -> None:
    if not faults.are_listed:
        faults.count += 1
        return
    found = f"columns {', '.join(map(repr, row))}" if row else "no column"
    lacking = {name: form for name, form in chosen.items() if name not in asked}
    faults.add(where, found, "columns of a task: " + _reads(lacking), none_fits(lacking, row))


def _reads(forms: Mapping[str, Form]) -> str:
    return "; ".join(f"{n!r} reads {' and '.join(map(repr, f.text))}" for n, f in forms.items())
