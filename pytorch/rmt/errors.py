"""Errors that the user can mend, and how a program reports them."""

import sys
from collections.abc import Callable


class UsageError(ValueError):
    """Wrong use: a bad option, missing or damaged data, an impossible combination.

    The message is one sentence that says what is wrong and what to do about it.
    """


def run_program(main: Callable[[list[str]], int | None]) -> None:
    """Call main(argv) and end the process: 2 with one sentence on a UsageError, 130 on Ctrl-C."""
    try:
        status = main(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status or 0)
