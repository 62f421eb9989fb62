"""RMT beside Transformer-XL: means, differences, and what is not alike."""

from dataclasses import replace

import pytest

from helpers.logged import run_of
from rmt.paper.side_by_side import pairs
from rmt.reproduction.confidence import sum_of_means
from rmt.reproduction.scales import plan
from rmt.reproduction.side_by_side import HEAD, side_by_side
from rmt.reproduction.studies.text import with_segments
from rmt.runtime.errors import UsageError

TASKS = [
    "copy, 9 segments",
    "reverse, 6 segments",
    "retrieval, 5 segments",
    "quadratic, 6 segments",
    "enwik8, segments of 16",
    "enwik8, segments of 128",
    "WikiText-103, segments of 16",
]
NOT_RUN = ["not run", "not run", "not run", "", "0 and 0"]


def rows_of(runs) -> dict[str, list[str]]:
    """The cells after the memory, by the task."""
    return {task: others[2:] for task, *others in cells_of(runs)}


def cells_of(runs) -> list[list[str]]:
    lines = side_by_side(runs).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def runs_with(of, *scores):
    return [
        run_of(own, seed, score)
        for own, found in zip(of, scores, strict=True)
        for seed, score in enumerate(found, start=1)
    ]


def test_without_runs_there_is_what_is_alike_all_the_same():
    found = rows_of([])
    assert list(found) == TASKS
    assert [cells[:-1] for cells in found.values()] == [NOT_RUN] * len(TASKS)
    assert [cells[-1] for cells in found.values()] == [
        "no: lessons",
        "no: initial weights and lessons",
        *["yes"] * 5,
    ]


def test_memory_is_the_tokens_of_rmt():
    assert [cells[2] for cells in cells_of([])] == ["8", "8", "2", "30", "10", "10", "10"]


def test_a_difference_is_rmts_less_transformer_xls():
    (pair,) = (pair for pair in pairs() if pair.task.startswith("retrieval"))
    scores = [0.9, 0.95, 1.0], [0.5, 0.6]
    runs = runs_with([plan(pair.rmt, "mini"), plan(pair.trxl, "mini")], *scores)
    mean, half_width = sum_of_means([(1, scores[0]), (-1, scores[1])])
    assert mean == pytest.approx(0.4)
    expected = ["0.950", "0.550", f"+0.400 ± {half_width:.3f}", "RMT", "3 and 2", "yes"]
    assert rows_of(runs)["retrieval, 5 segments"] == expected
    # One seed has no spread, so that its difference has no interval.
    alone = rows_of([run for run in runs if run.seed == 1])["retrieval, 5 segments"]
    assert alone == ["0.900", "0.500", "+0.400", "undecided", "1 and 1", "yes"]


@pytest.mark.parametrize(
    ("task", "first", "second", "ahead"),
    [
        ("retrieval", [0.9, 0.91], [0.5, 0.51], "RMT"),
        ("retrieval", [0.5, 0.51], [0.9, 0.91], "Tr-XL"),
        ("enwik8", [2.5, 2.51], [2.9, 2.91], "RMT"),
        ("WikiText-103", [90.0, 90.1], [80.0, 80.1], "Tr-XL"),
        ("WikiText-103", [80.0, 90.1], [80.0, 80.1], "undecided"),
    ],
)
def test_who_is_ahead_where_less_is_better_and_where_more_is(task, first, second, ahead):
    (pair,) = (pair for pair in pairs() if pair.task.startswith(task))
    runs = runs_with([plan(pair.rmt, "mini"), plan(pair.trxl, "mini")], first, second)
    (found,) = (cells for cells in rows_of(runs).values() if cells[0] != "not run")
    assert found[3] == ahead


def test_the_papers_segments_have_runs_of_their_own():
    plans = with_segments(128, True)
    runs = runs_with([plans["rmt10-bptt1"], plans["trxl10"]], [2.5, 2.7], [2.4, 2.4])
    found = rows_of(runs)
    assert found["enwik8, segments of 128"][:3] == ["2.600", "2.400", "+0.200 ± 1.271"]
    assert found["enwik8, segments of 16"][:-1] == NOT_RUN


def test_two_texts_are_not_compared():
    plans = with_segments(128, True)
    first, second = runs_with([plans["rmt10-bptt1"], plans["trxl10"]], [2.5], [2.4])
    second = replace(second, result={**second.result, "corpus": "another"})
    with pytest.raises(UsageError, match="are of different texts"):
        side_by_side([first, second])


def test_the_head_says_what_the_interval_is():
    assert side_by_side([]).startswith(f"| {' | '.join(HEAD)} | seeds | trained alike? |\n")
