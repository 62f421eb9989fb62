"""Errors that the user can mend, and how a program reports them."""

import errno
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Signals that ask a program to end: of Ctrl-C, of `kill` and SLURM, of a terminal that is closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The disk, a quota, or the largest size of a file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Where a program does not say what would help with its own options.
TO_SAVE_MEMORY = "choose smaller batches, shorter segments or a smaller model"


class UsageError(ValueError):
    """Wrong use: a bad option, missing or damaged data, an impossible combination.

    The message is one sentence that says what is wrong and what to do about it.
    """


class Ended(BaseException):
    """SIGTERM or SIGHUP has come: what is unfinished is cleared away as the program leaves."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class OutOfMemory(Exception):
    """Memory is short. The message says what to do, in the options of the program."""


class ProcessKilled(UsageError):
    """A process that was started for a measurement did not live to its end."""


def end_quietly_while_importing() -> None:
    """Let a Ctrl-C end a program of ours in one word until run_program sees to that.

    Not by an exception, which would come out of some import with a traceback, if it is not taken
    for a module that can't be imported. Only of `python -m rmt.PROGRAM`: there sys.argv begins with
    "-m" while Python looks for the module, for which it imports the package. So whoever imports rmt
    in a notebook, a test or a program of their own keeps their Ctrl-C as it is.
    """
    if sys.argv[:1] != ["-m"] or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")  # what stands before its arguments
    if module.startswith("rmt."):
        signal.signal(signal.SIGINT, _end_while_importing)


def _end_while_importing(number: int, _frame) -> None:
    _say_interrupted()
    end_by_signal(number)


def _say_interrupted() -> None:
    if is_first_process():
        print("interrupted", file=sys.stderr)


def is_first_process() -> bool:
    """Of several that torchrun started; one alone is the first, too."""
    return os.environ.get("RANK", "0") == "0"


def remedy(number: int) -> str:
    """What to do about the error number with which something could not be written."""
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            return "free some space"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "make it writable"
        case errno.EFBIG:
            return "let files grow larger (ulimit -f)"
    return "see to that disk"


def warn_user(sentence: str) -> None:
    """Say it beside what a program prints, once of several processes."""
    if is_first_process():
        print(sentence, file=sys.stderr)


def run_program(main: Callable[[list[str]], int | None]) -> None:
    """Call main(argv) and end the process: 2 with one sentence on a UsageError or where memory is
    short, by SIGINT on Ctrl-C, and as main says otherwise: 0, a status, or 128 + the number of one
    of ENDING, which it then ends by.

    Of several processes that fail alike only the first one speaks.
    """
    if sys.stdout is None:  # the shell closed it (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the program runs
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # What the terminal's encoding lacks, as in paths, is no reason to fail: it is escaped.
            stream.reconfigure(errors="backslashreplace")
    try:
        if signal.getsignal(signal.SIGINT) is _end_while_importing:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # under nohup it is ignored
                signal.signal(number, _end)
        with saying_how_to_save_memory(TO_SAVE_MEMORY):
            status = main(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        if is_first_process():
            print(f"error: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # nobody reads any more, as with `| head`, nor what is still to come
        _drop(sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.filename is not None:
            said = f"{error.filename} can't be used ({error.strerror})"
        elif error.errno in FULL:
            said = f"what is written doesn't fit ({error.strerror}): {remedy(error.errno)}"
        else:
            raise
        print(f"error: {said}", file=sys.stderr)
        status = 2
        try:
            sys.stdout.flush()
        except OSError:  # it is there that nothing fits, and Python would try once more
            _drop(sys.stdout.fileno())
    except OutOfMemory as error:  # of this process alone, perhaps
        print(f"error: out of memory: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        _say_interrupted()
        status = 128 + signal.SIGINT
    except Ended as ended:
        status = 128 + ended.number
    if status in {128 + number for number in ENDING}:
        end_by_signal(status - 128)
    sys.exit(status or 0)


def _end(number: int, _frame) -> None:
    raise Ended(number)


def end_by_signal(number: int) -> None:
    """End this process as if it had not caught the signal, so that a shell's loop ends, too."""
    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def drop_output_to_closed_terminals() -> None:
    """Else whatever is printed after the SIGHUP fails, such as that a run was saved."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            if is_device and not os.isatty(descriptor):  # it was one, or is /dev/null
                _drop(descriptor)


@contextmanager
def dropped_where_nobody_reads() -> Iterator[None]:
    """What can't be printed inside because a pipe or a terminal was closed is no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise


def _drop(descriptor: int) -> None:
    """Let what is written there from now on go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


@contextmanager
def saying_how_to_save_memory(how: str) -> Iterator[None]:
    """Raise OutOfMemory with this advice where memory is short inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemory(how) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Of a GPU, or of the machine; PyTorch says the latter in a RuntimeError's text alone."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )
