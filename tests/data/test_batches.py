"""Streams, segments and epochs: every token in its place, exactly once."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmt.data.batches import EpochReader, SegmentBatches
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError


def ids(n: int) -> np.ndarray:
    """Every token is its own place in the corpus."""
    return np.arange(n, dtype=np.int32)


def lists(batches) -> list[tuple[list, list]]:
    return [(tokens.tolist(), targets.tolist()) for tokens, targets in batches]


def test_streams_are_columns_of_the_corpus():
    """11 ids, 2 streams of 5: the last id is left out; the last segment is shorter."""
    assert lists(SegmentBatches(ids(11), batch_size=2, tgt_len=3)) == [
        ([[0, 1, 2], [5, 6, 7]], [[1, 2, 3], [6, 7, 8]]),
        ([[3], [8]], [[4], [9]]),
    ]


def test_segments_that_fill_a_stream():
    assert lists(SegmentBatches(ids(10), batch_size=2, tgt_len=2)) == [
        ([[0, 1], [5, 6]], [[1, 2], [6, 7]]),
        ([[2, 3], [7, 8]], [[3, 4], [8, 9]]),
    ]


def test_ids_are_int64_whatever_they_were():
    for dtype in (np.uint8, np.uint16, np.int32):
        for tokens, targets in SegmentBatches(ids(20).astype(dtype), 2, 4):
            assert tokens.dtype == targets.dtype == torch.int64


def test_a_memory_map_is_left_as_it_is(tmp_path):
    ids(20).tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", np.int32, mode="r")
    for tokens, _ in SegmentBatches(mapped, 2, 4):
        tokens.fill_(0)
    assert mapped.tolist() == list(range(20))


sizes = st.tuples(st.integers(1, 8), st.integers(1, 12), st.integers(2, 200))


def batches_of(size) -> SegmentBatches | None:
    """None where the corpus is too short, which is then said."""
    batch_size, tgt_len, n = size
    if n // batch_size < 2 or tgt_len >= n // batch_size:
        with pytest.raises(UsageError, match=r"is too large for|is longer than the data allows"):
            SegmentBatches(ids(n), batch_size, tgt_len)
        return None
    return SegmentBatches(ids(n), batch_size, tgt_len)


@given(sizes)
def test_every_token_but_the_first_of_a_stream_is_predicted_once(size):
    batches = batches_of(size)
    if batches is None:
        return
    batch_size, tgt_len, n = size
    length = n // batch_size
    segments = list(batches)
    assert len(segments) == len(batches)
    assert all(tokens.shape == (batch_size, tgt_len) for tokens, _ in segments[:-1])
    tokens, targets = (torch.cat(parts, dim=1) for parts in zip(*segments, strict=True))
    assert torch.equal(targets, tokens + 1)
    expected = torch.arange(batch_size * length).view(batch_size, length)
    assert torch.equal(targets, expected[:, 1:])


@given(sizes, st.integers(0, 2**40))
def test_varying_lengths_cover_everything_in_order(size, seed):
    batches = batches_of(size)
    if batches is None:
        return
    bounds = batches.bounds(seed)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == batches.n_positions - 1
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(bounds))
    lengths = [end - start for start, end in bounds]
    assert all(5 <= length <= max(5, batches.tgt_len + 15) for length in lengths[:-1])
    assert 1 <= lengths[-1] <= max(5, batches.tgt_len + 15)
    assert bounds == batches.bounds(seed), "the same seed, the same lengths"


def test_varying_lengths_are_those_of_transformer_xl():
    """Mostly around tgt_len, with a standard deviation of 5; one in 20 around its half."""
    batches = SegmentBatches(ids(1_000_000), 1, 100)
    lengths = np.array([end - start for start, end in batches.bounds(0)][:-1])
    short = lengths < 75
    assert 0.03 < short.mean() < 0.07
    assert lengths[~short].mean() == pytest.approx(100, abs=0.5)
    assert lengths[~short].std() == pytest.approx(5, abs=0.5)
    assert lengths[short].mean() == pytest.approx(50, abs=1)
    assert lengths.max() <= 115


# Reading in epochs


def test_a_reader_goes_from_epoch_to_epoch():
    batches = SegmentBatches(ids(22), 2, 4)  # segments of 4, 4 and 2 tokens
    reader = EpochReader(batches)
    read = [reader.next(1) for _ in range(7)]
    assert [update.starts_streams for update in read] == [True, False, False] * 2 + [True]
    once = lists(batches)
    assert [lists(update.segments)[0] for update in read] == [*once, *once, once[0]]
    assert [update.n_scored for update in read] == [8, 8, 4, 8, 8, 4, 8]
    assert reader.place == {"epoch": 3, "position": 1}


def test_several_segments_at_a_time_stop_at_an_epochs_end():
    reader = EpochReader(SegmentBatches(ids(22), 2, 4))
    read = [reader.next(2) for _ in range(4)]
    assert [len(update.segments) for update in read] == [2, 1, 2, 1]
    assert [update.starts_streams for update in read] == [True, False, True, False]
    assert [update.n_scored for update in read] == [16, 4, 16, 4]


def test_every_epoch_has_lengths_of_its_own():
    batches = SegmentBatches(ids(5000), 2, 40)
    reader = EpochReader(batches, varlen_seed=3)
    epochs = {1: [], 2: []}
    while reader.epoch < 3:
        [(tokens, _)] = reader.next(1).segments
        epochs.setdefault(reader.epoch, []).append(tokens.shape[1])
    assert sum(epochs[1]) == sum(epochs[2]) == 2499
    assert epochs[1] != epochs[2]


@settings(max_examples=50)
@given(
    n_before=st.integers(0, 60),
    at_a_time=st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**63),
)
def test_seek_goes_on_where_another_reader_was(n_before, at_a_time, seed):
    batches = SegmentBatches(ids(300), 3, 8)
    first, second = EpochReader(batches, seed), EpochReader(batches, seed)
    for _ in range(n_before):
        first.next(at_a_time)
    second.seek(**first.place)
    for _ in range(40):
        mine, theirs = first.next(at_a_time), second.next(at_a_time)
        assert lists(mine.segments) == lists(theirs.segments)
        assert mine[1:] == theirs[1:]
        assert first.place == second.place


# Several processes


@given(n_streams=st.integers(1, 40), n_processes=st.integers(1, 16), n=st.integers(80, 200))
def test_processes_share_the_streams(n_streams, n_processes, n):
    whole = SegmentBatches(ids(n), n_streams, 1)
    shares = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "world_size", lambda: n_processes)
        for rank in range(n_processes):
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            own = distributed.own_streams(n_streams)
            shares.append(SegmentBatches(ids(n), n_streams, 1, streams=own).columns)
    assert np.array_equal(np.concatenate(shares), whole.columns)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
