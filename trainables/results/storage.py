"""What holds the files of a results folder: list, read, replace, put if absent, delete, hold.

A file has a name below the folder, with `/` between its parts, as in an object store; `layout`
knows the names. `PosixFolder` is a local or shared directory; another kind of storage is one more
class here and touches nothing else.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from filelock import FileLock, Timeout

from trainables import limits
from trainables.parsing import json_values


class FolderError(RuntimeError):
    """A results folder that must not be written to; the text says why, and the way out."""


class StorageError(OSError):
    """The storage does not do what a run needs: no space, no access, no answer."""


class Storage(Protocol):
    """The files of one results folder, by name; `str` of it is what a person calls the folder.

    What passes (a disk that is busy, a network that is away for a moment) is tried again; all else
    raises `StorageError`, and leaves no part of a file under its name. Nothing is written behind a
    link within the folder: that raises `FolderError`.
    """

    def list(self, prefix: str) -> list[str]:
        """The names of all files that begin with `prefix`, sorted; hidden ones among them."""

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: if there is none of that name.
            ValueError: if the name leads out of the folder.
        """

    def replace(self, name: str, content: bytes) -> None:
        """Writes a whole file: a reader sees the old one or the new one, never a part."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Writes a file unless there is one of that name; whether it was written."""

    def delete(self, name: str) -> None:
        """Removes a file; that there is none is no error."""

    def set_aside(self, name: str) -> None:
        """Hides a file that cannot be read, so that another can take its name; nothing is lost."""

    def hold(self) -> AbstractContextManager[Callable[[Mapping[str, Any]], None]]:
        """Holds the folder for one run; it is made if need be.

        What it gives puts plain values beside the holder's own, for `holder` to read.

        Raises:
            FolderError: if another run holds it; the text names that process.
            OSError: if the folder cannot be written.
        """

    def holder(self) -> dict[str, Any] | None:
        """Which process runs the study now (pid, host, since), and what it told of itself."""


_PASSING = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "EINTR", "EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO")
    if hasattr(errno, name)
)
_WAITS = (0.1, 0.5, 2.0)
"""Seconds before another try."""
_FULL = (errno.ENOSPC, errno.EDQUOT)

Method = TypeVar("Method", bound=Callable[..., Any])


def _firm(method: Method) -> Method:
    """Tries again what passes, and says what does not.

    That a file is there already, or is not, is an answer.
    """

    @functools.wraps(method)
    def firm(folder: PosixFolder, name: str, *content: bytes) -> Any:
        for wait in (*_WAITS, None):
            try:
                return method(folder, name, *content)
            except (FileNotFoundError, FileExistsError):
                raise
            except OSError as error:
                if wait is None or error.errno not in _PASSING:
                    raise StorageError(_said(folder, name, error)) from error
                time.sleep(wait)
        raise AssertionError

    return firm  # type: ignore[return-value]


def _said(folder: PosixFolder, name: str, error: OSError) -> str:
    way_out = "free some space" if error.errno in _FULL else "see to the storage"
    what = error.strerror or str(error)
    return f"{folder}/{name}: {what}; {way_out} and run again: what is done is kept"


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local(address: str | Path) -> Path:
    """The path that a person names.

    Raises:
        FolderError: for an address such as s3://bucket/results, which would become a folder `s3:`.
    """
    if _SCHEME.match(str(address)):
        raise FolderError(
            f"{address}: addresses are not supported; name a folder, local or mounted"
        )
    return Path(address)


def storage_at(address: str | Path) -> Storage:
    """The results folder at an address.

    Raises:
        FolderError: as `local` does.
    """
    return PosixFolder(local(address))


@dataclass(frozen=True)
class PosixFolder:
    """A directory, which every process of a run sees under one path."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def list(self, prefix: str) -> list[str]:
        """The names of all files that begin with `prefix`, sorted; hidden ones among them."""
        above, _, start = prefix.rpartition("/")
        return sorted(_files(self._path(above), f"{above}/" if above else "", start))

    @_firm
    def read(self, name: str) -> bytes:
        """A whole file."""
        return limits.whole_file(self._path(name))

    @_firm
    def replace(self, name: str, content: bytes) -> None:
        """Writes beside, flushes to the disk and renames."""
        with self._beside(name, content) as (beside, path):
            beside.replace(path)

    @_firm
    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Writes beside and links, which fails where there is a file already."""
        with self._beside(name, content) as (beside, path):
            try:
                path.hardlink_to(beside)
            except FileExistsError:
                return _is_ours(path, content)
            except OSError:  # a file system without links: the name is taken first, then filled
                try:
                    path.touch(exist_ok=False)
                except FileExistsError:
                    return _is_ours(path, content)
                beside.replace(path)
        return True

    @contextmanager
    def _beside(self, name: str, content: bytes) -> Iterator[tuple[Path, Path]]:
        path = self._own_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield beside, path
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)

    @_firm
    def delete(self, name: str) -> None:
        """Removes a file, and a trial's own directory with the last of its files."""
        path = self._own_path(name)
        path.unlink(missing_ok=True)
        if len(PurePosixPath(name).parts) > 2:
            with suppress(OSError):  # other files are there still
                path.parent.rmdir()

    @_firm
    def set_aside(self, name: str) -> None:
        """Renames a file to `.NAME.damaged`."""
        path = self._own_path(name)
        path.replace(path.with_name(f".{path.name}.damaged"))

    @contextmanager
    def hold(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Locks `.lock`, and says in `.holder.json` who does."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._own_path(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FolderError(f"{self}: another run is on it{_who(self.holder())}") from None
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}

            def tell(told: Mapping[str, Any]) -> None:
                self.replace(_HOLDER, json.dumps({**holder, "told": dict(told)}).encode())

            tell({})
            yield tell
        finally:
            self.delete(_HOLDER)
            lock.release()

    def holder(self) -> dict[str, Any] | None:
        """What `.holder.json` says, unless that process died on this host."""
        try:
            holder: dict[str, Any] = json_values(self.read(_HOLDER))
            if any(not isinstance(holder[name], kind) for name, kind in _NAMED.items()):
                return None
            here = holder["host"] == socket.gethostname()
            return None if here and not _is_alive(holder["pid"]) else holder
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{self}: {name!r} lies outside the folder")
        return self.root / name

    def _own_path(self, name: str) -> Path:
        """Of a file that is to be written: what a link leads to is no part of the folder."""
        path = self._path(name)
        at = self.root
        for part in PurePosixPath(name).parts:
            at = at / part
            if at.is_symlink():
                raise FolderError(f"{at}: is a link, and nothing is written behind one; remove it")
        return path


_HOLDER = ".holder.json"
_NAMED = {"pid": int, "host": str, "since": str}
DEEPEST = 8
"""Folders within one another that are looked into."""


def _is_ours(path: Path, content: bytes) -> bool:
    """Whether what is there was put by a call that was said to have failed, and is repeated."""
    return path.read_bytes() == content


def _files(folder: Path, below: str, start: str = "") -> Iterator[str]:
    """Names of the files in a directory, which may be a link, and in those that it holds."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    if below.count("/") > DEEPEST:
        return  # nothing of ours lies there
    for name, is_folder in found:
        if not name.startswith(start):
            continue
        if is_folder:
            yield from _files(folder / name, f"{below}{name}/")
        else:
            yield f"{below}{name}"


def _who(holder: Mapping[str, Any] | None) -> str:
    if holder is None:
        return ""
    return f": process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
