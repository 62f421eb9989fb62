"""The five models: sizes, equations, streams and states."""

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
import torch

from helpers.models import LENGTHS, V, tiny_config, tiny_model, tiny_segments
from helpers.numpy_reference import reference_segment
from rmt.models.options import Carried
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.mem_transformer import MemoryAndCache, MemTransformerLM
from rmt.models.transformer_xl.options import MODELS, ModelConfig
from rmt.models.transformer_xl.published_names import published_state_dict
from rmt.runtime.errors import UsageError

WT103 = dict(n_layer=16, d_model=410, n_head=10, d_head=41, d_inner=2100)
ENWIK8 = dict(n_layer=12, d_model=512, n_head=8, d_head=64, d_inner=2048)
WT103_SOFTMAX = dict(n_token=267_735, cutoffs=(20_000, 40_000, 200_000))


@pytest.mark.parametrize(
    ("options", "in_all", "in_layers"),
    [
        (WT103 | WT103_SOFTMAX | dict(model="trxl", mem_len=150), 151_107_538, 41_066_400),
        (WT103 | WT103_SOFTMAX | dict(model="baseline"), 151_107_538, 41_066_400),
        (WT103 | WT103_SOFTMAX | dict(model="rmt", mem_len=10), 151_111_638, 41_066_400),
        (ENWIK8 | dict(model="trxl", mem_len=512, n_token=204), 41_055_436, 40_949_760),
        (ENWIK8 | dict(model="rmt", mem_len=1, n_token=204), 41_055_948, 40_949_760),
        (ENWIK8 | dict(model="mt", mem_len=5, n_token=204), 41_057_996, 40_949_760),
        (ENWIK8 | dict(model="trxl", mem_len=512, n_token=27), 40_964_635, 40_949_760),
    ],
)
def test_parameter_counts_are_the_published_ones(options, in_all, in_layers):
    with torch.device("meta"):
        config = ModelConfig(**options)
        model = MemTransformerLM(config)
    assert model.n_parameters() == in_all
    assert model.n_layer_parameters() == in_layers


VARIANTS = [
    {},
    {"cutoffs": (5, 9, 16)},
    {"cutoffs": (5, 9), "d_embed": 6},
    {"d_embed": 6, "not_tied": True},
    {"pre_lnorm": True},
    {"clamp_len": 4},
    {"untie_r": True},
    {"div_val": 2, "cutoffs": (5, 9, 16)},
    {"div_val": 2, "cutoffs": (5, 9), "d_embed": 6},
    {"div_val": 4, "cutoffs": (5, 9, 16)},  # the last words have no numbers
]
CASES = list(product(MODELS, VARIANTS))
CASES += [("trxl", {"same_length": True}), ("trxl_rmt", {"same_length": True})]
CASES += [("trxl_rmt", {"read_mem_from_cache": True, "cutoffs": (5,)})]
CASES += [("rmt", {"mem_len": 1}), ("trxl", {"mem_len": 3})]
# What the published code does besides, all of it and each alone; with 3 and 4 memory tokens so that
# a row sees cells more than one after it.
PUBLISHED = [
    *((name, {"as_published": True}) for name in MODELS),
    ("mt", {"published_memory": True}),
    ("mt", {"published_positions": True, "mem_len": 4}),
    ("rmt", {"published_positions": True}),
    ("rmt", {"as_published": True, "mem_len": 4, "clamp_len": 4, "pre_lnorm": True}),
    ("trxl_rmt", {"published_cache": True}),
    ("trxl_rmt", {"published_positions": True, "mem_len": 4}),
    ("trxl_rmt", {"as_published": True, "mem_len": 3, "read_mem_from_cache": True}),
]
CASES += PUBLISHED
# What the ablations change.
CASES += [(name, {"memory_mask": "causal", "mem_len": 3}) for name in ("mt", "rmt", "trxl_rmt")]
CASES += [(name, {"write_from": "learned"}) for name in ("rmt", "trxl_rmt")]
CASES += [("trxl_rmt", {"memory_mask": "causal", "read_mem_from_cache": True})]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_three_segments_equal_the_numpy_reference(name, changes):
    model = tiny_model(name, **changes)
    weights = {key: tensor.numpy() for key, tensor in published_state_dict(model).items()}
    state, expected_state = None, None
    for tokens, targets in tiny_segments([7, 5, 6]):
        with torch.no_grad():
            log_probs, _ = model.predict(tokens, state)
            nll, state = model(tokens, targets, state)
        expected_nll, expected_log_probs, expected_state = reference_segment(
            weights, model.config, tokens.numpy(), targets.numpy(), expected_state
        )
        np.testing.assert_allclose(nll.numpy(), expected_nll, rtol=0, atol=1e-9)
        np.testing.assert_allclose(log_probs.numpy(), expected_log_probs, rtol=0, atol=1e-9)
        if state.memory is not None:
            np.testing.assert_allclose(
                state.memory.numpy(), expected_state["memory"], rtol=0, atol=1e-9
            )
        else:
            assert expected_state["memory"] is None
        for ours, theirs in zip(state.cache or (), expected_state["cache"] or (), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "changes"), PUBLISHED)
