"""The device that a run or a measurement is on."""

import os
import platform
import resource
from pathlib import Path

import torch
from torch import Tensor

from rmt.runtime.machine import ALLOCATORS


def machine(device: torch.device) -> dict:
    """Where a measurement was made."""
    name = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    found = {"cpu": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found["allocators"] = {name: os.environ.get(name) for name in ALLOCATORS}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def peak_memory(device: torch.device) -> int:
    """The most memory that this process has had, in bytes: on a GPU, that allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak_memory(device: torch.device) -> None:
    """Let peak_memory begin anew, on a GPU; a process's own can't be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor of the host on the device, without waiting for a GPU."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


def copy_from_host(tensor: Tensor, values: Tensor) -> None:
    """Write values of the host into a tensor of the device, without waiting for a GPU."""
    if tensor.device.type == "cuda":
        values = values.pin_memory()
    tensor.copy_(values, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
