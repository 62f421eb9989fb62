"""Padded sizes, forced on a CPU: the same model in float64, whose every size needs padding."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.models import ON_BACKBONE, V, tiny_config, tiny_model, tiny_segments
from helpers.schedules import layer_local
from rmt.models.options import ModelOptions
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.grouped import GroupedLinear
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.padding import MULTIPLE, PaddedLinear, padded
from rmt.models.transformer_xl.word_weights import gradients_in_place

ODD = {"d_model": 10, "n_head": 3, "d_head": 5, "d_inner": 22}
VARIANTS = [
    {},
    {"cutoffs": (5, 9, 16)},
    {"cutoffs": (5, 9), "d_embed": 6},
    {"cutoffs": (4,), "not_tied": True, "d_embed": 6},
    {"cutoffs": (5, 9, 16), "div_val": 2},
    {"not_tied": True},
    {"pre_lnorm": True, "clamp_len": 4},
    {"as_published": True},
    {"untie_r": True},
    {"d_model": 16, "d_head": 16, "d_inner": 32},  # the vocabulary alone needs it
    {"d_model": 16, "n_head": 4, "d_head": 4},  # a head needs it, all heads together do not
]
# The published code of the paper's models has no armt.
CASES = [
    case for case in product(ON_BACKBONE, VARIANTS) if case != ("armt", {"as_published": True})
]


def pair(name: str, **changes) -> tuple[MemTransformerLM, MemTransformerLM]:
    """The same model without and with padding."""
    plain, padding = (tiny_model(name, pad_sizes=how, **(ODD | changes)) for how in ("off", "on"))
    return plain, padding


def assert_same(found, expected) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(0, 35), min_size=1, max_size=4), st.data())
def test_padding_stands_after_the_end_of_the_axes(shape, data):
    axes = data.draw(st.sets(st.integers(-len(shape), -1)))
    x = torch.rand(shape)
    found = padded(x, *axes, value=7.0)
    for axis in range(-len(shape), 0):
        room = found.shape[axis] - x.shape[axis]
        assert 0 <= room < MULTIPLE
        assert found.shape[axis] % MULTIPLE == 0 if axis in axes else room == 0
    inside = tuple(slice(size) for size in shape)
    assert torch.equal(found[inside], x)
    found[inside] = 7.0
    assert (found == 7.0).all()
    assert padded(found, *axes) is found


def test_under_autocast_the_padded_copy_has_the_type_of_the_product():
    x = torch.rand(3, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert padded(x, -1).dtype == torch.bfloat16
        assert padded(x.double(), -1).dtype == torch.float64
        padded(x, -1).sum().backward()
    assert padded(x, -1).dtype == torch.float32
    assert torch.equal(x.grad, torch.ones(3, 5))


@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 3), st.integers(1, 20), st.booleans())
def test_a_padded_product_is_that_of_the_linear_layer(heads_in, n_in, heads_out, n_out, bias):
    layer = PaddedLinear(
        heads_in * n_in,
        heads_out * n_out,
        bias,
        pad_sizes="on",
        heads_in=heads_in,
        heads_out=heads_out,
        leaves_padding=True,
    ).double()
    x = torch.rand(2, 3, heads_in * n_in, dtype=torch.float64)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    found = layer(x).unflatten(-1, (heads_out, -1))
    assert found.shape[-1] % MULTIPLE == 0
    assert_same(found[..., :n_out].flatten(-2), expected)
    assert not found[..., n_out:].any()
    x = padded(x.unflatten(-1, (heads_in, -1)), -1).flatten(-2)
    assert torch.equal(layer(x).unflatten(-1, (heads_out, -1)), found)


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_losses_states_and_gradients_are_those_of_the_true_sizes(name, changes):
    found = []
    for model in pair(name, **changes):
        state, losses = None, []
        for tokens, targets in tiny_segments([6, 5, 7]):
            nll, state = model(tokens, targets, state)
            losses.append(nll)
        loss = torch.cat(losses, dim=1).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        found.append((losses, state.tensors(), gradients))
    plain, padding = found
    assert_same(padding[0], plain[0])
    assert_same(padding[1], plain[1])
    for own, expected in zip(padding[2], plain[2], strict=True):
        assert (own is None) == (expected is None)
        if own is not None:
            assert_same(own, expected)


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_parameters_have_the_true_sizes(name):
    plain, padding = (model.state_dict() for model in pair(name, cutoffs=(5, 9), d_embed=6))
    assert list(padding) == list(plain)
    assert all(torch.equal(padding[key], plain[key]) for key in plain)


@pytest.mark.parametrize(("name", "changes"), list(product(ON_BACKBONE, VARIANTS[:5])))
@torch.no_grad()
def test_predictions_and_decoding_are_the_same(name, changes):
    (tokens, _), (more, _) = tiny_segments([6, 9])
    found = []
    for model in pair(name, **changes):
        log_probs, state = model.predict(tokens)
        assert log_probs.shape == (2, 6, V)
        decoder = model.decoder(state, tgt_len=4, n_streams=2)
        found.append([log_probs, *(decoder.feed(more[:, i : i + 1]) for i in range(9))])
    plain, padding = found
    assert_same(padding, plain)
    assert_same(padding[0].exp().sum(-1), torch.ones(2, 6).double())


def test_attention_maps_are_the_same():
    (tokens, _), *_ = tiny_segments([6], n_streams=1)
    plain, padding = (model.attention(tokens, None, predict=True)[0] for model in pair("rmt"))
    for own, expected in zip(padding.layers, plain.layers, strict=True):
        assert own == pytest.approx(expected, abs=1e-6)


def test_with_rooms_and_in_place_gradients_nothing_changes():
    (tokens, targets), *_ = tiny_segments([6])
    gradients = []
    for model in pair("rmt", cutoffs=(5, 9)):
        with model.given_rooms((12, 15)), gradients_in_place():
            nll, _ = model(tokens, targets)
            nll.mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert_same(*gradients)


@pytest.mark.parametrize("compiled", [False, True])
def test_in_bf16_with_dropout_it_trains(compiled):
    (tokens, targets), *_ = tiny_segments([6])
    losses = []
    for model in pair("trxl_rmt", cutoffs=(5, 9), d_embed=6):
        model.float()
        if compiled:
            torch.compiler.reset()
            model.compile(backend="aot_eager")
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(tokens, targets)[0].detach())
            for module in model.modules():
                if isinstance(module, Dropout):
                    module.p = 0.1
            nll, _ = model.train()(tokens, targets)
        nll.mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0.05)


class Products(TorchDispatchMode):
    """Keeps the sizes of all matrices that are multiplied; a product's rows may be any number."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        matrices = {"aten::mm": args[:2], "aten::addmm": args[1:3]}
        if function.name().split(".")[0] in matrices:
            left, right = matrices[function.name().split(".")[0]]
            self.sizes |= {left.shape[1], right.shape[1]}
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", VARIANTS[:5])
def test_no_product_of_weights_has_another_size(changes):
    (tokens, targets), *_ = tiny_segments([6])
    sizes = []
    for model in pair("rmt", **changes):
        with Products() as products:
            model(tokens, targets)
        sizes.append(products.sizes)
    plain, padding = sizes
    assert {10, 15, 22} <= plain
    assert padding == {16, 32, 48, 96}


