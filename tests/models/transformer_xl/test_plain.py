"""The model's short cuts against the same model without them: losses, states and gradients."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from helpers.models import LENGTHS, tiny_config, tiny_model, tiny_segments
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.plain import PlainModel
from rmt.models.transformer_xl.word_weights import gradients_in_place
from rmt.training.recurrence import Stream, Unrolled

CUTOFFS = {"cutoffs": (5, 11)}
ADAPTIVE = CUTOFFS | {"d_embed": 6}
SHRINKING = CUTOFFS | {"div_val": 2, "untie_r": True}


def plain_twin(model, name: str, **changes) -> PlainModel:
    """The same weights without the short cuts."""
    twin = PlainModel(tiny_config(name, **changes)).double().eval()
    twin.load_state_dict(model.state_dict())
    return twin


def steps(model, segments, n_unrolls: int, mode: str) -> list[torch.Tensor]:
    """Losses of every step, the states' tensors at the end, and the sum of all gradients."""
    stream, losses = Stream(n_unrolls, mode), []
    for start in range(0, len(segments), stream.segments_per_step):
        with nullcontext() if isinstance(model, PlainModel) else gradients_in_place():
            nll = stream.step(Unrolled(model), segments[start : start + stream.segments_per_step])
            nll.mean().backward()
        losses.append(nll.detach())
    gradients = [parameter.grad for parameter in model.parameters()]
    return [*losses, *stream.tensors().values(), *gradients]


@pytest.mark.parametrize(
    "changes",
    [{}, CUTOFFS, ADAPTIVE, ADAPTIVE | {"not_tied": True}, {"pre_lnorm": True}, SHRINKING],
)
@pytest.mark.parametrize(("n_unrolls", "mode"), [(0, "replay"), (2, "replay"), (2, "window")])
@pytest.mark.parametrize("name", LENGTHS)
def test_losses_states_and_gradients_are_the_plain_models(name, n_unrolls, mode, changes):
    model = tiny_model(name, **changes)
    twin = plain_twin(model, name, **changes)
    segments = tiny_segments([6, 6, 6, 4], n_streams=3)
    found, expected = (steps(each, segments, n_unrolls, mode) for each in (model, twin))
    assert len(found) == len(expected)
    for mine, its in zip(found, expected, strict=True):
        if mine is None:  # MT's memory, say, has no gradient where nothing reads it
            assert its is None
        else:
            torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-12)


class FixedDropout:
    """Dropout that draws nothing: the mask depends on an element's place, counted from the end.

    From the end, because the model leaves out rows at the beginning that nothing reads.
    """

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.kept = 2.0 * (torch.rand(12, 12, 40, 40, generator=generator) < 0.5).double()

    def of(self, shape: tuple[int, ...]) -> torch.Tensor:
        kept = self.kept[(0,) * (4 - len(shape))]
        return kept[tuple(slice(-n, None) for n in shape)]

    def put_into(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, Dropout):
                module.forward = lambda x: x * self.of(x.shape)
                module.multipliers = lambda shape, *_: self.of(shape)
            elif isinstance(module, nn.Dropout):
                module.forward = lambda x: x * self.of(x.shape)


@pytest.mark.parametrize("name", ["rmt", "trxl_rmt"])
@pytest.mark.parametrize("mode", ["replay", "window"])
def test_with_dropout_too(name, mode):
    """Of hidden states, positions and attention weights, by the same mask in both."""
    model = tiny_model(name, **CUTOFFS)
    twin = plain_twin(model, name, **CUTOFFS)
    without = steps(tiny_model(name, **CUTOFFS), segments := tiny_segments([6] * 4), 1, mode)
    for each in (model, twin):
        FixedDropout().put_into(each)
    found, expected = (steps(each, segments, 1, mode) for each in (model, twin))
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[0], without[0]), "something is dropped"


def test_the_plain_model_computes_everything():
    """Otherwise the benchmark compares the model with itself."""
    model = plain_twin(tiny_model("rmt"), "rmt")
    with gradients_in_place():
        nll, _ = model(*tiny_segments([6])[0])
        (gradient,) = torch.autograd.grad(nll.sum(), model.embedding.weight)
    assert gradient.any(), "autograd sees it, inside the context, too"
    rows, predictions = [], []
    model.layers[-1].register_forward_hook(lambda _m, inputs, _out: rows.append(inputs[0].shape[1]))
    model.softmax.register_forward_hook(lambda _m, inputs, _out: predictions.append(inputs[0]))
    model.advance(*tiny_segments([6])[0][:1])
    assert rows == [3 + 6 + 3]
    assert [len(hidden) for hidden in predictions] == [2 * 6]


def test_the_plain_models_dropout_is_pytorchs():
    twin = PlainModel(tiny_config("trxl_rmt", dropout=0.1, dropatt=0.2))
    assert not [module for module in twin.modules() if isinstance(module, Dropout)]
    assert {module.p for module in twin.modules() if isinstance(module, nn.Dropout)} == {0.1, 0.2}
