"""The diagonal schedule: layers of different segments computed together, exactly.

A cell is one layer on one segment. Where every layer hands a state to itself alone, a cell needs
two others: the layer below on the same segment, whose rows it takes, and the same layer on the
segment before, whose state it takes. So the cells of a diagonal need nothing of each other:

    segment   0  1  2  3
    layer 0   0  1  2  3        the step in which a cell is computed: L + S - 1 steps for
    layer 1   1  2  3  4        L layers and S segments, instead of L * S
    layer 2   2  3  4  5

Where the first layer needs what the last one made of the segment before, as in a Recurrent Memory
Transformer, there is one cell in a step, and nothing to gain.

Nothing here knows a model. Source: Sivtsov et al. 2025, "Diagonal Batching Unlocks Parallelism in
Recurrent Memory Transformers for Long Contexts" (arXiv 2506.05229), section 3.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Rows = TypeVar("Rows")
LayerState = TypeVar("LayerState")

# compute(first, rows, states): one step of the schedule. The layers first, first + 1, ..., as many
# as there are rows, each with rows of a segment of its own, the newest segment's first, and with
# its own state. Returns their rows and their states.
Compute = Callable[
    [int, Sequence[Rows], Sequence[LayerState]], tuple[Sequence[Rows], Sequence[LayerState]]
]


def diagonally(
    entering: Iterable[Rows], states: Sequence[LayerState], compute: Compute
) -> Iterator[tuple[Rows, tuple[LayerState, ...]]]:
    """What leaves the last layer, segment by segment, and the states of all layers after it.

    entering: what enters the first layer. It may be endless: of no more segments than there are
    layers anything is kept. states: of every layer, before the first segment.
    """
    entering, states, n_layer = iter(entering), list(states), len(states)
    # Of the segments on their way, the newest first: their rows, and what layers left after them.
    rows: list[Rows] = []
    left: list[list[LayerState]] = []
    first = 0  # the layer that the newest one is at
    while True:
        new = [] if first else list(islice(entering, 1))
        if not new:
            first += 1
        rows, left = new + rows, [[] for _ in new] + left
        if not rows:
            return
        at = slice(first, first + len(rows))
        made, states[at] = compute(first, rows, states[at])
        rows = list(made)
        for own, state in zip(left, states[at], strict=True):
            own.append(state)
        if at.stop == n_layer:
            yield rows.pop(), tuple(left.pop())
