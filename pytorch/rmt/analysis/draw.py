"""Draw what a trained model attends to, with the memory operations that are found in it."""

from collections.abc import Sequence
from pathlib import Path

from rmt.analysis.capture import load_run, maps_of_sample
from rmt.analysis.patterns import SegmentMaps, find_patterns
from rmt.analysis.pictures import draw_maps, draw_patterns, patterns_table, strongest_of_each


def draw_attention(work_dir: Path, sample: int, out: Path | None) -> list[Path]:
    """Draw a run's attention on a test sample and print the patterns; returns the files written.

    out: FILE.png; the patterns go to FILE-patterns.png. None: into the run folder.
    """
    out = out or work_dir / f"attention-sample{sample}.png"
    run = load_run(work_dir)
    segments = maps_of_sample(run, sample)
    return draw_segments(segments, f"{run.label} (test sample {sample})", out)


def draw_segments(segments: Sequence[SegmentMaps], title: str, out: Path) -> list[Path]:
    """Draw the maps of segments, and the patterns in them large, and print these."""
    large = out.with_name(f"{out.stem}-patterns{out.suffix}")
    patterns = find_patterns(segments)
    draw_maps(segments, patterns, title, out)
    large.unlink(missing_ok=True)  # an earlier model may have had patterns
    if not patterns:
        print(
            "no pattern found: by the measure of rmt/analysis/patterns.py no head writes, reads or "
            "rewrites memory in order, which a model may do without"
        )
        return [out]
    print(patterns_table(patterns), end="")
    draw_patterns(segments, strongest_of_each(patterns), title, large)
    return [out, large]
