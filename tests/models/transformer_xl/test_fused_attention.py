"""Attention by flex_attention and by Triton's kernels against its formula; who may choose it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.attention import (
    SEGMENTS,
    assert_reads_as_the_formula,
    by_formula,
    mask_of,
    random_rows,
)
from helpers.models import LENGTHS, tiny_config, tiny_model, tiny_segments
from helpers.programs import RMT, ROOT, run
from rmt import train
from rmt.models.registry import build
from rmt.models.transformer_xl.attention import choice, flex, plain
from rmt.models.transformer_xl.dropout import Dropout
from rmt.runs.logged_runs import read_runs
from rmt.runs.trained import load
from rmt.runtime.errors import UsageError
from rmt.training.recurrence import Unrolled

INTERPRETED = Path(__file__).with_name("interpreted_attention.py")
HAS_GPU = torch.cuda.is_available()


def on_a_gpu(test):
    return pytest.mark.cuda(pytest.mark.skipif(not HAS_GPU, reason="PyTorch sees no GPU")(test))


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()


# --- on a CPU ------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_tritons_kernels_in_its_interpreter():
    """In a process of its own, which no other test shares the interpreter with."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("segment", SEGMENTS)
def test_flex_attention_reads_as_the_formula(segment):
    """With the gradient of position scores. PyTorch gives none of queries, keys and values here."""
    masked = mask_of(segment)
    rows = random_rows(masked)
    *_, distance, content_bias, position_bias = rows
    for row in (*rows[:3], content_bias):
        row.requires_grad_(False)
    found = flex.read(*rows, masked_QK=masked, dropatt=Dropout(0.0))
    expected = by_formula(*rows, masked_QK=masked)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    mine, its = (
        torch.autograd.grad(read.sin().sum(), (distance, position_bias))
        for read in (found, expected)
    )
    for one, other in zip(mine, its, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attention", ["plain", "flex"])
def test_a_model_on_a_cpu_reads_plainly(attention):
    found = []
    for model in (tiny_model("rmt"), tiny_model("rmt", attention=attention)):
        nll, _ = Unrolled(model)(tiny_segments([5, 6]))
        nll.mean().backward()
        found.append([nll, *(weight.grad for weight in model.parameters())])
    for mine, its in zip(*found, strict=True):
        assert torch.equal(mine, its)


def test_auto_is_plain():
    """Until a bench report says otherwise."""
    assert choice.reader("auto") is choice.reader("plain") is plain.read


def test_without_triton_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, f"{choice.__package__}.fused", raising=False)
    monkeypatch.delattr(sys.modules[choice.__package__], "fused", raising=False)
    with pytest.raises(UsageError, match="not installed here: pip install triton"):
        build(tiny_config("rmt", attention="triton"))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(UsageError, match="triton needs a CUDA device, and there is none"):
        build(tiny_config("rmt", attention="triton"))


def test_how_a_run_computed_is_no_setting_of_it(tiny, tmp_path, monkeypatch):
    """Runs are compared without it, and read where there is no Triton."""
    flags = [*tiny, *RMT, "--max_step", 1]
    for name, attention in [("one", "auto"), ("other", "plain")]:
        made = run(train.main, *flags, "--work_dir", tmp_path / name, "--attention", attention)
        assert made.status == 0, made.err
    one, other = read_runs([tmp_path])
    assert (one.model.attention, other.model.attention) == ("auto", "plain")
    assert one.configuration == other.configuration

    path = tmp_path / "one" / "config.json"
    config = json.loads(path.read_text())
    config["model"]["attention"] = "triton"
    path.write_text(json.dumps(config))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert load(tmp_path / "one").config.attention == "auto"


# --- on a GPU ------------------------------------------------------------------------------------


def ways() -> dict:
    """The functions that are tested; flex_attention has a kernel only where it is compiled."""
    from rmt.models.transformer_xl.attention import fused

    return {"flex": torch.compile(flex.read, dynamic=False), "triton": fused.read}


@on_a_gpu
@pytest.mark.parametrize("way", ["flex", "triton"])
@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)],
    ids=str,
)
def test_reading_on_a_gpu(way, segment, dtype, tolerance):
    read = ways()[way]
    assert_reads_as_the_formula(read, mask_of(segment), dtype, tolerance, d_head=64, device="cuda")


@on_a_gpu
@pytest.mark.parametrize("way", ["flex", "triton"])
@pytest.mark.parametrize("d_head", [16, 41, 48, 96, 128])
def test_heads_of_any_size_on_a_gpu(way, d_head):
    read = ways()[way]
    masked = mask_of("several tiles")
    for dtype, tolerance in [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]:
        assert_reads_as_the_formula(read, masked, dtype, tolerance, d_head, device="cuda")


@on_a_gpu
@pytest.mark.parametrize("way", ["flex", "triton"])
@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
def test_compiled_models_on_a_gpu(name, way, precision):
    """Losses and gradients over three segments, with gradient through memory."""
    found = []
    for attention in ("plain", way):
        model = tiny_model(name, attention=attention, d_head=16).float().cuda()
        if attention != "plain":
            model.compile()
        segments = [tuple(x.cuda() for x in each) for each in tiny_segments([5, 6, 5])]
        with torch.autocast("cuda", precision, enabled=precision is not None):
            nll, _ = Unrolled(model)(segments)
            nll.mean().backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        found.append([nll.double(), torch.cat([each.flatten().double() for each in gradients])])
    for its, mine in zip(*found, strict=True):
        assert (mine - its).norm() <= (1e-5 if precision is None else 0.03) * its.norm()


@on_a_gpu
@pytest.mark.parametrize("dropatt", [0.0, 0.5])
def test_tritons_gradients_are_equal_bit_for_bit_on_a_gpu(dropatt):
    from rmt.models.transformer_xl.attention import fused

    masked = mask_of("several tiles")
    rows = random_rows(masked, 64, torch.bfloat16, "cuda")
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        dropout = Dropout(dropatt).train()
        read = fused.read(*rows, masked_QK=masked.cuda(), dropatt=dropout)
        found.append([read, *torch.autograd.grad(read.float().sin().sum(), rows)])
    for first, again in zip(*found, strict=True):
        assert torch.equal(first, again)


@on_a_gpu
def test_every_replay_of_a_cuda_graph_drops_others():
    from rmt.models.transformer_xl.attention import fused

    masked, dropout = mask_of("rmt").cuda(), Dropout(0.5).train()
    rows = [row.detach() for row in random_rows(masked.cpu(), 64, torch.float32, "cuda")]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        fused.read(*rows, masked_QK=masked, dropatt=dropout)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        read = fused.read(*rows, masked_QK=masked, dropatt=dropout)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        graph.replay()
        first = read.clone()
        graph.replay()
        found.append((first, read.clone()))
    (first, next_one), again, other = found
    assert torch.equal(first, again[0])
    assert torch.equal(next_one, again[1])
    assert not torch.equal(first, next_one)
    assert not torch.equal(first, other[0])
