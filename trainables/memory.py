"""Peak memory of this process while it does one thing."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new peak: of the GPU's allocations, or of this process's resident memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
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
