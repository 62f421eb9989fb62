"""The paper's claims as comparisons of its experiments; ledger.py says what our runs say of them.

Every claim is a set of comparisons of rows of tables or points of figures. Those of WikiText-103
are of Tables 2 and 4, those of enwik8 of Table 3. Which they are, and what is expected of them, is
written down before the runs are made; docs/results/claims.md lists what was changed after that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rmt.paper.experiments import Experiment, Row, find_row, rows
from rmt.paper.published import Cell, cells_by_place


@dataclass(frozen=True)
class Comparison:
    """A weighted sum of scores, and what the paper says of it.

    what: in words. terms: weights with the experiments. expected: "lower" or "higher" than 0, or
    "same" (0 within the margin), or "not higher" or "not lower" (by more than the margin). level: a
    score that is subtracted, where the paper says how large one is.
    """

    what: str
    terms: Sequence[tuple[int, Experiment]]
    expected: str
    level: float = 0.0

    @property
    def published(self) -> float:
        scores = (weight * published_score(experiment) for weight, experiment in self.terms)
        return sum(scores) - self.level

    @property
    def unit(self) -> str:
        _, first = self.terms[0]
        if isinstance(first, Cell):
            return "accuracy"
        return first.unit


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims. where: in the paper."""

    text: str
    where: str
    comparisons: Sequence[Comparison]


def published_score(experiment: Experiment) -> float:
    return experiment.accuracy if isinstance(experiment, Cell) else experiment.score


def claims() -> list[Claim]:
    """Those that scores decide, in the order of docs/results/claims.md."""
    return [*_of_tasks(), *_of_text()]


def _versus(what: str, one: Experiment, other: Experiment, expected: str) -> Comparison:
    return Comparison(what, [(1, one), (-1, other)], expected)


def _combined(what: str, one: Comparison, sign: int, other: Comparison) -> Comparison:
    """One effect plus or less another, of which is expected what is of the one."""
    terms = [*one.terms, *((sign * weight, experiment) for weight, experiment in other.terms)]
    return Comparison(what, terms, one.expected, one.level + sign * other.level)


# --- algorithmic tasks ---------------------------------------------------------------------------


def _of_tasks() -> list[Claim]:
    return [
        Claim(
            "RMT beats Transformer-XL on copy and reverse as segments grow in number",
            "Figure 4",
            [
                _gap("copy", 6, 12, "higher"),
                _gap("copy", 9, 8, "higher"),
                _growth("copy", (9, 8), (3, 24)),
                _gap("reverse", 4, 12, "higher"),
                _gap("reverse", 6, 8, "higher"),
                _growth("reverse", (6, 8), (2, 24)),
            ],
        ),
        Claim(
            "RMT and Transformer-XL are on par on associative retrieval",
            "Figure 4, sections 5 and 6",
            [
                _gap("retrieval", segments, memory, "same")
                for segments, memory in ((2, 5), (3, 4), (4, 3), (5, 2))
            ],
        ),
        Claim(
            "RMT solves 0.99 of the quadratic equations, Transformer-XL 0.93",
            "Table 1",
            [_reaches("quadratic", 6, 30, 0.99), _gap("quadratic", 6, 30, "higher")],
        ),
        Claim(
            "RMT compresses 12 tokens into 6 memory tokens, where Transformer-XL has to mix them "
            "into 6 cached states",
            "Figures 7 and 8",
            [
                _reaches("reverse", 4, 6, 1.0),
                _gap("reverse", 4, 6, "higher"),
                _reaches("copy", 6, 6, 1.0),
                _gap("copy", 6, 6, "higher"),
            ],
        ),
    ]


def _gap(task: str, segments: int, memory: int, expected: str) -> Comparison:
    """RMT less Transformer-XL in one setting of a figure or of Table 1."""
    what = f"{_setting(task, segments, memory)}: RMT - Tr-XL"
    return _versus(
        what,
        _cell(task, "rmt", segments, memory),
        _cell(task, "trxl", segments, memory),
        expected,
    )


def _growth(task: str, many: tuple[int, int], few: tuple[int, int]) -> Comparison:
    """How much larger the gap is with many segments (and the memory) than with few."""
    what = f"{task}: gap in {many[0]} segments - gap in {few[0]}"
    return _combined(what, _gap(task, *many, "higher"), -1, _gap(task, *few, "higher"))


def _reaches(task: str, segments: int, memory: int, level: float) -> Comparison:
    what = f"{_setting(task, segments, memory)}: RMT - {level:g}"
    return Comparison(what, [(1, _cell(task, "rmt", segments, memory))], "not lower", level)


def _setting(task: str, segments: int, memory: int) -> str:
    return f"{task}, {segments} segments, memory {memory}"


def _cell(task: str, model: str, segments: int, memory: int) -> Cell:
    return _cells()[task, model, memory, segments]


