"""torchrun around rmt.train: python -m rmt.launch [options of torchrun] -- [flags of rmt.train].

It is torchrun itself, but ends as the program it starts: with that program's exit code and words,
and by SIGTERM, SIGHUP or Ctrl-C only when every process has had the time to save.
"""

import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import get_args_parser, run

from rmt.runtime.errors import UsageError, dropped_where_nobody_reads, run_program
from rmt.runtime.machine import n_cores

SECONDS_TO_SAVE = 600  # torchrun's own 30 may be too few for a large model on a network disk


def main(argv: list[str]) -> int:
    if "--" not in argv:
        raise UsageError("put the options of torchrun first, then --, then the flags of rmt.train")
    split = argv.index("--")
    options, flags = argv[:split], argv[split + 1 :]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup, which torchrun would undo
        options = ["--signals_to_handle", "SIGINT,SIGTERM,SIGQUIT", *options]
    args = get_args_parser().parse_args([*options, "-m", "rmt.train", *flags])
    # Not --shutdown_timeout: older versions of torchrun, of PyTorch 2.11, refuse what they don't
    # know; they always wait 30 seconds.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_SAVE))
    # Without this each process would be held to one thread, with a warning.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_cores() // _processes(args))))
    # PyTorch's own warnings come once per process and are about choices made here on purpose.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run(args)
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        return 2 if 2 in codes else 1  # the processes themselves have said why
    except RendezvousError as lost:
        print(
            f"error: the nodes have not found or have lost each other ({str(lost).rstrip('.')}): "
            "see what the others say, and start all of them again, with --restart if they saved",
            file=sys.stderr,
        )
        return 1
    except SignalException as stopped:
        with dropped_where_nobody_reads():
            print(f"stopped by {stopped.sigval.name}; the processes save before they leave")
        return 128 + stopped.sigval
    return 0


def _processes(args) -> int:
    return int(args.nproc_per_node) if str(args.nproc_per_node).isdigit() else 1


if __name__ == "__main__":
    run_program(main)
