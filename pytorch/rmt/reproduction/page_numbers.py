"""Numbers inside the sentences of pages, which are those of tables.

A number is named before it, by a table's file, the row's first cells and the column, and has as
many digits as the sentence gives it:

    Ten tokens are at <!-- table4 | RMT BPTT-0 | 10 | 50 | mini -->210.6 with BPTT-0.

One that is written with a sign keeps a sign, and behind a ± stands what the cell has behind its
own. No line may begin with such a name, for Markdown takes the whole line for HTML then.
"""

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal

NAME = re.compile(r"<!-- [^>|]+\|[^>]+-->")
NUMBER = re.compile(r"<!-- ([^\s|]+) \|([^>]+)\|([^>|]+)-->(± |[-+])?([\d.,]*\d)")
# Also behind what makes a list or a quotation.
FIRST_IN_LINE = re.compile(rf"^[ \t]*(?:(?:[-*+>]|\d+[.)])[ \t]+)*{NAME.pattern}", re.MULTILINE)


def with_numbers(text: str, read: Callable[[str], str]) -> str:
    """The text with the numbers as the tables have them. read: a table's text by its name.

    ValueError, which begins with the place in the text, where a name begins a line, has another
    form or no number behind it, names no number of its table, or one that needs a sign or more
    digits there.
    """
    if first := FIRST_IN_LINE.search(text):
        raise ValueError(f"{first[0].strip()} at the beginning of a line: put a word before it")
    for name in NAME.finditer(text):
        if not NUMBER.match(text, name.start()):
            raise ValueError(f"{name[0]} not of the form <!-- TABLE | ROW | COLUMN -->NUMBER")
    return NUMBER.sub(lambda place: _anew(place, read), text)


def _anew(place: re.Match, read: Callable[[str], str]) -> str:
    name, row, column, sign, now = place.groups()
    cells, table = [cell.strip() for cell in row.split("|")], read(name)
    try:
        cell = cell_of(table, cells, column.strip())
        text = rounded(number_in(cell, behind="± " if sign == "± " else ""), now)
        if text.startswith("-") and not sign:
            raise ValueError("the number is negative: write it with its sign")
    except ValueError as error:
        raise ValueError(f"{place[0]}, but in {name}.md {error}") from None
    before = place[0].removesuffix(now)
    if sign in ("+", "-"):
        return before[:-1] + (text if text.startswith("-") else f"+{text}")
    return before + text


def cell_of(table: str, row: Sequence[str], column: str) -> str:
    """The text of a cell. row: what the row's first cells are.

    ValueError where there is not one such row, or no such column.
    """
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    if len(lines) < 2:
        raise ValueError("there is no table")
    head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    found = [cells for cells in rows if cells[: len(row)] == list(row)]
    if len(found) != 1 or column not in head:
        raise ValueError(f"there are {len(found)} such rows, and the columns are {', '.join(head)}")
    return found[0][head.index(column)]


def number_in(cell: str, behind: str = "") -> Decimal:
    """The number that a cell begins with, or the one behind some text; ValueError without it."""
    text = cell.partition(behind)[2] if behind else cell
    if not (number := re.match(r"[-+]?[\d.,]*\d", text)):
        raise ValueError("there is no number")
    return Decimal(number[0].replace(",", ""))


def rounded(value: Decimal, like: str) -> str:
    """A number with as many decimals as another, written 0.5.

    ValueError where it lies in the middle: it has been rounded already, who knows from which side.
    """
    unit = Decimal(1).scaleb(-len(like.partition(".")[2]))
    if abs(value) % unit * 2 == unit:
        raise ValueError(f"the number is {value}, which can't be rounded again: write it whole")
    return f"{value.quantize(unit, ROUND_HALF_UP) + 0:,}"  # + 0: without the sign of -0.0
