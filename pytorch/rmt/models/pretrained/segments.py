"""Texts of unequal length, cut into segments that are read side by side.

    for tokens_BT, lengths_B in cut(tokens_BN, lengths_B, tgt_len, "right"): ...

Where the segments of a text lie, of 7 tokens in segments of 3 (and of a shorter one beside it):

    left    |1 2 3|4 5 6|7    |      |1 2 3|4    |     |
    right   |1    |2 3 4|5 6 7|      |     |1    |2 3 4|
    centre  |1 2  |3 4  |5 6 7|      |     |1 2  |3 4  |

left: whole segments from the beginning on; texts begin together, and a short one is absent from the
last segments. right: whole segments up to the end; texts end together, so that the last segment,
which is what a loss may be of, has something of each. centre: segments as equal as they can be,
ending together.

Axes: B texts, N tokens of the longest, T tokens of a segment.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rmt.runtime.errors import UsageError

ALIGNMENTS = ("left", "right", "centre")


def bounds(length: int, tgt_len: int, alignment: str) -> list[int]:
    """Where the segments of one text begin and end: [0, ..., length]."""
    if alignment not in ALIGNMENTS:
        raise UsageError(f"alignment must be one of {', '.join(ALIGNMENTS)}, not {alignment!r}")
    if tgt_len < 1:
        raise UsageError(f"tgt_len must be 1 or more, but it is {tgt_len}")
    n_segments = -(-length // tgt_len)
    if alignment == "left":
        return [*range(0, length, tgt_len), length]
    if alignment == "right":
        return [0, *(length - tgt_len * i for i in reversed(range(n_segments)))]
    return [i * length // n_segments for i in range(n_segments + 1)] if length else [0]


def cut(
    values_BN: Tensor, lengths_B: Sequence[int] | Tensor, tgt_len: int, alignment: str = "right"
) -> list[tuple[Tensor, Tensor]]:
    """The texts' segments, in order: values [B, T] and how many of each text's are no padding, [B].

    values: tokens, or targets beside them; lengths: of the texts, which stand at the beginning of
    their rows. What stands in padding, at the end of a segment's rows, means nothing. A length of 0
    says that a text is absent from a segment. Raises UsageError for other lengths.
    """
    lengths = [int(length) for length in lengths_B]
    n_texts, longest = values_BN.shape
    if len(lengths) != n_texts or not all(0 <= length <= longest for length in lengths):
        raise UsageError(
            f"lengths must be {n_texts} numbers from 0 to {longest}, one for each text, not "
            f"{lengths}"
        )
    spans = [list(pairwise(bounds(length, tgt_len, alignment))) for length in lengths]
    n_segments = max(map(len, spans), default=0)
    parts = []
    for i in range(n_segments):
        of_each = [_span(own, i if alignment == "left" else i - n_segments) for own in spans]
        starts = torch.tensor([start for start, _ in of_each])
        sizes = torch.tensor([end - start for start, end in of_each])
        places_BT = starts[:, None] + torch.arange(int(sizes.max()))
        last_B1 = (torch.tensor(lengths) - 1).clamp(min=0)[:, None]
        places_BT = torch.minimum(places_BT, last_B1).to(values_BN.device)
        parts.append((values_BN.gather(1, places_BT), sizes.to(values_BN.device)))
    return parts


def _span(spans: list[tuple[int, int]], i: int) -> tuple[int, int]:
    """A text's i-th segment, from the end if i is negative; an empty one where it has none."""
    return spans[i] if -len(spans) <= i < len(spans) else (0, 0)
