"""Tables and their numbers inside pages.

Between <!-- table NAME --> and <!-- end --> is results/tables/NAME.md. page_numbers.py says how a
sentence has a table's number.
"""

import os
import re
from pathlib import Path

from rmt.reproduction.page_numbers import with_numbers
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text

PAGES = ("README.md", "results/README.md", "docs/results/*.md")
START = re.compile(r"<!-- table \S+ -->")
LINK = re.compile(r"\]\(([^):#][^):]*)\)")  # to a file, from where the tables are
PLACE = re.compile(r"<!-- table (\S+) -->\n(?:(?!<!-- table ).)*?<!-- end -->", re.DOTALL)


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

    try:
        text = with_numbers(page.read_text("utf-8"), read)
    except UsageError:  # of read, which says what it is about
        raise
    except ValueError as error:
        raise UsageError(f"{page} has {error}") from None
    if len(START.findall(text)) > len(PLACE.findall(text)):
        raise UsageError(f"{page} has a place for a table without its end, <!-- end -->: add that")
    return PLACE.sub(table, text)


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
