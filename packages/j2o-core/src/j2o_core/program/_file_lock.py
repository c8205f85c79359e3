"""Locks on open files: one holder at a time, among threads and processes, and none is held by a dead process.

The lock belongs to the open file and not to its name. Whoever waited for it may hold a file that was removed or moved
meanwhile, so the name is looked at again once the lock is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        # One byte far behind the content: Windows keeps others from reading what is locked.
        position = file.tell()
        file.seek(1 << 62)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from error
        finally:
            file.seek(position)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_PAUSE_SECONDS = 0.002


class NoLocksError(OSError):
    """The file system has no locks."""


class _ForeignFileError(OSError):
    """The name is one of several of a file, or not of a file."""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def open_locked(path: str, mode: str, wait_seconds: float = 0.0) -> BinaryIO:
    """Open a file and lock it. To close it gives the lock back.

    Args:
        path: the file.
        mode: as `open` takes it, for bytes, and for writing: NFS locks nothing else.
        wait_seconds: how long to wait for another holder.

    Raises:
        BlockingIOError: if another holder has it.
        NoLocksError: if the file system has no locks.
        OSError: if it cannot be opened, or is a link: in a folder of several people it could lead to anybody's file.
    """
    end = time.monotonic() + wait_seconds
    while True:
        file: BinaryIO = open(path, mode, opener=_open)  # type: ignore[assignment]  # noqa: SIM115 - the caller closes it
        try:
            if not stat.S_ISREG((found := os.fstat(file.fileno())).st_mode) or found.st_nlink > 1:
                raise _ForeignFileError(errno.ELOOP, "it has another name too")
            _lock(file)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            if time.monotonic() >= end:
                file.close()
                raise
        except _ForeignFileError:
            file.close()
            raise
        except OSError as error:
            file.close()
            raise NoLocksError(error.errno, error.strerror) from error
        except BaseException:
            file.close()
            raise
        file.close()
        time.sleep(_PAUSE_SECONDS)


def unlock(file: BinaryIO) -> None:
    """Give the lock back and close the file. A process that was forked meanwhile has it open too, and holds nothing."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
    file.close()


def _is_at(file: BinaryIO, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
