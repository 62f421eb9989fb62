"""Associative memories around a backbone's layers: as NumPy has them, and what they promise."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import numpy_associative
from helpers.pretrained import (
    CAUSAL,
    IN_FLOAT32,
    WINDOWED,
    V,
    assert_same_state,
    backbone,
    tolerance,
    words,
    wrapped_armt,
)
from rmt.models.contract import Carried
from rmt.models.pretrained.wrapping import wrap_armt
from rmt.runtime.errors import UsageError

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
every_family = pytest.mark.parametrize("name", CAUSAL)
VARIANTS = [{}, {"memory_update": "delta"}, {"correction": False}]
every_variant = pytest.mark.parametrize("options", VARIANTS)


# Against another computation


def by_hand(model, tokens_T, states):
    """One segment of one stream: the backbone's layers called one by one, memories in NumPy.

    states: a {"A", "z"} per layer. Gives the log-probabilities [T, V] and the next states.
    """
    config, base = model.config, model.backbone.base_model
    rows = torch.cat([model.embedding(tokens_T), model.memory])[None]
    positions = torch.arange(rows.shape[1])[None]
    x = base(inputs_embeds=rows, output_hidden_states=True).hidden_states[0]
    layers, inputs = base.h if hasattr(base, "h") else base.layers, {}
    if hasattr(base, "rotary_emb"):
        inputs["position_embeddings"] = base.rotary_emb(x, positions)
    after, n_memory = [], config.mem_len
    for layer, memory, state in zip(layers, model.memories, states, strict=True):
        own = {name: weight.numpy() for name, weight in memory.state_dict().items()}
        weights = {name: own[f"{name}.weight"] for name in ("query", "key", "value")}
        weights["strength_weight"] = own["strength.weight"]
        weights["strength_bias"] = own["strength.bias"]
        how = weights, config.dpfp_nu, config.memory_update == "delta"
        known = [numpy_associative.read(*how, row.numpy(), state) for row in x[0]]
        out = layer(x + torch.tensor(np.array(known)), **inputs)
        x = out[0] if isinstance(out, tuple) else out
        written = x[0, -n_memory:].numpy()
        after.append(numpy_associative.write(*how, config.correction, written, state))
    norm = base.ln_f if hasattr(base, "ln_f") else getattr(base, "final_layer_norm", None)
    hidden = (norm or base.norm)(x)[0, :-n_memory]
    return model.backbone.get_output_embeddings()(hidden).log_softmax(-1), after


@pytest.mark.parametrize("name", [name for name in CAUSAL if name not in WINDOWED])
@every_variant
@torch.no_grad()
def test_it_is_the_layers_with_memories_in_numpy(name, options):
    """Predictions and states of three segments, the last of which is shorter."""
    model, tokens = wrapped_armt(name, **options), words(2, 13)
    empty = {"A": np.zeros((16, 16)), "z": np.zeros(16)}
    states, state = [[empty, empty]] * 2, None
    close = {"rtol": 0, "atol": 1e-4 if name in IN_FLOAT32 else 1e-9}
    known = []
    for part in tokens.split([5, 5, 3], dim=1):
        found, state = model.predict(part, state)
        for b in range(2):
            expected, states[b] = by_hand(model, part[b], states[b])
            np.testing.assert_allclose(found[b], expected, **close)
            for i, of_layer in enumerate(states[b]):
                np.testing.assert_allclose(state.A[i][b], of_layer["A"], **close)
                if state.z is not None:
                    np.testing.assert_allclose(state.z[i][b], of_layer["z"], **close)
        known.append(model.predict(part)[0])
    assert (known[-1] - found).abs().max() > 0.01  # what is known matters


@every_family
@every_variant
@torch.no_grad()
def test_a_new_one_predicts_what_the_backbone_does(name, options):
    alone, tokens = backbone(name), words(2, 10)
    model, state = wrap_armt(backbone(name), mem_len=3, tgt_len=5, **options), None
    for part in tokens.split(5, dim=1):
        log_probs, state = model.predict(part, state)
        expected = alone(input_ids=part).logits.log_softmax(-1)
        torch.testing.assert_close(log_probs, expected, **tolerance(name))
    assert not any(A.any() for A in state.A)
    assert state.z is None or all(z.any() for z in state.z)


@every_family
@torch.no_grad()
def test_an_empty_memory_changes_no_bit(name):
    """Nothing is known in a first segment, whatever the memories' weights are."""
    model, tokens = wrapped_armt(name), words(2, 5)
    rows = torch.cat([model.embedding(tokens), model.memory.expand(2, -1, -1)], dim=1)
    hidden = model.backbone.base_model(inputs_embeds=rows).last_hidden_state[:, :-3]
    assert torch.equal(model.predict(tokens)[0], model.log_probs(hidden))
    none, zeros = model.advance(tokens), model.advance(tokens, model.empty_state(2))
    assert all(torch.equal(none.tensors()[key], zeros.tensors()[key]) for key in none.tensors())