def test_what_is_published_changes_what_it_says_alone(name, changes):
    """Not the first segment of mt, nor any model without memory."""
    options = {k: v for k, v in changes.items() if "published" not in k}
    as_paper, as_published = tiny_model(name, **options), tiny_model(name, **changes)
    differs, states = [], [None, None]
    for tokens, targets in tiny_segments([7, 5, 6]):
        losses = []
        for i, model in enumerate((as_paper, as_published)):
            nll, states[i] = model(tokens, targets, states[i])
            losses.append(nll)
        differs.append(not torch.allclose(*losses, rtol=0, atol=1e-9))
    positions = as_published.config.shifts_as_published
    later = name == "mt" or "published_cache" in changes or "as_published" in changes
    expected = [True] * 3 if positions else [False, later, later]
    assert differs == ([False] * 3 if name in ("baseline", "trxl") else expected)


@pytest.mark.parametrize(("name", "changes"), PUBLISHED)
def test_what_is_published_decodes_as_it_predicts(name, changes):
    """Also where keys and values can't be kept, for they depend on the segment's length."""
    model = tiny_model(name, **changes)
    (tokens, _), (more, _) = tiny_segments([7, 6])
    state = model.advance(tokens)
    decoder = model.decoder(state, tgt_len=6, n_streams=2)
    for n in range(1, 7):
        expected = model.predict(more[:, :n], state)[0][:, -1]
        found = decoder.feed(more[:, n - 1 : n])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_memory_that_mt_passes_on_has_no_gradient():
    model = tiny_model("mt", published_memory=True)
    state = model.advance(tiny_segments([5])[0][0])
    assert state.memory.shape == (2, 2, 8)
    assert not state.memory.requires_grad
    assert model.carries == Carried(2 * 8, gradient=False)


def test_a_cache_of_memory_rows_counts_no_tokens():
    with pytest.raises(UsageError, match="same_length counts tokens, but the published cache"):
        tiny_config("trxl_rmt", as_published=True, same_length=True)


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_the_targets_log_probabilities(name):
    model = tiny_model(name, cutoffs=(5, 9, 16))
    [(tokens, targets)] = tiny_segments([7])
    nll, _ = model(tokens, targets)
    log_probs, _ = model.predict(tokens)
    torch.testing.assert_close(nll, -log_probs.gather(2, targets[..., None]).squeeze(2))
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 7).double())


@pytest.mark.parametrize("name", MODELS)
def test_advance_gives_the_state_of_forward(name):
    model = tiny_model(name)
    state = advanced = None
    for tokens, targets in tiny_segments([7, 5, 6]):
        _, state = model(tokens, targets, state)
        advanced = model.advance(tokens, advanced)
        assert state.tensors().keys() == advanced.tensors().keys()
        for key, tensor in state.tensors().items():
            torch.testing.assert_close(advanced.tensors()[key], tensor, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "flags"), [("trxl", {"mem_len": 3}), ("trxl_rmt", {})])
