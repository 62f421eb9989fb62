"""The diagonal schedule by itself, on a recurrence whose order can be seen: strings."""

from itertools import count, islice

from hypothesis import given
from hypothesis import strategies as st

from rmt.models.diagonal import diagonally

SIZES = {"n_layer": st.integers(1, 6), "n_segments": st.integers(0, 9)}


def cell(layer: int, rows: str, state: str) -> tuple[str, str]:
    """What a layer makes of a segment and of its state: all that it depends on, in order."""
    return f"{layer}({rows}|{state})", f"{state}{layer}[{rows}]"


class Layers:
    """Computes groups, and remembers which."""

    def __init__(self):
        self.groups = []

    def compute(self, first, rows, states):
        self.groups.append((first, len(rows)))
        cells = zip(rows, states, strict=True)
        made = [cell(first + g, row, state) for g, (row, state) in enumerate(cells)]
        return [row for row, _ in made], [state for _, state in made]


def one_by_one(n_layer: int, segments: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    states, found = [f"s{i}" for i in range(n_layer)], []
    for rows in segments:
        for i in range(n_layer):
            rows, states[i] = cell(i, rows, states[i])
        found.append((rows, tuple(states)))
    return found


@given(**SIZES)
def test_every_cell_finds_what_it_finds_one_after_the_other(n_layer, n_segments):
    segments, layers = [f"x{t}" for t in range(n_segments)], Layers()
    states = [f"s{i}" for i in range(n_layer)]
    found = list(diagonally(segments, states, layers.compute))
    assert found == one_by_one(n_layer, segments)


@given(**SIZES)
def test_a_step_has_all_cells_that_can_be_computed_and_each_has_its_step(n_layer, n_segments):
    layers = Layers()
    list(diagonally(range(n_segments), [""] * n_layer, layers.compute))
    expected = []
    for step in range(n_layer + n_segments - 1 if n_segments else 0):
        at = [layer for layer in range(n_layer) if 0 <= step - layer < n_segments]
        expected.append((at[0], len(at)))
    assert layers.groups == expected


def test_segments_are_taken_as_they_are_needed():
    taken = []

    def endless():
        for t in count():
            taken.append(t)
            yield str(t)

    each = diagonally(endless(), ["", "", ""], Layers().compute)
    for t, (rows, _) in enumerate(islice(each, 5)):
        assert rows.startswith("2(1(0(")
        assert len(taken) == t + 3, "as many are on their way as there are layers"
