"""Tables inside pages: between <!-- table NAME --> and <!-- end --> is results/tables/NAME.md."""

import os
import re
from pathlib import Path

from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text

PAGES = ("README.md", "results/README.md", "docs/results/*.md")
START = re.compile(r"<!-- table \S+ -->")
LINK = re.compile(r"\]\(([^):#][^):]*)\)")  # to a file, from where the tables are
PLACE = re.compile(r"<!-- table (\S+) -->\n(?:(?!<!-- table ).)*?<!-- end -->", re.DOTALL)


def with_tables(page: Path, tables: Path) -> str:
    """The page's text with the tables as they are now; their links are made the page's."""

    def table(place: re.Match) -> str:
        name = place[1]
        try:
            text = (tables / f"{name}.md").read_text("utf-8")
        except OSError as error:
            raise UsageError(
                f"{page} has a place for {error.filename}, which can't be read: make it with "
                "`python -m rmt.tables paper` or its script in run_scripts"
            ) from None
        text = LINK.sub(lambda link: f"]({os.path.relpath(tables / link[1], page.parent)})", text)
        return f"<!-- table {name} -->\n{text}<!-- end -->"

    text = page.read_text("utf-8")
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
