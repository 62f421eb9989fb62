"""Ctrl-C and SIGTERM: finish what can't be dropped, save, leave."""

import signal
import threading
from collections.abc import Callable


class Interrupted(Exception):
    """Raised where an interruption takes effect."""


class Interruption:
    """While entered, the first SIGINT or SIGTERM is remembered; a second Ctrl-C ends at once.

    number: of the signal; None if none has come to this process. agree: of several processes,
    whether any of them has had one (rmt.runtime.distributed.any_rank).
    """

    def __init__(self, agree: Callable[[bool], bool] = bool):
        self.number: signal.Signals | None = None
        self._agree = agree
        self._previous = {}

    @property
    def requested(self) -> bool:
        return self.number is not None

    def check(self) -> None:
        """Raise Interrupted if a signal has come, to any process, so that all leave alike."""
        if self._agree(self.requested):
            raise Interrupted

    def _handle(self, number: int, _frame) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = signal.Signals(number)

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