# Its state


@every_family
@every_variant
def test_forward_predict_and_advance_hand_over_the_same(name, options):
    model, state = wrapped_armt(name, **options), None
    for part in words(2, 9).split([5, 4], dim=1):
        nll, after = model(part, part, state)
        log_probs, again = model.predict(part, state)
        assert_same_state(after, again)
        assert_same_state(model.advance(part, state), after)
        expected = -log_probs.gather(2, part[..., None]).squeeze(2)
        torch.testing.assert_close(nll, expected, rtol=0, atol=1e-12)
        state = after
    n_columns = 16 if options.get("memory_update") == "delta" else 17
    assert model.carries == Carried(2 * 16 * n_columns, gradient=True)
    assert model.carries.numbers == sum(t[0].numel() for t in state.tensors().values())


@every_family
def test_nothing_is_kept_between_calls(name):
    model, tokens = wrapped_armt(name), words(2, 5)
    state = model.advance(tokens)
    first = model.predict(tokens, state)[0]
    with pytest.raises(ValueError, match="holds 2 streams"):
        model.predict(tokens[:1], state)
    with pytest.raises(IndexError):
        model.predict(torch.full_like(tokens, V), state)
    assert torch.equal(model.predict(tokens, state)[0], first)
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in model.modules()]
    assert not any(hooks)


def test_hooks_are_gone_when_the_backbone_fails():
    model, tokens = wrapped_armt("gpt2"), words(1, 5)

    def fail(module, args):
        raise RuntimeError("as out of memory")

    failing = model.backbone.transformer.h[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.predict(tokens)
    failing.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@every_family
def test_a_segment_without_tokens_writes_nothing(name):
    model, tokens = wrapped_armt(name), words(2, 5)
    state = model.advance(tokens)
    nll, after = model(tokens[:, :0], tokens[:, :0], state)
    assert nll.shape == (2, 0)
    assert after is state
    assert model.predict(tokens[:, :0], state)[0].shape == (2, 0, V)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@every_variant
@pytest.mark.parametrize("autocast", [True, False])
def test_in_bf16_it_trains_and_its_state_is_of_full_precision(name, options, autocast):
    exact, tokens = wrapped_armt(name, **options).float(), words(2, 15)
    model = wrapped_armt(name, **options).to(torch.float32 if autocast else torch.bfloat16)
    losses = []
    for each in (exact, model):
        state = None
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and each is model):
            for part in tokens.split(5, dim=1):
                nll, state = each(part, part, state)
        nll.mean().backward()
        losses.append(nll.mean().item())
        assert {t.dtype for t in state.tensors().values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert all(m.value.weight.grad.isfinite().all() for m in model.memories)
    assert all(m.value.weight.grad.any() for m in model.memories)


def with_other_layers(n_layer: int) -> nn.Module:
    """A backbone that says it has so many layers, and whose first two seem to be others."""
    model = backbone("gpt2")
    model.transformer.wte.others = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model.config.num_hidden_layers = n_layer
    return model


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: wrap_armt(nn.Linear(2, 2), mem_len=1, tgt_len=2), "of the transformers library"),
        (lambda: wrap_armt(backbone("bert_alone"), mem_len=1, tgt_len=2), "no causal language"),
        (lambda: wrap_armt(with_other_layers(2), mem_len=1, tgt_len=2), "with other layers than"),
        (lambda: wrap_armt(with_other_layers(3), mem_len=1, tgt_len=2), "no list of 3 layers"),
        (lambda: wrapped_armt("gpt2", tgt_len=62), "64 rows, and 62 tokens and 3 of memory"),
        (lambda: wrapped_armt("gpt2", mem_len=0), "pretrained_armt needs memory tokens"),
        (lambda: wrapped_armt("gpt2", d_mem=0), "d_mem must be 1 or more, but it is 0"),
        (lambda: wrapped_armt("gpt2", memory_update="no"), "must be one of normalized, delta"),
        (
            lambda: wrapped_armt("gpt2", memory_update="delta", correction=False),
            "delta has none: leave one of them out",
        ),
        (lambda: wrapped_armt("gpt2").predict(words(1, 62)), "choose a shorter segment"),
        (lambda: wrapped_armt("gpt2").decoder(None, 62), "choose a shorter segment"),
    ],
)
def test_wrong_use(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()
