"""Memory operations in attention maps: what is written, read and rewritten, and in which order.

Bulatov et al. 2022 point them out by eye in Figures 6 and 8; here they are measured. An operation
is a block of the map, rows that attend to columns:

    write        write memory attends to the segment's tokens
    read         tokens attend to the read memory
    rewrite      write memory attends to the read memory
    read cache   tokens attend to the cache (trxl, trxl_rmt)

Two numbers say what a block looks like. Its mass is the attention that its rows put into it, their
mean, from 0 to 1. Its order is the correlation of row and column over the block's attention, from
-1 to 1: a thin straight line from the top left to the bottom right gives 1 (the sequence is kept in
order), one from the bottom left to the top right -1 (it is turned round), and attention that is the
same in all rows 0. Where a line starts and how steep it is makes no difference, so that two tokens
per memory token are found as well as one.

Memory tokens have no first one: a line that leaves the memory at one end may go on at the other. So
a block that is no pattern as it stands is turned, memory token by memory token, until its order is
the greatest. Other lines that start again half-way are not found.

Order is taken over the active rows alone, those with at least half of their attention in the
block, as a head often does one thing for some rows and rests in the others. A block is called a
pattern under four conditions:

    mass          at least MIN_MASS
    rows          at least MIN_ROWS of them and half of all are active. A head that always looks a
                  few tokens back meets the memory, or the cache, in a segment's first rows only.
    |order|       at least MIN_ORDER. Causal attention, spread evenly, has 0.65.
    straightness  more than chance gives to so few rows (needed_straightness). It is the order that
                  is left if every row's attention is drawn together in its mean column: a blurred
                  line is straight, a scatter of sharp points is not.

Turned blocks need MIN_TURNED_ROWS active rows. The last condition is a test at 1 %, and one at
0.3 % for all turns together: of blocks whose rows each attend to one column drawn at random, 1 to 2
in 100 pass as they stand and about 1 more if turned (counted for 5 to 12 rows; of 4 rows in random
order, 8 in 100 pass).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

ACTIVE_SHARE = 0.5
MIN_MASS = 0.5
MIN_ORDER = 0.7
MIN_ROWS = 4
MIN_TURNED_ROWS = 6  # of fewer, too many orders are a line if turned
CHANCE, TURNED_CHANCE = 0.01, 0.003  # the test's

REGIONS = ("cache", "read", "tokens", "write")  # the keys of a segment, in their order
# Kind of operation: the region of its rows, that of its columns.
KINDS = {
    "write": ("write", "tokens"),
    "read": ("tokens", "read"),
    "rewrite": ("write", "read"),
    "read cache": ("tokens", "cache"),
}
# The axis of an operation's block along which memory tokens lie; of a rewrite, where both do, one.
MEMORY_AXIS = {"write": 0, "read": 1, "rewrite": 1}


@dataclass(frozen=True)
class SegmentMaps:
    """What every head of every layer attended to in one segment of one sample.

    layers: of every layer the attention [H, Q, K]. Its rows are the last Q of the K keys: the last
        layer leaves out what nothing reads, and of a layer that is not computed Q is 0.
    sizes: number of keys in each of REGIONS.
    symbols: the segment's tokens, for people.
    n_scored: how many of the segment's last tokens predict a part of the answer.
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

    n_rows: the active rows. mass, order: see above. turn: by how many memory tokens the line is
        turned; 0 for one that doesn't go on at the memory's other end.
    """

    segment: int
    layer: int
    head: int
    kind: str
    n_rows: int
    mass: float
    order: float
    turn: int = 0

    @property
    def name(self) -> str:
        return self.kind if self.order > 0 else f"{self.kind}, reversed"

    @property
    def strength(self) -> float:
        return self.mass * abs(self.order)


@dataclass(frozen=True)
class Measure:
    """What a block of attention looks like; see above. straightness has the sign of order.

    turn: by how many memory tokens the block was turned before.
    """

    mass: float
    order: float
    straightness: float
    n_active: int
    turn: int = 0


def measure(block_RC: np.ndarray) -> Measure:
    """Measure a block [R, C] of attention; the rest of its rows' attention is outside."""
    if not block_RC.size:
        return Measure(0.0, 0.0, 0.0, 0)
    block_RC = block_RC.astype(np.float64)
    share_R = block_RC.sum(axis=1)
    is_active_R = share_R >= ACTIVE_SHARE
    order, straightness = _order(block_RC[is_active_R])
    return Measure(float(share_R.mean().clip(0, 1)), order, straightness, int(is_active_R.sum()))


def _order(block_RC: np.ndarray) -> tuple[float, float]:
    """Order and straightness: Pearson correlations of row and column, and of row and mean column.

    Attention is the weight. 0 where all of it lies in one row or in one column.
    """
    if not block_RC.sum() > 0:
        return 0.0, 0.0
    weight_RC = block_RC / block_RC.sum()
    weight_R, weight_C = weight_RC.sum(axis=1), weight_RC.sum(axis=0)
    row_R, column_C = _centred(weight_R), _centred(weight_C)
    mean_column_R = weight_RC @ column_C / np.maximum(weight_R, 1e-12)
    together = weight_R @ (row_R * mean_column_R)
    row_variance = weight_R @ row_R**2

    def correlation(column_variance: float) -> float:
        spread = math.sqrt(row_variance * column_variance)
        return float(np.clip(together / spread, -1, 1)) if spread > 1e-9 else 0.0

    return correlation(weight_C @ column_C**2), correlation(weight_R @ mean_column_R**2)


def _centred(weights: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... less their mean under the weights, which sum to 1."""
    numbers = np.arange(len(weights))
    return numbers - weights @ numbers


def needed_straightness(n_active: int, chance: float = CHANCE) -> float:
    """What chance seldom gives to so many active rows, at least MIN_ROWS.

    By Fisher's transform the inverse hyperbolic tangent of the correlation of n unrelated pairs
    is nearly normal, with standard deviation 1 / sqrt(n - 3).
    """
    deviations = NormalDist().inv_cdf(1 - chance / 2)
    return math.tanh(deviations / math.sqrt(n_active - 3))


def pattern_in(block_RC: np.ndarray, memory_axis: int | None = None) -> Measure | None:
    """The measure of a block [R, C] that is an operation in order, None of any other.

    memory_axis: the axis along which the block may be turned; None: neither.
    """
    found = measure(block_RC)
    if found.mass < MIN_MASS or found.n_active < max(MIN_ROWS, len(block_RC) / 2):
        return None
    if _is_line(found, CHANCE):
        return found
    turns = range(1, 1 if memory_axis is None else block_RC.shape[memory_axis])
    if not turns or found.n_active < MIN_TURNED_ROWS:
        return None
    turned = [replace(measure(np.roll(block_RC, -k, memory_axis)), turn=k) for k in turns]
    best = max(turned, key=lambda each: abs(each.order))
    return best if _is_line(best, TURNED_CHANCE / len(turned)) else None


def _is_line(looks: Measure, chance: float) -> bool:
    needed = needed_straightness(looks.n_active, chance)
    return abs(looks.order) >= MIN_ORDER and abs(looks.straightness) >= needed


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
            looks = pattern_in(maps.block(kind, layer, head), MEMORY_AXIS.get(kind))
            if looks:
                numbers = looks.n_active, looks.mass, looks.order, looks.turn
                found.append(Pattern(segment, layer, head, kind, *numbers))
    return found
