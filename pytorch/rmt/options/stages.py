"""Gradient through more and more segments in one run (--curriculum_segments, --curriculum_steps).

Of a run with segments (1, 2, 4) and steps (100, 50) the first 100 steps send gradient through one
segment, the next 50 through two, and the others through four.
"""

import itertools
from collections.abc import Sequence

from rmt.runtime.errors import UsageError


def stages(segments: Sequence[int], steps: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The first step, counted from 0, and the bptt_unrolls of every stage."""
    firsts = itertools.accumulate(steps, initial=0)
    return tuple(zip(firsts, (n - 1 for n in segments), strict=True))


def check_stages(
    segments: Sequence[int], steps: Sequence[int], max_step: int, bptt_unrolls: int
) -> None:
    """Raises UsageError where they do not fit together, or a run of max_step steps."""
    if len(steps) != max(0, len(segments) - 1):
        raise UsageError(
            f"curriculum_steps needs a number for each of curriculum_segments but the last: "
            f"{len(segments)} of these go with {max(0, len(segments) - 1)}, not {len(steps)}"
        )
    if not segments:
        return
    if segments[0] < 1 or any(low >= high for low, high in itertools.pairwise(segments)):
        raise UsageError(
            f"curriculum_segments must increase from 1 or more, but they are "
            f"{' '.join(map(str, segments))}"
        )
    if any(n < 1 for n in steps) or sum(steps) >= max_step:
        raise UsageError(
            f"curriculum_steps must be 1 or more each and leave some of max_step {max_step} for "
            f"the last, but they are {' '.join(map(str, steps))}"
        )
    if bptt_unrolls != segments[-1] - 1:
        raise UsageError(
            f"curriculum_segments end with {segments[-1]}, which is bptt_unrolls "
            f"{segments[-1] - 1}, not {bptt_unrolls}: leave bptt_unrolls out"
        )
