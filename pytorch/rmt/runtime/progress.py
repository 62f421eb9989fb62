"""A progress bar on a terminal, a plain line now and then elsewhere."""

import sys
import time

from tqdm import tqdm


def say(line: str) -> None:
    """Print a line on stderr, above the bars that are there."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


class Progress:
    """Counts steps of something slow on stderr; use as a context manager.

    On a terminal it is a tqdm bar with the time left; elsewhere it is a line every
    seconds_between_lines, so that log files stay readable.
    """

    seconds_between_lines = 30.0

    def __init__(
        self, total: float, what: str, *, initial: int = 0, shown: bool = True, **tqdm_args
    ):
        self.total, self.what, self.count = total, what, initial
        self.shown, self.note = shown, ""
        self._initial, self._start = initial, time.monotonic()
        self._last_line = self._start
        self._bar = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=total, desc=what, initial=initial, dynamic_ncols=True, **tqdm_args
            )

    def update(self, steps: float = 1, note: str | None = None) -> None:
        """Count steps; note stands behind the count until the next one is given."""
        self.count += steps
        self.note = note if note is not None else self.note
        if self._bar is not None:
            self._bar.update(steps)
            if note is not None:
                self._bar.set_postfix_str(note, refresh=not steps)
        elif self.shown and time.monotonic() - self._last_line > self.seconds_between_lines:
            self._last_line = time.monotonic()
            line = " | ".join(filter(None, [f"{self._position()}", self.note]))
            print(line, file=sys.stderr, flush=True)

    def print(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        else:
            print(line)
        sys.stdout.flush()

    def _position(self) -> str:
        done = self.count - self._initial
        counts = f"{self.what} {self.count:.1f}/{self.total:g}"
        if isinstance(self.total, int):
            counts = f"{self.what} {self.count}/{self.total}"
        if not done:
            return counts
        left = (time.monotonic() - self._start) * (self.total - self.count) / done
        return f"{counts} | {tqdm.format_interval(left)} left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()
