"""What decoding costs. That it predicts what the model does is in tests/evaluation."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.models import ON_BACKBONE, V, tiny_model, tiny_segments
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM

D, WIDTH, INNER = 8, 8, 12  # of tiny_model


def of_a_row(model: MemTransformerLM, n_keys: int) -> int:
    """Operations of one new row of all layers that sees so many keys, and of its prediction.

    Without content scores: the counter does not know products that add in place.
    """
    config = model.config
    projections = 2 * D * WIDTH * 4  # of query, key, value and output
    n_distances = n_keys + max(1, config.n_memory)
    layer = projections + 2 * WIDTH * (n_distances + n_keys) + 2 * 2 * D * INNER
    if config.model == "armt":  # a query, and what is known under it
        layer += 2 * (D * config.d_mem + config.n_features * (D + 1))
    return config.n_layer * layer + 2 * D * V


@pytest.mark.parametrize("name", ON_BACKBONE)
@torch.no_grad()
def test_a_token_costs_one_row_of_every_layer(name):
    """And nothing for each key that is there already, but that it is read."""
    lengths = {"trxl": {"mem_len": 60}, "trxl_rmt": {"cache_len": 60}}.get(name, {})
    model, ((tokens, _),) = tiny_model(name, **lengths), tiny_segments([60], n_streams=1)
    state = None
    for part in tokens.split(30, dim=1):
        state = model.advance(part, state)
    decoder, n_before = model.decoder(state, 30), model.config.n_cached + model.config.n_memory
    decoder.feed(tokens[:, :2])
    for n in range(3, 31):
        with FlopCounterMode(display=False) as counter:
            decoder.feed(tokens[:, n : n + 1])
        assert counter.get_total_flops() == of_a_row(model, n_before + n)


@pytest.mark.parametrize("name", ON_BACKBONE)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clamp_len": 4, "pre_lnorm": True, "untie_r": True},
        {"memory_mask": "causal"},
        {"same_length": True},
        {"pad_sizes": "on"},
        {"read_mem_from_cache": True},
    ],
)
@torch.no_grad()
def test_places_are_those_of_the_tokens_however_they_come(name, changes):
    """Against predict, in pieces of all lengths, through segments that a cache fills in."""
    option = next(iter(changes), None)
    config = tiny_model(name).config
    if option == "memory_mask" and (name == "armt" or not config.n_memory):
        pytest.skip("there is no such memory")
    if option == "same_length" and not config.n_cached:
        pytest.skip("there is no cache")
    if option == "read_mem_from_cache" and name != "trxl_rmt":
        pytest.skip("there is not both")
    model, (tokens, _) = tiny_model(name, **changes), tiny_segments([19])[0]
    state, expected = None, []
    for part in tokens.split(6, dim=1):
        expected.append(model.predict(part, state)[0])
        state = model.advance(part, state)
    expected, decoder, n = torch.cat(expected, dim=1), model.decoder(None, 6, 2), 0
    for size in (1, 2, 1, 3, 5, 1, 1, 4, 1):
        n += size
        found = decoder.feed(tokens[:, n - size : n])
        torch.testing.assert_close(found, expected[:, n - 1], rtol=0, atol=1e-11)
