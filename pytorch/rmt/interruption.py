"""Ctrl-C and SIGTERM: finish the step, save, leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rmt import distributed


class Interrupted(Exception):
    """Raised where an interruption takes effect."""


class Interruption:
    """While entered, the first SIGINT or SIGTERM sets `requested`; a second Ctrl-C ends at once."""

    def __init__(self):
        self.requested = False
        self._at_once = False
        self._previous = {}

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises Interrupted: for long work that can be dropped and done again.

        With several processes it waits for the end of the work, for all of them must leave alike.
        """
        if self.requested and distributed.world_size() == 1:
            raise Interrupted
        self._at_once = distributed.world_size() == 1
        try:
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, _frame) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._at_once:
            raise Interrupted

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
