"""The schedules against each other, by a clock of its own."""

import itertools
from types import SimpleNamespace

import pytest

from rmt.benchmark import schedules
from rmt.benchmark.scaling import table


def test_models_are_those_whose_layers_hand_on_to_themselves():
    assert schedules.layer_local() == ["trxl", "armt"]


def test_every_case_is_measured_by_both_in_turn(monkeypatch):
    """By a clock of which the diagonal schedule takes half of the other's time."""
    ticks, orders = itertools.count(), []
    monkeypatch.setattr(schedules, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    for name in ("read_window", "train_window"):
        real = getattr(schedules, name)

        def window(model, segments, real=real):
            real(model, segments)
            orders.append(model.schedule)
            next(ticks) if model.schedule == "sequential" else None

        monkeypatch.setattr(schedules, name, window)
    monkeypatch.setattr(schedules, "SEGMENTS", (3, 3))
    for trains in (False, True):
        found = schedules.compare(schedules.options_of("armt", 2), 2, 5, trains)
        assert (found["seconds"], found["seconds_sequential"], found["ratio"]) == (1, 2, 2)
        assert (found["amount"], found["bound"]) == (3 * 2 * 5, 2 * 3 / 4)
    assert orders == ["sequential", "diagonal"] * 8
    row = table([found]).splitlines()[-1]
    assert row.startswith("| training, armt")
    assert row.endswith("| 30 |  | 2.00 |")


@pytest.mark.parametrize(("share", "longest"), [(0.001, 16), (0.07, 64), (1, 1024)])
def test_a_share_leaves_long_segments_out(monkeypatch, share, longest):
    cases = []
    monkeypatch.setattr(schedules, "in_new_process", lambda function, *case: function(*case))
    monkeypatch.setattr(schedules, "compare", lambda *case: cases.append(case) or {})
    assert len(schedules.schedules(share)) == len(cases)
    assert max(n_tokens for _, _, n_tokens, _ in cases) == longest
    assert {options.n_layer for options, *_ in cases} == set(schedules.LAYERS)
