"""Numbers in the sentences of pages."""

import pytest

from rmt.reproduction.pages import with_tables
from rmt.runtime.errors import UsageError

CELLS = """\
| model | memory | mini |
| --- | ---: | ---: |
| RMT | 10 | 1,203.46 ± 2.00 |
| RMT | 20 | |
| RMT | less | -0.126 |
| RMT | hardly | -0.004 |
| RMT | about | ± 0.052 |
"""


@pytest.fixture
def anew(tmp_path):
    """A page's text with the numbers of CELLS, which are in the table t."""
    (tmp_path / "t.md").write_text(CELLS)
    (tmp_path / "empty.md").write_text("not run\n")

    def anew(text: str) -> str:
        (tmp_path / "page.md").write_text(text)
        return with_tables(tmp_path / "page.md", tmp_path)

    return anew


@pytest.mark.parametrize(
    ("row", "now", "then"),
    [
        ("10", "9.9", "1,203.5"),
        ("10", "1,000.00", "1,203.46"),
        ("10", "7", "1,203"),
        ("10", "+7", "+1,203"),
        ("10", "± 1.0", "± 2.0"),
        ("less", "+1.00", "-0.13"),
        ("less", "-1.00", "-0.13"),
        ("hardly", "-1.00", "+0.00"),
        ("about", "± 1.00", "± 0.05"),
    ],
)
def test_a_number_in_a_sentence_is_that_of_its_cell(anew, row, now, then):
    text = "It is at <!-- t | RMT | {} | mini -->{}. And more.\n"
    assert anew(text.format(row, now)) == text.format(row, then)
    assert anew(text.format(row, then)) == text.format(row, then)


def test_several_numbers_of_a_line_are_each_their_cells(anew):
    ten = "<!-- t | RMT | 10 | mini -->"
    text = f"A {ten}{{}} {ten}± {{}} and <!-- t | RMT | less | mini -->{{}}"
    assert anew(text.format(1, "9.0", "-1.0")) == text.format("1,203", "2.0", "-0.1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("at <!-- t | RMT | mini -->1.0", "there are 5 such rows"),
        ("at <!-- t | MT | 10 | mini -->1.0", "there are 0 such rows"),
        ("at <!-- t | RMT | 10 | midi -->1.0", "the columns are model, memory, mini"),
        ("at <!-- t | RMT | 20 | mini -->1.0", "there is no number"),
        (
            "at <!-- u | RMT | 10 | mini -->1.0",
            r"page.md has a place for \S*u.md, which can't be read",
        ),
        ("at <!-- empty | RMT | 10 | mini -->1.0", "in empty.md there is no table"),
        ("at <!-- t | RMT | less | mini -->1.0", "is negative: write it with its sign"),
        ("at <!-- t | RMT | 10 | mini --> many", "not of the form"),
        ("at <!-- t| RMT | 10 | mini -->1.0", "not of the form"),
        ("is\n  <!-- t | RMT | 10 | mini -->1.0", "at the beginning of a line"),
        ("- <!-- t | RMT | 10 | mini -->1.0", "at the beginning of a line"),
        ("> 1. <!-- t | RMT | 10 | mini -->1.0", "at the beginning of a line"),
    ],
)
def test_what_is_no_number_of_a_table_is_refused(anew, text, reason):
    with pytest.raises(UsageError, match=f"^\\S*{reason}" if "page.md" in reason else reason):
        anew(text)


def test_a_number_that_lies_in_the_middle_is_not_rounded_again(anew, tmp_path):
    text = "at <!-- t | RMT | 10 | mini -->1.0"
    assert anew(text).endswith("1,203.5")
    (tmp_path / "t.md").write_text(CELLS.replace("1,203.46", "1,203.45"))
    with pytest.raises(UsageError, match=r"1203.45, which can't be rounded again"):
        with_tables(tmp_path / "page.md", tmp_path)