def test_a_cache_keeps_its_own_rows_alone_in_memory(name, flags):
    """Longer segments than the cache, and shorter ones."""
    model, state = tiny_model(name, **flags), None
    for tokens, _ in tiny_segments([7, 2, 6]):
        state = model.advance(tokens, state)
        for layer in state.cache:
            assert layer.shape[1] <= model.config.n_cached
            assert layer.untyped_storage().nbytes() == layer.nbytes


def test_segments_with_a_full_cache_equal_one_long_pass():
    model = tiny_model("trxl", mem_len=18)
    segments = tiny_segments([7, 5, 6])
    state, parts = None, []
    for tokens, targets in segments:
        nll, state = model(tokens, targets, state)
        parts.append(nll)
    tokens, targets = (torch.cat(side, dim=1) for side in zip(*segments, strict=True))
    whole, _ = model(tokens, targets)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_no_token_sees_a_later_one(name):
    model = tiny_model(name)
    [(tokens, targets), (later, _)] = tiny_segments([6, 6])
    nll, _ = model(tokens, targets)
    changed = tokens.clone()
    changed[:, 4:] = (tokens[:, 4:] + 1 + later[:, 4:] % (V - 1)) % V
    other, _ = model(changed, targets)
    torch.testing.assert_close(other[:, :4], nll[:, :4], rtol=0, atol=1e-12)
    assert (other[:, 4:] - nll[:, 4:]).abs().min() > 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_what_a_segment_leaves_to_the_next(name):
    model = tiny_model(name)
    first, second, other = tiny_segments([7, 5, 7])
    states = [model.advance(tokens) for tokens, _ in (first, other)]
    losses = [model(*second, state)[0] for state in states]
    if name in ("baseline", "mt"):
        assert all(state == MemoryAndCache() for state in states)
        assert torch.equal(*losses)
    else:
        assert (losses[0] - losses[1]).abs().min() > 1e-9  # every later token is reached


def test_the_cache_has_no_gradient_and_the_memory_has():
    for name in ("trxl", "trxl_rmt"):
        state = tiny_model(name).advance(tiny_segments([7])[0][0])
        assert not any(layer.requires_grad for layer in state.cache)
    for name in ("rmt", "trxl_rmt"):
        state = tiny_model(name).advance(tiny_segments([7])[0][0])
        assert state.memory.requires_grad


def test_the_cache_holds_the_inputs_of_the_layers_at_sequence_tokens():
    model = tiny_model("trxl_rmt", mem_len=2, cache_len=4)
    [(tokens, _)] = tiny_segments([6])
    inputs = []  # of every layer, whose keys and values are made of all rows
    for layer in model.layers:
        layer.attention.key_value.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    state = model.advance(tokens)
    for kept, rows in zip(state.cache, inputs, strict=True):
        assert torch.equal(kept, rows[:, 2 + 6 - 4 : 2 + 6])


