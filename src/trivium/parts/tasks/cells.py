"""What stands in a label column, in one spelling."""


def canonical(cell: str) -> str:
    """Numbers in one spelling ('1.0' -> '1'); other labels without surrounding space."""
    cell = cell.strip()
    try:
        number = float(cell)
    except ValueError:
        return cell
    # Beyond 2**53 different whole numbers would become one; inf and nan are no numbers here.
    if "_" in cell or not abs(number) < 2**53:
        return cell
    return repr(int(number)) if number.is_integer() else repr(number)


def as_text(value: object) -> str:
    """A YAML value as it stands in a table's cell. Raises ValueError."""
    if value is None:
        raise ValueError("holds an empty label; put null in quotes if it is the label's name")
    return str(value).lower() if isinstance(value, bool) else str(value)
