"""How much of their attention tokens give to what was before their segment, over a long text.

Axes: L layers, H heads, T tokens of a segment.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rmt.analysis.patterns import SegmentMaps
from rmt.runtime.errors import UsageError

BEFORE = ("cache", "read")  # regions that are not the segment's own tokens
SEEN_BY_TOKENS = (*BEFORE, "tokens")


@dataclass(frozen=True)
class Shares:
    """The mean attention of tokens to each region, from 0 to 1; a token's add up to 1.

    by_region: of every region that the model has, [L, H, T]. n_segments: that it is the mean of.
    """

    by_region: dict[str, np.ndarray]
    n_segments: int

    @property
    def before(self) -> tuple[str, ...]:
        """Those of BEFORE that the model has."""
        return tuple(region for region in BEFORE if region in self.by_region)

    def by_head(self, region: str) -> np.ndarray:
        """[L, H]"""
        return self.by_region[region].mean(axis=2)

    def by_layer(self, region: str) -> np.ndarray:
        """[L]"""
        return self.by_head(region).mean(axis=1)

    def by_position(self, region: str) -> np.ndarray:
        """The mean over the heads: [L, T]."""
        return self.by_region[region].mean(axis=1)


def measure_shares(segments: Iterable[SegmentMaps], name: str = "the text") -> Shares:
    """Of all whole segments of a text but the first, before which there is nothing.

    Raises UsageError where there is no such segment.
    """
    n_segments, sums, tgt_len = 0, {}, None
    for i, maps in enumerate(segments):
        tgt_len = tgt_len or len(maps.symbols)
        if i == 0 or len(maps.symbols) < tgt_len:
            continue
        n_segments += 1
        for region in SEEN_BY_TOKENS:
            if maps.sizes[region]:
                sums[region] = sums.get(region, 0) + _share(maps, region)
    if not n_segments:
        raise UsageError(f"{name} is too short: it holds no whole segment after the first")
    return Shares({region: total / n_segments for region, total in sums.items()}, n_segments)


def _share(maps: SegmentMaps, region: str) -> np.ndarray:
    """Of a segment's tokens, [L, H, T]."""
    first, end = maps.span("tokens")
    left, right = maps.span(region)
    shares = []
    for attention_HQK in maps.layers:
        n_left_out = maps.n_keys - attention_HQK.shape[1]
        rows_HTK = attention_HQK[:, first - n_left_out : end - n_left_out, left:right]
        shares.append(rows_HTK.sum(axis=2, dtype=np.float64))
    return np.stack(shares)
