"""Streams that begin at different times, against every stream by itself."""

import pytest
import torch

from helpers.any_model import MODELS, any_model
from helpers.models import tiny_segments
from rmt.data.batches import IGNORED
from rmt.models.mixed import Mixed, advanced, predicted

LENGTHS = [5, 5, 5, 5, 5]
N_STREAMS = 4
# Which streams begin with each segment: all, none, one, two of which one has just begun, all.
BEGINS = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]]).bool()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_every_stream_is_read_as_if_alone(name):
    """Losses, gradients and states; also where segments are only passed through."""
    segments = tiny_segments(LENGTHS, N_STREAMS)
    models = [any_model(name) for _ in range(2)]
    passed = 1  # this segment is not predicted
    losses, state = [], None
    for i, (tokens, targets) in enumerate(segments):
        if i == passed:
            state = advanced(models[0].advance, tokens, state, BEGINS[i])
        else:
            nll, state = predicted(models[0], tokens, targets, state, BEGINS[i])
            losses.append(nll)
    together = torch.cat(losses, dim=1)
    together.sum().backward()

    alone = []
    for stream in range(N_STREAMS):
        losses, own = [], None
        for i, (tokens, targets) in enumerate(segments):
            row = slice(stream, stream + 1)
            own = None if BEGINS[i, stream] else own
            if i == passed:
                own = models[1].advance(tokens[row], own)
            else:
                nll, own = models[1](tokens[row], targets[row], own)
                losses.append(nll)
        alone.append(torch.cat(losses, dim=1))
        if own.tensors():
            close(state.each()[stream].tensors(), own.tensors())
    close(together, torch.cat(alone))
    torch.cat(alone).sum().backward()
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        close(mine.grad, theirs.grad)


@pytest.mark.parametrize("name", MODELS)
def test_what_fills_a_segment_up_changes_nothing(name):
    """Other tokens after the last one that counts: same losses."""
    model = any_model(name)
    [(tokens, targets)] = tiny_segments([6], N_STREAMS)
    targets[1, 3:] = IGNORED
    other = tokens.clone()
    other[1, 4:] = (other[1, 4:] + 1) % 7
    first, second = (model(each, targets)[0] for each in (tokens, other))
    close(first, second)
    assert not first[1, 3:].any()


def test_streams_that_stand_alike_are_read_together():
    """One call where all stand alike, two where some begin, and one again when shapes are equal."""
    model, calls = any_model("rmt"), []

    def counted(tokens, targets, state):
        calls[-1].append(len(tokens))
        return model(tokens, targets, state)

    state = None
    for (tokens, targets), begins in zip(tiny_segments(LENGTHS, N_STREAMS), BEGINS, strict=True):
        calls.append([])
        _, state = predicted(counted, tokens, targets, state, begins)
    assert [sorted(sizes) for sizes in calls] == [[4], [4], [1, 3], [2, 2], [4]]


def test_each_is_the_way_back():
    """A cache that grows: streams of three ages stand in three groups."""
    model, state = any_model("trxl", mem_len=20), None
    for (tokens, targets), begins in zip(tiny_segments(LENGTHS[:4], 4), BEGINS, strict=False):
        _, state = predicted(model, tokens, targets, state, begins)
    assert [streams for streams, _ in state.groups] == [(0, 2), (1, 3)]
    again = Mixed.of(state.each())
    assert [streams for streams, _ in again.groups] == [(0, 2), (1, 3)]
    for (_, mine), (_, theirs) in zip(state.groups, again.groups, strict=True):
        assert mine.tensors().keys() == theirs.tensors().keys()
        for name, tensor in mine.tensors().items():
            assert torch.equal(tensor, theirs.tensors()[name])
