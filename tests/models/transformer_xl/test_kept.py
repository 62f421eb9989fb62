"""What a captured graph has read outlives its place in the cache. Capturing is only pretended."""

import copy
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from helpers.models import tiny_model, tiny_segments
from rmt.models.transformer_xl.attention import formula
from rmt.models.transformer_xl.attention.kept import kept


@pytest.fixture
def capture(monkeypatch):
    """A dictionary whose "on" says whether a graph is being captured."""
    now = {"on": False}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: now["on"])
    return now


@pytest.fixture
def counted():
    """A kept function with two places, and the sizes that it has made."""
    made = []

    @kept(2)
    def zeros(size: int, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        made.append(size)
        return torch.zeros(size, dtype=dtype)

    return zeros, made


def test_a_tensor_is_made_once_while_it_has_a_place(counted):
    zeros, made = counted
    assert zeros(1) is zeros(1)
    assert zeros(1, dtype=torch.float64) is not zeros(1)
    for size in (3, 4, 1):
        zeros(size)
    assert made == [1, 1, 3, 4, 1]


def test_what_a_graph_has_read_is_never_freed(counted, capture):
    zeros, _ = counted
    read, unread = weakref.ref(zeros(1)), weakref.ref(zeros(2))
    capture["on"] = True
    assert zeros(1) is read()
    assert zeros(1) is read()
    capture["on"] = False
    for size in (3, 4, 5):
        zeros(size)
    assert read() is not None
    assert unread() is None


def test_nothing_is_made_during_a_capture(counted, capture):
    zeros, made = counted
    capture["on"] = True
    with pytest.raises(RuntimeError, match=r"zeros\(7,\) must be made before a CUDA graph"):
        zeros(7)
    capture["on"] = False
    assert zeros(7).shape == (7,)
    assert made == [7]


def test_masks_and_distances_are_kept(capture):
    capture["on"] = True
    for make in (formula.masked_keys, formula.distance_embeddings):
        with pytest.raises(RuntimeError, match=f"{make.__name__}.* must be made before"):
            make(991, 1, 2, 3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_reads_what_it_was_captured_with():
    @kept(1)
    def numbers(start: int) -> torch.Tensor:
        return torch.arange(start, start + 4).to("cuda")

    numbers(5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = 2 * numbers(5)
    for start in range(100):
        numbers(start)
    graph.replay()
    assert doubled.tolist() == [10, 12, 14, 16]


def trained_once(model) -> None:
    tokens, targets = tiny_segments([7])[0]
    model(tokens, targets)[0].mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def sized_as_nothing_before(clamp_len: int):
    """A model whose masks and distances no other test has asked for."""
    return tiny_model("trxl", clamp_len=clamp_len, mem_len=83, same_length=True)


def test_a_call_in_inference_mode_leaves_nothing_that_training_cannot_take():
    model = sized_as_nothing_before(1001)
    with torch.inference_mode():
        model(*tiny_segments([7])[0])
    trained_once(model)


def test_a_call_with_fake_tensors_leaves_nothing_and_takes_nothing_real():
    model = sized_as_nothing_before(1002)
    for _ in range(2):
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            tokens, targets = (mode.from_tensor(each) for each in tiny_segments([7])[0])
            fake = copy.deepcopy(model)
            assert isinstance(fake(tokens, targets)[0], FakeTensor)
        trained_once(model)


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.functionalize])
def test_a_transform_leaves_nothing(transform, counted):
    zeros, made = counted
    transform(lambda x: (x * zeros(1)).sum())(torch.ones(1))
    assert not torch._C._functorch.is_functorch_wrapped_tensor(zeros(1))
    assert made == [1, 1]
    transform(lambda x: (x * zeros(2)).sum())(torch.ones(2))
