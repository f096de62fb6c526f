"""How much a file may ask for that somebody else wrote, counted before it is expanded or decoded.

A person whose study needs more says so: `BATCHGAP_MAX_POINTS=1000000`. docs/security.md lists what
each is for. Light.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class LimitError(ValueError):
    """Somebody's file asks for more than is allowed; the text says what, how much, the way out."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit."""

    most: int
    what: str
    """Of what there are so many, in the plural."""


LIMITS = {
    "STUDY_BYTES": Limit(most=1_000_000, what="bytes of a study file"),
    "DEPTH": Limit(most=50, what="levels of nesting"),
    "NODES": Limit(most=10_000, what="values, with those that aliases repeat"),
    "DIGITS": Limit(most=40, what="digits of a number"),
    "NAME": Limit(most=120, what="characters of a name"),
    "POINTS": Limit(most=200_000, what="points: grid values x arms x seeds, and those of a search"),
    "EXCLUSIONS": Limit(most=5_000_000, what="comparisons: entries of exclude x points"),
    "STEPS": Limit(most=10**12, what="optimizer steps of one trial"),
    "RECORDS": Limit(most=20_000, what="records along the training of one trial"),
    "IMAGE_PIXELS": Limit(most=90_000_000, what="pixels of one image"),
    "EXPANSION": Limit(most=1000, what="times its size, once it is read"),
}
"""By the end of the variable that sets it, BATCHGAP_MAX_..."""

FREE_EXPANSION = 64 << 20
"""Bytes that a file may expand to however small it is."""
_SHOWN_TO = 10**15
"""Counts beyond are shown as more than that: some have thousands of digits."""


def most(name: str) -> int:
    """A limit in force.

    Raises:
        OSError: if its variable is set to something else than a whole number above 0.
    """
    text = os.environ.get(variable := f"BATCHGAP_MAX_{name}")
    if text is None:
        return LIMITS[name].most
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 20 and int(text)):
        raise OSError(f"{variable}={text}: use a whole number above 0, e.g. {LIMITS[name].most}")
    return int(text)


def beyond(name: str, found: int) -> str | None:
    """What to say of a count above its limit: both, and the variable that sets it."""
    if found <= most(name):
        return None
    return (
        f"{_shown(found)} {LIMITS[name].what}, and at most {most(name):,} are allowed; where they "
        f"are meant, set BATCHGAP_MAX_{name}"
    )


def check(name: str, found: int) -> None:
    """Refuses a count above its limit.

    Raises:
        LimitError: as `beyond` says.
    """
    if message := beyond(name, found):
        raise LimitError(message)


def check_memory(needed: int, what: str) -> None:
    """Refuses what would not fit into this machine's memory.

    Raises:
        LimitError: with both.
    """
    if needed > (here := memory_bytes()):
        raise LimitError(f"{_shown(needed)} bytes {what}, and there are {here:,} of memory here")


def check_expansion(needed: int, of_bytes: int) -> None:
    """Refuses a file that is read into far more memory than its size lets expect.

    Raises:
        LimitError: if it is more than `EXPANSION` times its size, or than the memory.
    """
    check_memory(needed, "once it is read")
    if needed > FREE_EXPANSION:
        check("EXPANSION", needed // max(of_bytes, 1))


def whole_file(path: str | Path) -> bytes:
    """A file's bytes; of a pipe or a device nothing, which might never end.

    Raises:
        OSError: if it is none, or larger than the memory.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        if found.st_size > memory_bytes():
            raise OSError(errno.EFBIG, "is larger than the memory here")
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def hold_memory() -> None:
    """Lets this process ask for no more memory than there is: an error, and no dead machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes(), hard))


def memory_bytes() -> int:
    """What this process may use at most: the machine's, its control group's, its own limit."""
    own, _ = resource.getrlimit(resource.RLIMIT_DATA)
    here = _of_machine()
    return here if own == resource.RLIM_INFINITY else min(own, here)


@cache
def _of_machine() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # not here, or "max"
            found.append(int(Path(file).read_text()))
    return min(found)


def _shown(count: int) -> str:
    return f"{count:,}" if count < _SHOWN_TO else f"more than {_SHOWN_TO:,}"
