"""Compiled layers compute what the layers do. The compiler's last stage is left out: it is slow."""

import sys

import pytest
import torch

from helpers.models import ON_BACKBONE, tiny_model, tiny_segments
from helpers.programs import assert_one_sentence, run
from rmt import train
from rmt.evaluation.generation import generate
from rmt.models.transformer_xl.layers import Layer
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.word_weights import gradients_in_place
from rmt.training.recurrence import Unrolled


def compiled(model: MemTransformerLM) -> MemTransformerLM:
    torch.compiler.reset()
    model.compile(backend="aot_eager")
    return model


@pytest.mark.parametrize("changes", [{}, {"untie_r": True, "div_val": 2, "cutoffs": (5, 9)}])
@pytest.mark.parametrize("name", ON_BACKBONE)
def test_losses_and_gradients_are_the_same(name, changes):
    segments, found = tiny_segments([6, 6, 6]), []
    models = [tiny_model(name, **changes) for _ in range(2)]
    for model in (models[0], compiled(models[1])):
        nll, states = Unrolled(model)(segments)
        nll.mean().backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        found.append([nll, *states[-1].tensors().values(), *gradients])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-12)


def test_and_in_training_with_checkpoints_and_bf16():
    segments, gradients = tiny_segments([6, 6, 6], n_streams=3), []
    for model in (tiny_model("rmt"), compiled(tiny_model("rmt"))):
        model.float().train()
        with gradients_in_place(), torch.autocast("cpu", torch.bfloat16):
            nll, _ = Unrolled(model, checkpoint_segments=True)(segments)
            nll.mean().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    plain, fused = gradients
    assert (fused - plain).norm() < 0.02 * plain.norm()


def recorded(model: MemTransformerLM) -> list[tuple]:
    """Compile the model; the shapes of what is compiled are added to the list as that happens."""
    shapes = []

    def backend(graph, inputs):
        shapes.append(tuple(tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)))
        return graph.forward

    torch.compiler.reset()
    model.compile(backend=backend)
    return shapes


@torch.no_grad()
def test_every_length_of_a_filling_cache_is_compiled():
    """More than PyTorch's default limit, after which it would silently stop."""
    model, state = tiny_model("trxl", mem_len=40), None
    shapes = recorded(model)
    for tokens, targets in tiny_segments([4] * 12):
        _, state = model(tokens, targets, state)
    assert len(shapes) == len(set(shapes)) == 11, "contexts of 0, 4, ... 40"


@pytest.mark.parametrize("untie_r", [False, True])
@torch.no_grad()
def test_layers_are_compiled_once_for_all_of_a_shape(untie_r):
    """And decoding, where every token has a length of its own, is not."""
    model = tiny_model("rmt", untie_r=untie_r)
    shapes = recorded(model)
    (tokens, targets), *_ = tiny_segments([6])
    model(tokens, targets)
    model.advance(tokens)
    n_compiled = len(shapes)
    assert n_compiled == len(set(shapes)) > 0
    generate(model, tokens, 5, tgt_len=6)
    assert len(shapes) == n_compiled


def test_the_flag_compiles(tiny, tmp_path, monkeypatch):
    calls, real = [], Layer.compile
    monkeypatch.setattr(
        Layer, "compile", lambda layer, **_: calls.append(real(layer, backend="eager"))
    )
    flags = [*tiny, "--model", "rmt", "--mem_len", 2, "--max_step", 1, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    assert not calls
    assert run(train.main, *flags, "--compile", "--debug").status == 0
    assert calls


def test_without_a_compiler_it_says_so(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    flags = [*tiny, "--model", "rmt", "--mem_len", 2, "--work_dir", tmp_path / "run", "--compile"]
    assert "no-such-compiler" in assert_one_sentence(run(train.main, *flags))
    assert not (tmp_path / "run").exists()


@torch.no_grad()
def test_a_compiler_may_begin_with_another_program(monkeypatch):
    """As PyTorch reads CXX."""
    monkeypatch.setenv("CXX", f"{sys.executable} g++")
    model = tiny_model("rmt")
    shapes = recorded(model)
    model(*tiny_segments([6])[0])
    assert shapes