def test_auto_pads_on_cuda_alone():
    tokens = tiny_segments([6])[0]
    off, auto = (tiny_model("rmt", pad_sizes=how, **ODD)(*tokens)[0] for how in ("off", "auto"))
    assert torch.equal(auto, off)
    assert tiny_config("rmt").pad_sizes == "auto"
    assert not ModelOptions.NOT_SETTINGS
    assert "pad_sizes" in tiny_config("rmt").NOT_SETTINGS


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ON_BACKBONE)
def test_on_cuda_it_is_the_model_of_the_cpu(name):
    tokens, targets = tiny_segments([6])[0]
    model = tiny_model(name, pad_sizes="auto", cutoffs=(5, 9), **ODD)
    expected, _ = model(tokens, targets)
    found, _ = model.to("cuda")(tokens.to("cuda"), targets.to("cuda"))
    assert_same(found.cpu(), expected)


@pytest.mark.parametrize("update", ["normalized", "delta"])
@pytest.mark.parametrize("sizes", [{"d_model": 20, "d_mem": 16}, {"d_model": 32, "d_mem": 5}])
def test_memories_of_a_diagonal_step_stay_in_float32_under_autocast(update, sizes):
    """They write without autocast, in a group whose weights were padded under it."""
    model = layer_local("armt", n_layer=4, pad_sizes="on", memory_update=update, **sizes).float()
    segments = tiny_segments([5] * 3)

    def losses_and_state(schedule: str, autocast: bool) -> list[torch.Tensor]:
        model.set_schedule(schedule)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            each = list(model.forward_each(segments))
        return [*(nll for nll, _ in each), *each[-1][1].tensors().values()]

    exact = losses_and_state("sequential", autocast=False)
    for mine, its in zip(losses_and_state("diagonal", autocast=False), exact, strict=True):
        assert (mine - its).norm() < 1e-5 * its.norm()
    for mine, its in zip(losses_and_state("diagonal", autocast=True), exact, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - its).norm() < 0.25 * its.norm()


def test_a_grouped_map_has_its_weights_in_float32_where_autocast_is_off():
    maps = [PaddedLinear(20, 7, pad_sizes="on") for _ in range(2)]
    x_XNI = torch.randn(2, 3, 20)
    with torch.autocast("cpu", torch.bfloat16):
        grouped = GroupedLinear(maps)
        with torch.autocast("cpu", enabled=False):
            found = grouped(x_XNI)
        assert grouped(x_XNI).dtype == torch.bfloat16
    expected = torch.stack([own(x) for own, x in zip(maps, x_XNI, strict=True)])
    torch.testing.assert_close(found, expected)
