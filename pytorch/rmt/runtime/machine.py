"""What a run or a measurement asks of the machine it is on."""

import os
import platform
import resource
from pathlib import Path

import torch

# What the run scripts (lib.sh) tell the memory allocators of glibc and PyTorch: keep freed memory
# for the next layer, and ask for large pages.
ALLOCATORS = {
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "THP_MEM_ALLOC_ENABLE": "1",
}


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


def n_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory(device: torch.device) -> int:
    """The most memory that this process has had, in bytes: on a GPU, that allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
