"""Peak memory of this process while it does one thing."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Lets this process keep freed memory for its next step; glibc on a CPU, else nothing.

    By default glibc maps every large tensor anew and gives it back when it is freed, and the
    system clears its pages each time: on C1 at batch 256 that is .4 of a step's CPU time. In
    exchange the process holds its peak, which fragments grow by up to a half (docs/log.md).
    Threads other than the main one allocate elsewhere and gain nothing.
    """
    with suppress(AttributeError):  # no glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST)


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new peak: of the GPU's allocations, or of this process's resident memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(AttributeError):  # what an earlier trial left is none of this one's peak
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # where it is refused, the peak counts from the process's start
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM, see proc(5)


def peak_memory_bytes(device: torch.device) -> int | None:
    """The peak since the reset; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
