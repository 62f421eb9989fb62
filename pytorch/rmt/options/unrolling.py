"""How gradient reaches back over segments in training."""

from typing import NamedTuple


class Unrolling(NamedTuple):
    """Gradient through bptt_unrolls segments before, which are replayed for every new one or make
    one window with it (bptt_mode); replay_from says what a replay begins from."""

    bptt_unrolls: int
    bptt_mode: str
    replay_from: str
