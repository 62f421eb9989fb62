"""Memory operations in attention maps: what is written, read and rewritten, and in which order.

Bulatov et al. 2022 point them out by eye in Figures 6 and 8; here they are measured. An operation
is a block of the map, rows that attend to columns:

    write        write memory attends to the segment's tokens
    read         tokens attend to the read memory
    rewrite      write memory attends to the read memory
    read cache   tokens attend to the cache (trxl, trxl_rmt)

Two numbers say what a block looks like. Its mass is the attention that its rows put into it, their
mean, from 0 to 1. Its order says which way attention moves from row to row: the share of moves that
go a few columns forward less the share that go a few back, of all that go anywhere. A thin straight
line from the top left to the bottom right has order 1 (the sequence is kept in order), one from the
bottom left to the top right -1 (it is turned round), and attention that is the same in all rows, or
jumps about, 0. A few columns are twice as many as a line through the block passes from a row to the
next, at least 2: so two tokens per memory token are a line as well as one.

As order looks at neighbouring rows, it doesn't matter where a line starts, and one in pieces loses
no more than its jumps. Memory tokens have no first one: a line that leaves the memory at one end
often goes on at the other.

Order is taken over the active rows alone, those with at least half of their attention in the
block, as a head often does one thing for some rows and rests in the others. A block is called a
pattern under five conditions:

    mass      at least MIN_MASS
    rows      at least MIN_ROWS of them and half of all are active. A head that always looks a few
              tokens back meets the memory, or the cache, in a segment's first rows only.
    moves     at least MIN_MOVES: if half of the rows attend to one column, and then the others to
              the next, that is no line
    |order|   at least MIN_ORDER
    chance    at most MAX_CHANCE of all ways to arrange the same active rows have so much order in
              the same direction (of more than 6 rows a sample of the ways is taken)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ACTIVE_SHARE = 0.5
MIN_MASS = 0.5
MIN_ORDER = 0.5
MIN_ROWS = 5
MIN_MOVES = 3
MAX_CHANCE = 0.01
N_SHUFFLES = 2000

REGIONS = ("cache", "read", "tokens", "write")  # the keys of a segment, in their order
# Kind of operation: the region of its rows, that of its columns.
KINDS = {
    "write": ("write", "tokens"),
    "read": ("tokens", "read"),
    "rewrite": ("write", "read"),
    "read cache": ("tokens", "cache"),
}


@dataclass(frozen=True)
class SegmentMaps:
    """What every head of every layer attended to in one segment of one sample.

    layers: of every layer the attention [H, Q, K]. Its rows are the last Q of the K keys: the last
        layer leaves out what nothing reads, and of a layer that is not computed Q is 0.
    sizes: number of keys in each of REGIONS.
    symbols: the segment's tokens, for people.
    n_scored: how many of the segment's last tokens predict a part of the answer; of a text all.
    """

    layers: tuple[np.ndarray, ...]
    sizes: dict[str, int]
    symbols: tuple[str, ...]
    n_scored: int

    @property
    def n_keys(self) -> int:
        return sum(self.sizes.values())

    @property
    def n_rows(self) -> int:
        """Rows that a layer can compute: the cache has none."""
        return self.n_keys - self.sizes["cache"]

    def span(self, region: str) -> tuple[int, int]:
        """First key of a region, and the one after its last."""
        before = REGIONS[: REGIONS.index(region)]
        start = sum(self.sizes[name] for name in before)
        return start, start + self.sizes[region]

    def place(self, kind: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows (as keys) and columns of an operation: of reads only the rows that answer."""
        rows, columns = KINDS[kind]
        first, end = self.span(rows)
        if rows == "tokens":
            first = end - self.n_scored
        return (first, end), self.span(columns)

    def block(self, kind: str, layer: int, head: int) -> np.ndarray:
        """The attention of an operation's rows, as far as they are computed, to its columns."""
        attention_QK = self.layers[layer][head]
        (first, end), (left, right) = self.place(kind)
        n_left_out = self.n_keys - len(attention_QK)
        return attention_QK[max(first - n_left_out, 0) : max(end - n_left_out, 0), left:right]


@dataclass(frozen=True)
class Pattern:
    """An operation that a head was found to do in order. Segment, layer and head count from 0.

    n_rows: the active rows. mass, order: see above.
    """

    segment: int
    layer: int
    head: int
    kind: str
    n_rows: int
    mass: float
    order: float

    @property
    def name(self) -> str:
        return self.kind if self.order > 0 else f"{self.kind}, reversed"

    @property
    def strength(self) -> float:
        return self.mass * abs(self.order)