_cells = cache(cells_by_place)


# --- text ----------------------------------------------------------------------------------------

TABLE_OF = {50: "table4", 128: "table3", 150: "table4"}  # by the length of segments


def _of_text() -> list[Claim]:
    [both] = rows("headline")
    depth = _versus("BPTT-3 - BPTT-0, memory 10", _rmt(10, 3), _rmt(10, 0), "lower")
    size = _versus("memory 25 - memory 5 at BPTT-1", _rmt(25, 1), _rmt(5, 1), "same")
    return [
        Claim(
            "With segments of 150 Transformer-XL and RMT outperform the baseline and MT",
            "section 5, Table 2",
            [
                _versus("cache 150 - MT 10", _trxl(150, 150), _mt(10), "lower"),
                _versus("cache 150 - baseline", _trxl(150, 150), _baseline(150), "lower"),
                _versus("RMT 10, BPTT-3 - MT 10", _rmt(10, 3, 150), _mt(10), "lower"),
                _versus("RMT 10, BPTT-3 - baseline", _rmt(10, 3, 150), _baseline(150), "lower"),
            ],
        ),
        Claim(
            "Memory tokens that are not passed on (MT) are hardly better than none",
            "section 5, Table 2",
            [_versus("MT 10 - baseline, segment 150", _mt(10), _baseline(150), "same")],
        ),
        Claim(
            "One memory token does what Transformer-XL does with a cache of 10",
            "section 5, Table 2",
            [_versus("RMT 1, BPTT-1 - cache 10", _rmt(1, 1), _trxl(10), "not higher")],
        ),
        Claim(
            "On enwik8 5 memory tokens do what Transformer-XL does with a cache of 40",
            "section 5",
            [_versus("RMT 5, BPTT-2 - cache 40", _rmt(5, 2, 128), _trxl(40, 128), "not higher")],
        ),
        Claim(
            "On enwik8 10 memory tokens do better than a cache of 10",
            "Table 3",
            [_versus("RMT 10, BPTT-2 - cache 10", _rmt(10, 2, 128), _trxl(10, 128), "lower")],
        ),
        Claim(
            "The depth of BPTT matters more than the size of the memory",
            "sections 5 and 6, Table 4",
            [
                depth,
                # Whichever way size falls.
                _combined("(BPTT-3 - BPTT-0) - (memory 25 - memory 5)", depth, -1, size),
                _combined("(BPTT-3 - BPTT-0) + (memory 25 - memory 5)", depth, 1, size),
                _versus(
                    "enwik8: BPTT-2 - BPTT-0, memory 20",
                    _rmt(20, 2, 128),
                    _rmt(20, 0, 128),
                    "lower",
                ),
                _versus(
                    "enwik8: memory 5 at BPTT-2 - memory 20 at BPTT-0",
                    _rmt(5, 2, 128),
                    _rmt(20, 0, 128),
                    "lower",
                ),
            ],
        ),
        Claim(
            "Memory 5 to 50 makes no difference to RMT",
            "section 5, Figure 5(d)",
            [
                _versus("memory 50 - memory 5, BPTT-1", _rmt(50, 1), _rmt(5, 1), "same"),
                _versus(
                    "enwik8: memory 20 - memory 5, BPTT-2",
                    _rmt(20, 2, 128),
                    _rmt(5, 2, 128),
                    "same",
                ),
            ],
        ),
        Claim(
            "A larger visible context lowers perplexity",
            "Figure 5(c)",
            [
                _versus("cache 100 - cache 10", _trxl(100), _trxl(10), "lower"),
                _versus("RMT 10, BPTT-3 - BPTT-1", _rmt(10, 3), _rmt(10, 1), "lower"),
                _versus("baseline, segment 150 - 50", _baseline(150), _baseline(50), "lower"),
            ],
        ),
        Claim(
            "Transformer-XL with RMT's memory is better than either alone",
            "final version, abstract",
            [
                _versus("both - cache 150", both, _trxl(150, 150), "lower"),
                _versus("both - RMT 10, BPTT-3", both, _rmt(10, 3, 150), "lower"),
            ],
        ),
    ]


def _rmt(memory: int, depth: int, segment_len: int = 50) -> Row:
    return _row(segment_len, "rmt", memory, depth)


def _trxl(memory: int, segment_len: int = 50) -> Row:
    return _row(segment_len, "trxl", memory)


def _mt(memory: int) -> Row:
    return _row(150, "mt", memory)


def _baseline(segment_len: int) -> Row:
    return _row(segment_len, "baseline")


def _row(segment_len: int, model: str, memory: int = 0, depth: int = 0) -> Row:
    """Of Tables 3 and 4, whose segment lengths differ."""
    return find_row(TABLE_OF[segment_len], model, memory, depth, segment_len)
