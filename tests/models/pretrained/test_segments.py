"""How texts of unequal length are cut into segments."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmt.models.pretrained.segments import ALIGNMENTS, bounds, cut
from rmt.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("alignment", "long", "short"),
    [
        ("left", [[1, 2, 3], [4, 5, 6], [7]], [[1, 2, 3], [4], []]),
        ("right", [[1], [2, 3, 4], [5, 6, 7]], [[], [1], [2, 3, 4]]),
        ("centre", [[1, 2], [3, 4], [5, 6, 7]], [[], [1, 2], [3, 4]]),
    ],
)
def test_the_table_of_the_module(alignment, long, short):
    tokens_BN = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 9, 9, 9]])
    parts = cut(tokens_BN, [7, 4], 3, alignment)
    for i, expected in enumerate((long, short)):
        found = [tokens[i, : sizes[i]].tolist() for tokens, sizes in parts]
        assert found == expected


@given(
    st.lists(st.integers(0, 17), min_size=1, max_size=4),
    st.integers(1, 6),
    st.sampled_from(ALIGNMENTS),
)
def test_every_token_is_in_one_segment_in_order(lengths, tgt_len, alignment):
    tokens_BN = torch.arange(len(lengths) * 17).view(len(lengths), 17)
    parts = cut(tokens_BN, torch.tensor(lengths), tgt_len, alignment)
    assert len(parts) == max(-(-length // tgt_len) for length in lengths)
    for i, length in enumerate(lengths):
        sizes = [int(sizes_B[i]) for _, sizes_B in parts]
        read = [token for part, own in parts for token in part[i, : own[i]].tolist()]
        assert read == tokens_BN[i, :length].tolist()
        assert max(sizes, default=0) <= tgt_len
        present = [size > 0 for size in sizes]
        assert sorted(present, reverse=alignment == "left") == present
        if alignment == "centre" and any(present):
            full = [size for size in sizes if size]
            assert max(full) - min(full) <= 1


def test_wrong_use():
    with pytest.raises(UsageError, match="alignment must be one of left, right, centre"):
        bounds(5, 2, "middle")
    with pytest.raises(UsageError, match="tgt_len must be 1 or more, but it is 0"):
        bounds(5, 0, "left")
    with pytest.raises(UsageError, match="lengths must be 2 numbers from 0 to 4"):
        cut(torch.zeros(2, 4, dtype=torch.int64), [5, 1], 2)
