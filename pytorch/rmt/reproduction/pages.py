"""Tables and their numbers inside pages.

Between <!-- table NAME --> and <!-- end --> is results/tables/NAME.md. A number in a sentence is
that of a table's cell, named before it by the row's first cells and the column, and has as many
digits as the sentence gives it. A difference has its sign, and behind a ± stands what the cell has
behind its own:

    Ten tokens are at <!-- table4 | RMT BPTT-0 | 10 | 50 | mini -->210.6 with BPTT-0.
"""

import os
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text

PAGES = ("README.md", "results/README.md", "docs/results/*.md")
START = re.compile(r"<!-- table \S+ -->")
LINK = re.compile(r"\]\(([^):#][^):]*)\)")  # to a file, from where the tables are
PLACE = re.compile(r"<!-- table (\S+) -->\n(?:(?!<!-- table ).)*?<!-- end -->", re.DOTALL)
MARK = re.compile(r"<!-- [^>|]+\|[^>]+-->")
NUMBER = re.compile(r"<!-- ([^\s|]+) \|([^>]+)\|([^>|]+)-->(± |[-+])?([\d.,]*\d)")


def with_tables(page: Path, tables: Path) -> str:
    """The page's text with the tables and numbers as they are now; links are made the page's."""

    def read(name: str) -> str:
        try:
            return (tables / f"{name}.md").read_text("utf-8")
        except OSError as error:
            raise UsageError(
                f"{page} has a place for {error.filename}, which can't be read: make it with "
                "`python -m rmt.tables paper` or its script in run_scripts"
            ) from None

    def table(place: re.Match) -> str:
        name = place[1]
        text = read(name)
        text = LINK.sub(lambda link: f"]({os.path.relpath(tables / link[1], page.parent)})", text)
        return f"<!-- table {name} -->\n{text}<!-- end -->"

    def number(place: re.Match) -> str:
        name, row, column, sign, now = place.groups()
        cells = [cell.strip() for cell in row.split("|")]
        try:
            cell = cell_of(read(name), cells, column.strip())
            value = number_in(cell, behind="± " if sign == "± " else "")
        except ValueError as error:
            raise UsageError(f"{page} has {place[0]}, but in {name}.md {error}") from None
        _, _, decimals = now.partition(".")
        rounded = value.quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP)
        before = place[0].removesuffix(now)
        return f"{before}{rounded:,}" if sign in (None, "± ") else f"{before[:-1]}{rounded:+,}"

    text = page.read_text("utf-8")
    for mark in MARK.finditer(text):
        if not NUMBER.match(text, mark.start()):
            raise UsageError(f"{page} has {mark[0]} with no number behind it: write one there")
    text = NUMBER.sub(number, text)
    if len(START.findall(text)) > len(PLACE.findall(text)):
        raise UsageError(f"{page} has a place for a table without its end, <!-- end -->: add that")
    return PLACE.sub(table, text)


def cell_of(table: str, row: Sequence[str], column: str) -> str:
    """The text of a cell. row: what the row's first cells are.

    ValueError where there is not one such row, or no such column.
    """
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    found = [cells for cells in rows if cells[: len(row)] == list(row)]
    if len(found) != 1 or column not in head:
        raise ValueError(f"there are {len(found)} such rows, and the columns are {', '.join(head)}")
    return found[0][head.index(column)]


def number_in(cell: str, behind: str = "") -> Decimal:
    """The number that a cell begins with, or the one behind some text; ValueError without it."""
    _, _, text = cell.partition(behind) if behind else ("", "", cell)
    if not (number := re.match(r"[-+]?[\d.,]*\d", text)):
        raise ValueError("there is no number")
    return Decimal(number[0].replace(",", ""))


def find_pages(root: Path) -> list[Path]:
    """Raises UsageError where a page is missing."""
    pages = []
    for name in PAGES:
        found = sorted(root.glob(name))
        if not found:
            raise UsageError(
                f"there is no {root / name}: run this in the folder of the project's source"
            )
        pages += found
    return pages


def refresh(root: Path) -> list[Path]:
    """Put the tables into the project's pages; returns those that changed.

    Raises UsageError where a page or a table is missing.
    """
    changed = []
    for page in find_pages(root):
        text = with_tables(page, root / "results" / "tables")
        if text != page.read_text("utf-8"):
            write_text(page, text)
            changed.append(page)
    return changed
