"""What the past is worth: losses after reading so many segments, against a count by hand."""

import numpy as np
import pytest
import torch

from helpers import gru
from helpers.models import ON_BACKBONE, V, tiny_model
from rmt.analysis.context import ContextLosses, context_losses, numbers_before
from rmt.models import registry
from rmt.runtime.errors import UsageError

T = 5
IDS = torch.randint(V, (T * 12 + 3,), generator=torch.Generator().manual_seed(3)).numpy()


def model_of(name: str):
    if name in ON_BACKBONE:
        return tiny_model(name)
    torch.manual_seed(0)
    return registry.build(gru.GRUOptions(n_token=V, d_model=5)).double().eval()


@torch.no_grad()
def nats_by_hand(model, segment: int, n_before: int) -> list[float]:
    """Of one segment's tokens, predicted alone after those before were predicted one by one."""
    tokens, state = torch.from_numpy(IDS)[None], None
    for i in range(segment - n_before, segment + 1):
        log_probs, state = model.predict(tokens[:, i * T : (i + 1) * T], state)
    return [-log_probs[0, t, IDS[segment * T + t + 1]].item() for t in range(T)]


@pytest.mark.parametrize("name", [*ON_BACKBONE, "gru"])
def test_losses_are_those_counted_by_hand(name):
    model = model_of(name)
    found = context_losses(model, IDS, T, (0, 1, 2, 4), 100, batch_size=3)
    assert found.n_segments == 8, "those with four before them"
    for g, n_before in enumerate(found.n_before):
        for i, segment in enumerate(range(4, 12)):
            expected = nats_by_hand(model, segment, n_before)
            np.testing.assert_allclose(found.nats[g, i], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["baseline", "mt"])
def test_what_carries_nothing_gains_nothing(name):
    found = context_losses(model_of(name), IDS, T, (0, 1, 3), 100)
    np.testing.assert_allclose(found.gains, 0, atol=1e-12)


def test_the_means():
    nats = np.random.default_rng(0).random((2, 4, 7))
    losses = ContextLosses((0, 3), nats)
    assert losses.losses.tolist() == pytest.approx([nats[0].mean(), nats[1].mean()])
    saved_N = (nats[0] - nats[1]).mean(axis=1)
    assert losses.gains.tolist() == pytest.approx([0, saved_N.mean()])
    assert losses.gain_errors.tolist() == pytest.approx([0, saved_N.std(ddof=1) / 2])
    assert np.isnan(ContextLosses((0, 3), nats[:, :1]).gain_errors).all()
    for without, own in ((True, nats[0]), (False, nats[1])):
        positions, means = losses.by_position(without)
        assert positions == [1, 2, 3, 4, 5, 6, 7]
        assert means == pytest.approx(own.mean(axis=0).tolist())
        positions, means = losses.by_position(without, n_bins=3)
        assert positions == [2, 5, 7]
        assert means == pytest.approx([own[:, :3].mean(), own[:, 3:6].mean(), own[:, 6].mean()])


def test_how_many_segments_before():
    assert [numbers_before(most) for most in (1, 2, 3, 8, 10)] == [
        (0, 1),
        (0, 1, 2),
        (0, 1, 2, 3),
        (0, 1, 2, 4, 8),
        (0, 1, 2, 4, 8, 10),
    ]


def test_segments_are_spread_over_the_text():
    model = model_of("rmt")
    everything = context_losses(model, IDS, T, (0, 2), 100)
    three = context_losses(model, IDS, T, (0, 2), 3)
    chosen = [everything.nats[:, i] for i in (0, 4, 9)]  # of segments 2 ... 11
    np.testing.assert_allclose(three.nats, np.stack(chosen, axis=1), rtol=1e-9)


def test_a_text_too_short_for_one_segment_with_its_history():
    context_losses(model_of("rmt"), IDS, T, (0, 11), 3)
    with pytest.raises(UsageError, match="holds 12 whole segments of 5 tokens, too few for one wi"):
        context_losses(model_of("rmt"), IDS, T, (0, 12), 3)
