"""Draw what a trained model attends to while it reads a text."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from rmt.analysis.capture import text_maps
from rmt.analysis.draw import draw_segments
from rmt.analysis.patterns import SegmentMaps
from rmt.analysis.shares import measure_shares
from rmt.analysis.shares_picture import draw_shares, record, shares_table
from rmt.evaluation.given_text import read_text_run
from rmt.evaluation.text import in_train_protocol
from rmt.runs.drawing import check_name, with_glyphs
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text
from rmt.runtime.progress import Progress

N_DRAWN = 3  # segments at the beginning, whose maps are drawn


def draw_text_attention(work_dir: Path, text: str, n_segments: int, out: Path | None) -> list[Path]:
    """Draw a run's attention on a text, print the shares; returns the files written.

    The maps of the first segments go to out, FILE.png (None: into the run folder), patterns in
    them to FILE-patterns.png. How much of all attention goes to memory and cache, over n_segments
    at most, goes to FILE-shares.png and, as numbers, to FILE.json.
    """
    out = out or work_dir / "attention-text.png"
    check_name(out)
    if n_segments < 2:
        raise UsageError("segments must be 2 or more: there is nothing before the first")
    run = read_text_run(work_dir)
    name, ids = run.read(text)
    protocol = in_train_protocol(run.model.config, run.settings.train)
    model = run.model.with_lengths(**protocol.lengths)
    drawn: list[SegmentMaps] = []

    def each() -> Iterator[SegmentMaps]:
        """The segments one by one, the first of them kept."""
        n_here = min(n_segments, -(-(len(ids) - 1) // protocol.tgt_len))
        every = text_maps(model, ids, lambda i: with_glyphs(run.codec.shown(i)), protocol.tgt_len)
        with Progress(n_here, f"attention on {name}") as bar:
            for maps in itertools.islice(every, n_here):
                if len(drawn) < N_DRAWN:
                    drawn.append(maps)
                yield maps
                bar.update()

    shares = measure_shares(each(), name)
    title = with_glyphs(f"{run.settings.dataset.name}: {model.config.label} ({name})")
    written = draw_segments(drawn, title, out)
    print(shares_table(shares), end="")
    if shares.before:
        picture = out.with_name(f"{out.stem}-shares{out.suffix}")
        draw_shares(shares, f"{title}: mean attention of tokens", picture)
        written.append(picture)
    numbers = out.with_suffix(".json")
    write_text(numbers, json.dumps({"text": name, **record(shares)}, indent=1) + "\n")
    return [*written, numbers]
