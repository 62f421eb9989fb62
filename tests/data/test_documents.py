"""Batches of documents: no segment reaches into the next one, and nothing is left out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmt.data.batches import IGNORED
from rmt.data.documents import DocumentBatches, DocumentReader
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError


def corpus(lengths) -> tuple[np.ndarray, list[int]]:
    """Every token is its own place; and where the documents start."""
    return np.arange(sum(lengths), dtype=np.int32), [0, *itertools.accumulate(lengths[:-1])]


def test_the_picture_in_the_docstring():
    """Documents of 7, 2 and 4 tokens: 2, 1 and 1 segments, dealt to two streams."""
    found = [
        (tokens.tolist(), targets.tolist(), begins.tolist())
        for tokens, targets, begins in DocumentBatches(*corpus([7, 2, 4]), batch_size=2, tgt_len=3)
    ]
    x = IGNORED
    assert found == [
        ([[0, 1, 2], [7, 0, 0]], [[1, 2, 3], [8, x, x]], [True, True]),
        ([[3, 4, 5], [9, 10, 11]], [[4, 5, 6], [10, 11, 12]], [False, True]),
    ]


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@given(lengths=lengths, batch_size=st.integers(1, 6), tgt_len=st.integers(1, 9))
def test_every_document_is_predicted_once_and_alone(lengths, batch_size, tgt_len):
    ids, documents = corpus(lengths)
    n_segments = sum(-(-(length - 1) // tgt_len) for length in lengths)
    if n_segments < batch_size:
        with pytest.raises(UsageError, match=f"too large for {n_segments} segments"):
            DocumentBatches(ids, documents, batch_size, tgt_len)
        return
    batches = DocumentBatches(ids, documents, batch_size, tgt_len)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    before: list[int | None] = [None] * batch_size  # the last token that each stream predicted
    n_predicted = []
    found = list(batches)
    for i, (tokens, targets, begins) in enumerate(found):
        assert tokens.shape == targets.shape == (batch_size, targets.shape[1])
        assert (targets != IGNORED).sum() == batches.n_scored(i)
        assert (targets != IGNORED).any(dim=0).all(), "no column is empty"
        for stream, (own_tokens, own_targets) in enumerate(zip(tokens, targets, strict=True)):
            real = own_targets != IGNORED
            own_tokens, own_targets = own_tokens[real].numpy(), own_targets[real].numpy()
            assert (own_targets == own_tokens + 1).all()
            assert len({owner[i] for i in [*own_tokens, *own_targets]}) <= 1
            n_predicted.extend(own_targets.tolist())
            if len(own_tokens):
                goes_on = before[stream] == own_tokens[0]
                assert goes_on != begins[stream]
                assert real[: len(own_tokens)].all(), "filled up at the end"
                before[stream] = int(own_targets[-1])
            else:
                assert not begins[stream]
    assert sorted(n_predicted) == sorted(set(ids.tolist()) - set(documents))
    assert len(found) == len(batches)
    assert max(map(len, batches.shares)) - min(map(len, batches.shares)) <= 1


@given(lengths=lengths, n_processes=st.integers(1, 3), tgt_len=st.integers(1, 9))
def test_processes_share_the_streams(lengths, n_processes, tgt_len):
    ids, documents = corpus([30, *lengths])
    n_streams = 3
    whole = list(DocumentBatches(ids, documents, n_streams, tgt_len))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "world_size", lambda: n_processes)
        shares = []
        for rank in range(n_processes):
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            own = distributed.own_streams(n_streams)
            shares.append(list(DocumentBatches(ids, documents, n_streams, tgt_len, streams=own)))
    for parts, expected in zip(zip(*shares, strict=True), whole, strict=True):
        for i in range(3):
            joined = np.concatenate([part[i].numpy() for part in parts])
            assert np.array_equal(joined, expected[i].numpy())


def test_a_reader_goes_from_epoch_to_epoch_and_on_from_a_place():
    batches = DocumentBatches(*corpus([7, 2, 4]), batch_size=2, tgt_len=3)
    reader = DocumentReader(batches)
    read = [reader.next(1) for _ in range(5)]
    assert [update.starts_streams for update in read] == [True, False, True, False, True]
    assert [update.n_scored for update in read] == [4, 6, 4, 6, 4]
    assert [update.n_read for update in read] == [4, 6, 4, 6, 4], "what fills up is not read"
    other = DocumentReader(batches)
    other.seek(**reader.place)
    mine, theirs = reader.next(2), other.next(2)
    assert len(mine.segments) == 1, "an epoch ends"
    assert mine.begins[0].tolist() == theirs.begins[0].tolist() == [False, True]
    assert mine.segments[0][0].tolist() == theirs.segments[0][0].tolist()
