"""What a captured graph has read outlives its place in the cache. Capturing is only pretended."""

import weakref

import pytest
import torch

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
