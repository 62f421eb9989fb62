"""A segment without tokens: nothing is predicted, and the state stays as it is."""

import pytest
import torch

from helpers.models import ON_BACKBONE, V, tiny_model, tiny_segments
from helpers.pretrained import wrapped, wrapped_armt, wrapped_encoder
from rmt.models.contract import SegmentModel
from rmt.models.pretrained.classifier import PretrainedClassifier
from rmt.models.pretrained.options import ClassifierOptions
from rmt.options.schedule import SCHEDULES

VARIANTS = {
    "mt as published": ("mt", {"published_memory": True}),
    "trxl_rmt as published": ("trxl_rmt", {"as_published": True}),
    "rmt, cutoffs": ("rmt", {"cutoffs": (5, 9), "div_val": 2}),
    "armt, delta": ("armt", {"memory_update": "delta"}),
}
PRETRAINED = {
    "pretrained": lambda: wrapped("gpt2"),
    "pretrained, paper": lambda: wrapped("gpt2", memory_mask="paper"),
    "pretrained, no memory": lambda: wrapped("gpt2", mem_len=0),
    "pretrained_armt": lambda: wrapped_armt("gpt2"),
    "encoder": lambda: PretrainedClassifier(
        ClassifierOptions(n_token=V, mem_len=3, n_labels=3), wrapped_encoder("bert")
    ),
}
MODELS = [*ON_BACKBONE, *VARIANTS, *PRETRAINED]


def made(name: str) -> SegmentModel:
    if name in PRETRAINED:
        return PRETRAINED[name]()
    kind, changes = VARIANTS.get(name, (name, {}))
    return tiny_model(kind, n_layer=4, **changes)  # from 4 on auto may go diagonally


def assert_same(found, expected) -> None:
    found, expected = found.tensors(), expected.tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("begun", [True, False])
def test_every_call_leaves_the_state_as_it_is(name, begun):
    model, ((tokens, _), (none, no_targets)) = made(name), tiny_segments([5, 0])
    after = model.advance(tokens)
    before = after if begun else None
    nll, state = model(none, no_targets, before)
    log_probs, predicted = model.predict(none, before)
    assert nll.shape == (2, 0)
    assert log_probs.shape[:2] == (2, 0)
    assert log_probs.shape[2] == model.predict(tokens)[0].shape[2]
    for found in (state, predicted, model.advance(none, before)):
        if begun:
            assert_same(found, before)
        assert_same(model.advance(tokens, found), model.advance(tokens, before))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_between_other_segments_it_is_as_if_it_was_not_there(name, schedule):
    model = made(name)
    if schedule == "diagonal" and model.config.why_sequential:
        pytest.skip(model.config.why_sequential)
    model.set_schedule(schedule)
    label = getattr(model.config, "first_label", None)
    segments = [
        (tokens, targets if label is None else torch.full_like(targets, label))
        for tokens, targets in tiny_segments([0, 0, 5, 5, 0, 0, 0, 5, 5, 5, 0])
    ]
    whole = [segment for segment in segments if segment[0].shape[1]]
    for call in (model.forward_each, model.predict_each):
        found, expected = list(call(segments)), list(call(whole))
        assert all(out.shape[:2] == (2, 0) for out, _ in found if not out.numel())
        pairs = zip([out for out, _ in found if out.numel()], expected, strict=True)
        for out, (other, _) in pairs:
            torch.testing.assert_close(out, other, rtol=0, atol=1e-12)
        assert_same(found[-1][1], found[-2][1])
        for key, tensor in expected[-1][1].tensors().items():
            torch.testing.assert_close(found[-1][1].tensors()[key], tensor, rtol=0, atol=1e-12)
