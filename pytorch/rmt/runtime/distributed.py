"""One process per device with torch.distributed, started by torchrun; alone it all does nothing.

The batch's streams are shared out: rank r of n holds streams r*B/n ... (r+1)*B/n - 1.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rmt.runtime.errors import UsageError

Result = TypeVar("Result")

_stopped: list[dist.ProcessGroup] = []


def start(use_cuda: bool) -> torch.device:
    """Join the group that torchrun started, if there is one; return this process's device."""
    if use_cuda and not torch.cuda.is_available():
        raise UsageError("--cuda was given but PyTorch sees no GPU: leave it out to run on the CPU")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
    if use_cuda and n_here > torch.cuda.device_count():
        raise UsageError(
            f"{n_here} processes were started for {torch.cuda.device_count()} GPUs: start one per "
            "GPU"
        )
    device = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(device)
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() and not dist.is_initialized():
        # gloo serves tensors on the CPU (flags, counts, saved states) beside nccl on the GPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if use_cuda else "gloo")
    return device


def stop() -> None:
    if dist.is_initialized():
        # Kept, for otherwise the last reference may be DistributedDataParallel's, which destroys
        # the group while it holds Python's lock, and gloo's threads may be waiting for that lock.
        _stopped.append(dist.group.WORLD)
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return rank() == 0


def replica(module: nn.Module, find_unused_parameters: bool) -> DistributedDataParallel:
    """This process's copy of a module, whose gradients are averaged over all of them.

    They are exchanged in buckets, while the backward pass makes the next ones. Where a weight
    serves several segments, its gradient is complete in the first segment's backward pass, which
    comes last, and only there is something exchanged.
    Its buffers must be constants: they are not sent before every step.
    """
    # Else every compiled layer is cut where a bucket of 1 MiB would end, as if it were the whole
    # model, and less is fused. Gradients go out after every layer anyway.
    torch._dynamo.config.optimize_ddp = False
    # PyTorch 2.11 has the older name alone, and later ones warn of that.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return DistributedDataParallel(
        module, find_unused_parameters=find_unused_parameters, **{name: False}
    )


def own_streams(n_streams: int) -> slice:
    """The streams of this rank; where they don't divide evenly the first ranks hold one more."""
    share, rest = divmod(n_streams, world_size())
    first = rank() * share + min(rank(), rest)
    return slice(first, first + share + (rank() < rest))


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Add up each value over all processes."""
    if not dist.is_initialized():
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return tensor.tolist()


def mean_over_ranks(value: float) -> float:
    return sum_over_ranks([value])[0] / world_size()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in any process, so that all of them act alike."""
    return sum_over_ranks([float(flag)])[0] > 0


def together(action: Callable[[], Result]) -> Result:
    """action() in every process; where it fails in one of them, all raise its UsageError.

    So none is left waiting for the others, and the first one, which alone speaks, knows the reason.
    """
    result, own = None, None
    try:
        result = action()
    except UsageError as error:
        own = error
    failed = [reason for reason in gather_list([own and str(own)]) if reason is not None]
    if failed:
        raise own or UsageError(failed[0])
    return result


def by_main(action: Callable[[], Result]) -> Result | None:
    """action() in the first process, for which the others wait; together, if it fails."""
    return together(lambda: action() if is_main() else None)


def any_rank_of(flags: Tensor) -> Tensor:
    """any_rank for each of some flags, where they are, without waiting for a GPU: bool."""
    if not dist.is_initialized():
        return flags
    counts = flags.to(torch.float32)
    dist.all_reduce(counts)
    return counts > 0


def gather_list(own: list) -> list:
    """Join every rank's list, of tensors on the CPU and plain values."""
    if not dist.is_initialized():
        return own
    shares: list[list] = [[] for _ in range(world_size())]
    dist.all_gather_object(shares, own)
    return [each for share in shares for each in share]


def gather_streams(tensor: Tensor) -> Tensor:
    """Join every rank's equal share of a tensor, along the first axis, on the CPU."""
    tensor = tensor.detach().cpu().contiguous()
    if not dist.is_initialized():
        return tensor
    shares = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(shares, tensor)
    return torch.cat(shares)
