"""What can be asked of the machine without PyTorch."""

import os

# What the run scripts (lib.sh) tell the memory allocators of glibc and PyTorch: keep freed memory
# for the next layer, and ask for large pages.
ALLOCATORS = {
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "THP_MEM_ALLOC_ENABLE": "1",
}


def n_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