@pytest.mark.parametrize("name", MODELS)
def test_streams_of_a_batch_do_not_meet(name):
    model = tiny_model(name)
    segments = tiny_segments([7, 5], n_streams=3)
    state, alone = None, None
    for tokens, targets in segments:
        nll, state = model(tokens, targets, state)
        nll_alone, alone = model(tokens[1:2], targets[1:2], alone)
        torch.testing.assert_close(nll[1:2], nll_alone, rtol=0, atol=1e-12)
    for key, tensor in state[1:2].tensors().items():
        torch.testing.assert_close(tensor, alone.tensors()[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_states_survive_being_taken_apart(name):
    model = tiny_model(name)
    state = model.advance(tiny_segments([7])[0][0])
    copy = MemoryAndCache.from_tensors(state.tensors())
    assert copy.tensors().keys() == state.tensors().keys()
    assert all(torch.equal(copy.tensors()[k], v) for k, v in state.tensors().items())
    assert not any(tensor.requires_grad for tensor in state.detach().tensors().values())
    halved = state.to(torch.float32)
    assert all(tensor.dtype == torch.float32 for tensor in halved.tensors().values())


def test_a_state_of_another_batch_is_refused():
    model = tiny_model("rmt")
    state = model.advance(tiny_segments([5], n_streams=3)[0][0])
    with pytest.raises(ValueError, match="holds 3 streams, the tokens 2"):
        model.advance(tiny_segments([5])[0][0], state)


def test_memory_starts_as_distinct_rows_unless_shared():
    distinct = MemTransformerLM(tiny_config("rmt", mem_len=6)).memory
    assert torch.pdist(distinct).min() > 0.1
    shared = MemTransformerLM(tiny_config("rmt", mem_len=6, mem_init="shared")).memory
    assert torch.equal(shared, shared[:1].expand(6, -1))


@pytest.mark.parametrize("name", ["mt", "rmt", "trxl_rmt"])
def test_the_initial_memory_receives_gradient(name):
    model = tiny_model(name)
    [segment] = tiny_segments([5])
    model(*segment)[0].mean().backward()
    assert (model.memory.grad.abs().sum(dim=1) > 0).all()


@torch.no_grad()
def test_initial_weights_follow_transformer_xl():
    torch.manual_seed(0)
    config = tiny_config("rmt", d_model=64, d_inner=128, n_head=4, d_head=16, cutoffs=(9,))
    model = MemTransformerLM(config)
    assert model.layers[0].attention.query.weight.std() == pytest.approx(0.02, rel=0.1)
    assert model.embedding.weight.std() == pytest.approx(0.02, rel=0.1)
    assert model.layers[1].attention_norm.weight.mean() == pytest.approx(1, abs=0.02)
    assert model.layers[1].attention_norm.weight.std() == pytest.approx(0.02, rel=0.4)
    assert model.memory.std() == pytest.approx(1, rel=0.2)
    for bias in (model.layers[0].feed_forward.inner.bias, model.softmax.bias):
        assert not bias.any()
    uniform = MemTransformerLM(tiny_config("rmt", init="uniform", init_range=0.5))
    assert 0.4 < uniform.embedding.weight.abs().max() <= 0.5


@torch.no_grad()
def test_every_weight_is_drawn():
    torch.manual_seed(0)
    sizes = {"d_model": 64, "d_embed": 32, "n_head": 4, "d_head": 16, "cutoffs": (9,)}
    model = MemTransformerLM(tiny_config("rmt", not_tied=True, proj_init_std=0.1, **sizes))
    names = dict(model.named_parameters())
    shrinking = MemTransformerLM(
        tiny_config("rmt", proj_init_std=0.1, **(sizes | {"n_token": 300, "div_val": 2}))
    )
    names |= {f"{name} (div_val)": each for name, each in shrinking.named_parameters()}
    for name, weight in names.items():
        name = name.removesuffix(" (div_val)")
        if name.rpartition(".")[2] in ("bias", "cluster_bias"):
            assert not weight.any(), name
        elif "norm" not in name and name != "memory":
            expected = 0.1 if "projection" in name else 0.02
            assert weight.std() == pytest.approx(expected, rel=0.35), name


def test_embeddings_that_shrink_have_the_published_shapes():
    """Those of transfo-xl-wt103: 1024, 256, 64 and 16 numbers, and a projection of each."""
    with torch.device("meta"):
        config = ModelConfig(
            **dict(n_token=267_735, model="trxl", mem_len=1600, n_layer=18, d_model=1024),
            **dict(n_head=16, d_head=64, d_inner=4096, cutoffs=(20_000, 40_000, 200_000)),
            **dict(div_val=4, untie_r=True),
        )
        model = MemTransformerLM(config)
    words = 20_000 * 1024 + 20_000 * 256 + 160_000 * 64 + 67_735 * 16
    projections = 1024 * (1024 + 256 + 64 + 16)
    of_softmax = 1024 * 1024 + 267_735 + 3 * (1024 + 1)
    assert model.n_parameters() - model.n_layer_parameters() == words + projections + of_softmax


def test_every_word_has_an_embedding_of_its_own_and_ids_beyond_them_none():
    model = tiny_model("rmt", div_val=2, cutoffs=(5, 9, 16))
    embedded = model.embedded(torch.arange(V)[None])[0]
    assert torch.pdist(embedded).min() > 1e-3
    for wrong in (V, -1):
        with pytest.raises(IndexError):
            model.embedded(torch.tensor([[wrong]]))


def test_clusters_that_shrink_need_a_cluster():
    with pytest.raises(UsageError, match="div_val 2 makes the embeddings of an adaptive softmax's"):
        MemTransformerLM(tiny_config("rmt", div_val=2))
    with pytest.raises(UsageError, match="leave out not_tied or div_val"):
        tiny_config("rmt", div_val=2, cutoffs=(5,), not_tied=True)


@torch.no_grad()
def test_biases_of_one_layer_alone_change_that_layer_alone():
    """With untie_r; they count as the layer's, as in the published code, and start like others."""
    torch.manual_seed(0)
    sizes = {"n_head": 8, "d_head": 32, "d_model": 8, "untie_r": True}
    model = MemTransformerLM(tiny_config("rmt", **sizes))
    tied = MemTransformerLM(tiny_config("rmt", **(sizes | {"untie_r": False})))
    assert model.n_layer_parameters() - tied.n_layer_parameters() == 3 * 2 * 8 * 32
    assert model.n_parameters() - tied.n_parameters() == (3 - 1) * 2 * 8 * 32
    for layer in model.layers:
        for bias in model.biases(layer):
            assert bias.std() == pytest.approx(0.02, rel=0.35)

    weights, (tokens, _) = [], tiny_segments([5], n_streams=1)[0]
    for change in (0.0, 50.0):
        for bias in model.biases(model.layers[1]):
            bias += change
        weights.append(model.attention(tokens, None, predict=True)[0].layers)
    same = [np.allclose(*both) for both in zip(*weights, strict=True)]
    assert same == [True, False, False], "the third layer reads what the second one says"


def test_where_dropout_is():
    """On the input with its memory, positions, both sublayers, and the output."""
    model, seen = tiny_model("rmt", n_layer=1), []
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(
                lambda _, args, out, name=name: seen.append((name, tuple(args[0].shape)))
            )
    model(*tiny_segments([5])[0])
    rows, last = (2, 3 + 5 + 3), (2, 5 + 3)  # of the last layer the read memory is not computed
    assert seen == [
        ("dropout", (*rows, 8)),
        ("dropout", (11 + 3, 8)),
        ("layers.0.dropout", (*last, 8)),
        ("layers.0.feed_forward.dropout", (*last, 12)),
        ("layers.0.feed_forward.dropout", (*last, 8)),
        ("dropout", (*last, 8)),
    ]


def test_the_memory_that_is_passed_on_has_had_dropout():
    model = tiny_model("rmt")
    model.dropout.register_forward_hook(lambda _, args, out: 0 * out)
    assert not model.advance(tiny_segments([5])[0][0]).memory.any()


def test_with_lengths_shares_the_weights_and_leaves_the_model_alone():
    model = tiny_model("trxl")
    view = model.with_lengths(mem_len=2, clamp_len=3)
    assert view.embedding.weight is model.embedding.weight
    tokens = tiny_segments([7])[0][0]
    assert view.advance(tokens).cache[0].shape[1] == 2
    assert model.advance(tokens).cache[0].shape[1] == 7
    with pytest.raises(ValueError, match="which its weights depend on"):
        tiny_model("rmt").with_lengths(mem_len=2)
    with pytest.raises(UsageError, match="same_length needs cached states"):
        model.with_lengths(mem_len=0, same_length=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_stay_what_they_are(name, dtype):
    model = tiny_model(name).to(dtype)
    [segment] = tiny_segments([5])
    nll, state = model(*segment)
    assert nll.dtype == dtype
    assert all(tensor.dtype == dtype for tensor in state.tensors().values())


@pytest.mark.parametrize("name", MODELS)
def test_bf16_autocast_stays_close_to_fp32(name):
    model = tiny_model(name, cutoffs=(9,)).float()
    segments = tiny_segments([7, 5])
    losses = {}
    for enabled in (False, True):
        state = None
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for segment in segments:
                nll, state = model(*segment, state)
        losses[enabled] = nll
    assert losses[True].dtype == torch.float32
    assert (losses[True] - losses[False]).abs().mean() < 0.05 * math.log(V)


def test_lengths_cover_every_model():
    assert set(LENGTHS) == set(MODELS)


def step_with_rooms(name: str, given: bool, device: str = "cpu", div_val: int = 1) -> tuple:
    """Losses and gradients of two segments with a softmax that has clusters."""
    segments = tiny_segments([6, 6])
    model = tiny_model(name, cutoffs=(5, 9), div_val=div_val).to(device)
    rooms = tuple(map(max, *(model.rooms(targets) for _, targets in segments)))
    segments = [(tokens.to(device), targets.to(device)) for tokens, targets in segments]
    state, losses = None, []
    with model.given_rooms(rooms if given else None):
        for tokens, targets in segments:
            nll, state = model(tokens, targets, state)
            losses.append(nll)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(torch.cat(losses).mean(), weights, materialize_grads=True)
    return (*losses, *gradients)


@pytest.mark.parametrize("div_val", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_rooms_change_neither_losses_nor_gradients(name, div_val):
    steps = (step_with_rooms(name, given, div_val=div_val) for given in (False, True))
    for asked, given in zip(*steps, strict=True):
        torch.testing.assert_close(given, asked, rtol=0, atol=1e-12)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("div_val", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_with_rooms_does_not_wait_for_the_device(name, div_val):
    step_with_rooms(name, True, "cuda", div_val)  # makes masks and distances
    model = tiny_model(name, cutoffs=(5, 9), div_val=div_val).to("cuda")
    tokens = torch.arange(12, device="cuda").view(2, 6)
    rooms = (12, 12)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with model.given_rooms(rooms):
            nll, _ = model(tokens, tokens)
        nll.mean().backward()
        with pytest.raises(RuntimeError, match="synchronizing"):
            model(tokens, tokens)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("shorter", [4, 0])
@pytest.mark.parametrize(("name", "length"), [("trxl", "mem_len"), ("trxl_rmt", "cache_len")])
def test_of_a_cache_that_is_longer_than_the_views_it_sees_the_end(name, length, shorter):
    model, segments = tiny_model(name), tiny_segments([5] * 4)
    *_, (_, state) = model.forward_each(segments)
    assert state.cache[0].shape[1] == 9
    view = model.with_lengths(**{length: shorter})
    cut = tuple(own[:, 9 - shorter :] for own in state.cache) if shorter else None
    cut = dataclasses.replace(state, cache=cut)
    for schedule in ("sequential", "diagonal") if name == "trxl" else ("sequential",):
        view.set_schedule(schedule)
        each = (view.forward_each(segments, own) for own in (state, cut))
        for (nll, after), (its, other) in zip(*each, strict=True):
            assert torch.equal(nll, its)
            assert after.tensors().keys() == other.tensors().keys()
            assert all(map(torch.equal, after.tensors().values(), other.tensors().values()))
    tokens = segments[0][0]
    fed = [view.decoder(each, 3, 2).feed(tokens) for each in (state, cut)]
    assert torch.equal(*fed)
    stream = tokens[:1]
    found, expected = (view.attention(stream, each[:1], predict=True)[0] for each in (state, cut))
    assert found.regions == expected.regions
    assert (found.layers[0] == expected.layers[0]).all()
