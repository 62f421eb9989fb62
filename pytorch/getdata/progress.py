"""How far a download, a check or a copy has come."""

from __future__ import annotations

import sys
import time
from typing import BinaryIO

BLOCK_BYTES = 1 << 20


class Progress:
    """MB, %, MB/s and time left: one moving line on a terminal, one line at the start elsewhere."""

    def __init__(self, what: str, total: int | None, done: int = 0):
        self.what, self.total = what, total
        self.done = self.done_before = done
        self.start = self.shown = time.monotonic()
        self.moving = sys.stderr.isatty()
        if not self.moving and self.total and self.total > 50_000_000:
            print(f"  {what} ({total / 1e6:.1f} MB)", file=sys.stderr, flush=True)

    def add(self, n_bytes: int) -> None:
        self.done += n_bytes
        now = time.monotonic()
        if self.moving and now - self.shown > 0.2:
            self.shown = now
            self._show(now)

    def finish(self) -> None:
        if self.moving and self.shown > self.start:  # anything faster showed nothing
            self._show(time.monotonic())
            print(file=sys.stderr)

    def _show(self, now: float) -> None:
        speed = (self.done - self.done_before) / max(now - self.start, 1e-9)
        line = f"  {self.what}: {self.done / 1e6:.1f} MB"
        if self.total:
            seconds = int(max(self.total - self.done, 0) / max(speed, 1))
            line += f" of {self.total / 1e6:.1f}, {self.done / self.total:.0%}"
            line += f", {seconds // 60}:{seconds % 60:02d} left"
        print(f"\r\x1b[K{line}, {speed / 1e6:.1f} MB/s", end="", file=sys.stderr, flush=True)


def copy(source: BinaryIO, target: BinaryIO, progress: Progress) -> None:
    while block := source.read(BLOCK_BYTES):
        target.write(block)
        progress.add(len(block))
    progress.finish()