@dataclass(frozen=True)
class Measure:
    """What a block of attention looks like; see above.

    n_moves: the attention that goes elsewhere from row to row, added up over the active rows.
    chance: how many of all ways to arrange the active rows have as much order, from 0 to 1.
    """

    mass: float
    n_active: int
    n_moves: float = 0.0
    order: float = 0.0
    chance: float = 1.0


def measure(block_RC: np.ndarray) -> Measure:
    """Measure a block [R, C] of attention; the rest of its rows' attention is outside."""
    if not block_RC.size:
        return Measure(0.0, 0)
    block_RC = block_RC.astype(np.float64)
    share_R = block_RC.sum(axis=1)
    active_RC = block_RC[share_R >= ACTIVE_SHARE]
    mass = float(share_R.mean().clip(0, 1))
    if len(active_RC) < 2:
        return Measure(mass, len(active_RC))
    return Measure(mass, len(active_RC), *_order(active_RC, _reach(block_RC.shape)))


def _reach(shape: tuple[int, int]) -> int:
    """How many columns a line may pass from one row to the next."""
    n_rows, n_columns = shape
    return max(2, math.ceil(2 * n_columns / n_rows))


def _order(active_RC: np.ndarray, reach: int) -> tuple[float, float, float]:
    """n_moves, order and chance of two active rows or more."""
    n_rows, n_columns = active_RC.shape
    attention_RC = active_RC / active_RC.sum(axis=1, keepdims=True)
    step_CC = np.arange(n_columns) - np.arange(n_columns)[:, None]
    direction_CC = np.sign(step_CC) * (abs(step_CC) <= reach)
    # Of any two rows: how much of the attention of the one is a step forward from the other's.
    forward_RR = attention_RC @ direction_CC @ attention_RC.T
    moved_RR = 1 - attention_RC @ attention_RC.T

    def moves_of(rows_NR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = rows_NR[:, :-1], rows_NR[:, 1:]
        n_moves_N = moved_RR[pairs].sum(axis=1)
        return n_moves_N, forward_RR[pairs].sum(axis=1) / np.maximum(n_moves_N, 1e-9)

    (n_moves,), (order,) = moves_of(np.arange(n_rows)[None])
    _, shuffled_N = moves_of(_shuffles(n_rows))
    chance = np.mean(shuffled_N * np.sign(order) >= abs(order) - 1e-9)
    return float(n_moves), float(order.clip(-1, 1)), float(chance)


@lru_cache
def _shuffles(n_rows: int) -> np.ndarray:
    """Orders of so many rows [N, R]: all there are of up to 6, else N_SHUFFLES of them."""
    if n_rows <= 6:
        return np.array(list(itertools.permutations(range(n_rows))))
    rows = np.tile(np.arange(n_rows), (N_SHUFFLES, 1))
    return np.random.default_rng(0).permuted(rows, axis=1)


def is_pattern(looks: Measure, n_rows: int) -> bool:
    """Whether a block of so many rows, active or not, is an operation in order."""
    is_there = looks.mass >= MIN_MASS and looks.n_active >= max(MIN_ROWS, n_rows / 2)
    is_line = looks.n_moves >= MIN_MOVES and abs(looks.order) >= MIN_ORDER
    return is_there and is_line and looks.chance <= MAX_CHANCE


def find_patterns(segments: Sequence[SegmentMaps]) -> list[Pattern]:
    """All patterns in a sample's segments, the strongest first.

    An operation is looked for only where it can pass something on: nothing was read before the
    first segment's memory was written, nothing reads what the last segment writes, and a memory
    that is never written (mt) holds nothing of the sample.
    """
    found = []
    for i, maps in enumerate(segments):
        for kind, (rows, columns) in KINDS.items():
            writes, reads = rows == "write", columns in ("read", "cache")
            is_never_written = columns == "read" and not maps.sizes["write"]
            if (writes and i == len(segments) - 1) or (reads and i == 0) or is_never_written:
                continue
            found += _patterns_of(maps, i, kind)
    return sorted(found, key=lambda pattern: -pattern.strength)


def _patterns_of(maps: SegmentMaps, segment: int, kind: str) -> list[Pattern]:
    found = []
    for layer, attention_HQK in enumerate(maps.layers):
        for head in range(len(attention_HQK)):
            block_RC = maps.block(kind, layer, head)
            looks = measure(block_RC)
            if is_pattern(looks, len(block_RC)):
                numbers = looks.n_active, looks.mass, looks.order
                found.append(Pattern(segment, layer, head, kind, *numbers))
    return found
