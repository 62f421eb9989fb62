"""Free-running prediction against a slow reference that knows nothing of kept keys and values."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.any_model import MODELS, any_model
from helpers.models import ON_BACKBONE, V, tiny_model
from rmt.evaluation.generation import generate
from rmt.models.contract import Decoder

N_STREAMS = 3


def random_tokens(n: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(V, (N_STREAMS, n), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def slow_generate(model, prompt, n_tokens, tgt_len):
    """For every token the whole stream again, from its start: the tokens and their log-probs."""
    stream, log_probs = prompt, []
    for _ in range(n_tokens):
        state = None
        for start in range(0, stream.shape[1], tgt_len):
            predicted, state = model.predict(stream[:, start : start + tgt_len], state)
        log_probs.append(predicted[:, -1])
        stream = torch.cat([stream, predicted[:, -1].argmax(-1, keepdim=True)], dim=1)
    return stream[:, prompt.shape[1] :], torch.stack(log_probs, dim=1)


@torch.no_grad()
def decoded(model, stream, tgt_len, at_a_time=1):
    """What the model's decoder says of every token's successor: [B, T, V]."""
    decoder = model.decoder(None, tgt_len, len(stream))
    parts = stream.split(at_a_time, dim=1)
    return torch.stack([decoder.feed(part) for part in parts], dim=1)


VARIANTS = [
    *((name, {}) for name in ON_BACKBONE),
    *((name, {"pre_lnorm": True}) for name in ON_BACKBONE),
    *((name, {"untie_r": True}) for name in ON_BACKBONE),
    *((name, {"div_val": 2, "cutoffs": (5, 12)}) for name in ON_BACKBONE),
    ("trxl", {"same_length": True}),
    ("trxl_rmt", {"same_length": True}),
    ("trxl_rmt", {"read_mem_from_cache": True}),
    ("rmt", {"memory_mask": "causal", "write_from": "learned"}),
    ("rmt", {"clamp_len": 3}),
    ("rmt", {"not_tied": True, "d_embed": 6}),
    ("rmt", {"cutoffs": (5, 12)}),
]


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_free_running_is_the_slow_reference(name, changes):
    model = tiny_model(name, **changes)
    prompt = random_tokens(8)
    tokens, log_probs = slow_generate(model, prompt, 13, 5)
    assert torch.equal(generate(model, prompt, 13, 5), tokens)
    fed = torch.cat([prompt, tokens[:, :-1]], dim=1)
    kept = decoded(model, fed, 5)[:, -13:]
    torch.testing.assert_close(kept, log_probs, rtol=0, atol=1e-9)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(ON_BACKBONE)),
    n_prompt=st.integers(1, 12),
    n_tokens=st.integers(1, 9),
    tgt_len=st.integers(1, 25),
)
def test_wherever_the_segments_are_cut(name, n_prompt, n_tokens, tgt_len):
    model, prompt = tiny_model(name), random_tokens(n_prompt)
    tokens, _ = slow_generate(model, prompt, n_tokens, tgt_len)
    assert torch.equal(generate(model, prompt, n_tokens, tgt_len), tokens)


@pytest.mark.parametrize("at_a_time", [1, 2, 5, 7])
@pytest.mark.parametrize("name", ON_BACKBONE)
def test_however_many_tokens_are_fed_at_a_time(name, at_a_time):
    model, stream = tiny_model(name), random_tokens(15)
    """Also over the end of a segment, and over several."""
    each = decoded(model, stream, 5)
    several = decoded(model, stream, 5, at_a_time)
    last_fed = [*range(at_a_time - 1, 15, at_a_time), 14][: several.shape[1]]
    torch.testing.assert_close(several, each[:, last_fed], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_a_models_own_decoder_says_what_the_plain_one_does(name):
    """From a state in the middle of a stream."""
    model, stream = tiny_model(name), random_tokens(11)
    state = model.advance(random_tokens(6, seed=4))
    own, plain = model.decoder(state, 4, N_STREAMS), Decoder(model, state, 4, N_STREAMS)
    for part in stream.split([1, 2, 6, 1, 1], dim=1):
        torch.testing.assert_close(own.feed(part), plain.feed(part), rtol=0, atol=1e-12)


def n_bytes(thing) -> int:
    """Of all the storage that a decoder keeps alive beside its model."""
    found, left = {}, [value for name, value in vars(thing).items() if name != "model"]
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, list | tuple):
            left += value
        elif dataclasses.is_dataclass(value):
            left += vars(value).values()
    return sum(found.values())


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_decoder_holds_as_much_after_many_tokens_as_after_few(name):
    """100,000 tokens in segments of 50, both counted at the same place of a segment."""
    model, held = any_model(name), {}
    decoder = model.decoder(None, 50, 1)
    assert n_bytes(decoder) < 100
    tokens = random_tokens(100_000)[:1]
    for n_read in range(0, 100_000, 500):
        decoder.read(tokens[:, n_read : n_read + 499])
        log_probs = decoder.feed(tokens[:, n_read + 499 : n_read + 500])
        assert log_probs.isfinite().all()
        held[n_read + 500] = n_bytes(decoder)
    assert held[1_000] == held[100_000] > 0


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_the_state_is_computed_once_per_segment(name, monkeypatch):
    model, prompt = tiny_model(name), random_tokens(12)
    advanced = []
    monkeypatch.setattr(
        model,
        "advance",
        lambda tokens, state: (
            advanced.append(tokens.shape[1]) or type(model).advance(model, tokens, state)
        ),
    )
    generate(model, prompt, 9, 5)
    assert advanced == [5, 5, 5, 5][: (12 + 9 - 1 - 1) // 5]


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_the_rows_computed_grow_linearly_with_the_answer(name, monkeypatch):
    """In one segment: every fed token is one row of every layer, however long the answer is."""
    model, prompt = tiny_model(name), random_tokens(4)
    rows, layer = [], model.layers[1]

    def with_keys_values(x, *others):
        rows.append(x.shape[1])
        return type(layer).with_keys_values(layer, x, *others)

    monkeypatch.setattr(layer, "with_keys_values", with_keys_values)
    n_read = model.config.n_memory
    for n in (1, 10, 20):
        rows.clear()
        generate(model, prompt, n, 100)
        assert rows == [n_read + 4] + [1] * (n - 1)
