"""Gradient through memory around causal language models, of both kinds, in our own training."""

import pytest
import torch
from torch import nn

from helpers.pretrained import CAUSAL, WINDOWED, words, wrapped, wrapped_armt
from rmt.training.recurrence import Stream, Unrolled

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
every_family = pytest.mark.parametrize("name", CAUSAL)
both_kinds = pytest.mark.parametrize("make", [wrapped, wrapped_armt])
SEGMENTS = [(words(2, n, seed=n), words(2, n, seed=n + 50)) for n in (5, 4, 5, 3)]


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [(make, name, {}) for make in (wrapped, wrapped_armt) for name in CAUSAL]
    + [(wrapped, name, {"memory_mask": "paper"}) for name in CAUSAL if name not in WINDOWED],
)
def test_padding_and_absent_texts_get_no_gradient_and_no_nan(make, name, options):
    model, tokens, embedded = make(name, **options), words(2, 5), []

    def keep(module, args, out):
        out.retain_grad()
        embedded.append(out)

    model.embedding.register_forward_hook(keep)
    _, state = model(tokens, tokens, None, torch.tensor([3, 0]))
    model(tokens, tokens, state)[0].sum().backward()
    assert [row.any().item() for row in embedded[0].grad[0]] == [True] * 3 + [False] * 2
    assert not embedded[0].grad[1].any()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert model.memory.grad.any()


@both_kinds
@every_family
@pytest.mark.parametrize("unrolls", [0, 1, 2])
def test_replay_reaches_exactly_the_unrolled_segments(name, make, unrolls):
    model = make(name)
    owner, embedded = {tokens.data_ptr(): i for i, (tokens, _) in enumerate(SEGMENTS)}, {}

    def keep(module, args, out):
        if out.requires_grad:
            out.retain_grad()
            embedded[owner[args[0].data_ptr()]] = out

    model.embedding.register_forward_hook(keep)
    stream = Stream(unrolls, "replay")
    for t, segment in enumerate(SEGMENTS):
        embedded.clear()
        stream.step(Unrolled(model), [segment]).mean().backward()
        reached = {s for s, out in embedded.items() if out.grad is not None and out.grad.any()}
        assert reached == set(range(max(0, t - unrolls), t + 1))


@both_kinds
@every_family
@pytest.mark.parametrize("checkpointed", ["nothing", "segments", "layers"])
@pytest.mark.parametrize("mode", ["replay", "window"])
def test_replay_and_window_are_full_backpropagation_where_they_cover_the_stream(
    name, make, checkpointed, mode
):
    model, state, losses = make(name), None, []
    for tokens, targets in SEGMENTS:
        nll, state = model(tokens, targets, state)
        losses.append(nll.sum())
    (losses[-1] if mode == "replay" else sum(losses)).backward()
    expected = gradients_of(model)
    assert expected["memory"].any()
    assert all(gradient.any() for key, gradient in expected.items() if "memor" in key)

    if checkpointed == "layers":  # by the backbone itself, which does so in training alone
        model.backbone.config.use_cache = False
        model.backbone.activation_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    stream, unrolled = Stream(3, mode), Unrolled(model, checkpointed == "segments")
    for start in range(0, len(SEGMENTS), stream.segments_per_step):
        model.zero_grad()
        part = SEGMENTS[start : start + stream.segments_per_step]
        stream.step(unrolled, part).sum().backward()
    found = gradients_of(model)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-6, atol=1e-10)
