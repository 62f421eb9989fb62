"""Ctrl-C, SIGTERM and SIGHUP: say so at once, finish what can't be dropped, save, leave."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from rmt.runtime.errors import ENDING, drop_output_to_closed_terminals, is_first_process
from rmt.runtime.progress import say

SAID = {signal.SIGINT: "saving; Ctrl-C again ends at once"}
# Within it a second SIGINT is still the first Ctrl-C: its key is held down, or whoever started this
# process hands on the signal that the terminal has sent to both.
SECONDS_OF_ONE = 0.5


class Interrupted(Exception):
    """Raised where an interruption takes effect."""


class Interruption:
    """While entered, the first signal is remembered and said on stderr; a second Ctrl-C ends.

    number: of the signal; None if none has come to this process. agree: of several processes,
    whether any of them has had one (rmt.runtime.distributed.any_rank).

    Python handles a signal no sooner than PyTorch comes back to it, which takes seconds in the
    backward pass of a large model. So a thread is told, too, and speaks meanwhile.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool):
        self.number: signal.Signals | None = None
        self._agree = agree
        self._since = 0.0  # when it came
        self._previous = {}

    @property
    def requested(self) -> bool:
        return self.number is not None

    def check(self) -> None:
        """Raise Interrupted if a signal has come, to any process, so that all leave alike."""
        if self._agree(self.requested):
            raise Interrupted

    def _handle(self, number: int, _frame) -> None:
        now = time.monotonic()
        if number == signal.SIGHUP:
            drop_output_to_closed_terminals()
        if not self.requested:
            self.number, self._since = signal.Signals(number), now
        elif number == signal.SIGINT and now - self._since >= SECONDS_OF_ONE:
            raise KeyboardInterrupt

    def _listen(self) -> None:
        """Say it when the first signal's number comes; leave when the sockets are closed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # they shall wake the main thread
        while (numbers := self._heard.recv(1)) and numbers[0] not in ENDING:
            pass
        if numbers and is_first_process():
            with suppress(OSError):  # nobody reads any more
                say(SAID.get(numbers[0], "saving"))

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._heard, self._told = socket.socketpair()
            self._told.setblocking(False)
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            self._told_before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
            for number in ENDING:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._told_before)
        self._told.close()  # the listener reads to the end, and leaves
        self._listener.join()
        self._heard.close()
