"""Files that take their place together: temporary ones, and the turn of one saver among several.

Savers of one path take turns to move their files, under a lock beside it. The lock file also says which data files may
be superfluous. Each turn ends by removing those that the model in place does not name, and so does the next turn after
one that was killed.

Where the file system has no locks, or somebody holds one for long, the data file gets a name that no other save will
ever give. Such a file belongs to one save alone: whoever replaces that model removes it, with or without a lock.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ._file_lock import NoLocksError, open_locked, unlock

_WAIT_SECONDS = 30.0

# Names of temporary files that are tried.
_NAMES = 100

# A writer writes all the time. Without locks, this age tells that it is dead.
_OLD_SECONDS = 86_400.0


class TemporaryFiles:
    """New files beside a target, each locked by its writer as long as it lives."""

    def __init__(self, target: str):
        self._target = target
        self._files: dict[str, BinaryIO] = {}

    @contextlib.contextmanager
    def new(self) -> Iterator[tuple[BinaryIO, str]]:
        """A file and its path; its content is on the disk when the block is left."""
        file, path = self._open()
        self._files[path] = file
        yield file, path
        file.flush()
        os.fsync(file.fileno())

    def _open(self) -> tuple[BinaryIO, str]:
        for _ in range(_NAMES):
            path = f"{self._target}.{secrets.token_hex(4)}.tmp"
            # Somebody else's file is not opened, and one that another saver takes for a dead writer's is given up.
            with contextlib.suppress(FileExistsError, BlockingIOError):
                try:
                    return open_locked(path, "x+b"), path
                except NoLocksError:
                    return open(path, "w+b"), path
        raise FileExistsError(errno.EEXIST, "no name for a temporary file is free")

    def move(self, path: str, target: str) -> None:
        """Let a file take the place of another."""
        file = self._files[path]
        if os.name == "nt":
            file.close()  # an open file cannot be moved there
        os.replace(path, target)
        del self._files[path]
        file.close()

    def remove(self) -> None:
        """Remove the files that were not moved."""
        for path, file in self._files.items():
            file.close()
            _remove([path])
        self._files.clear()


class Turn:
    """The time in which one saver may move files to `target`.

    Attributes:
        locked: whether no other saver has its turn too.
    """

    def __init__(self, target: str, lock: BinaryIO | None):
        self.locked = lock is not None
        self._target = target
        self._lock = lock
        folder, name = os.path.split(target)
        own = r"\.[0-9a-f]{16}(-[0-9a-f]{8})\.(data|safetensors)"
        self._data = re.compile(re.escape(name) + (own.replace("8})", "8})?") if self.locked else own))
        self._temporary = re.compile(re.escape(name) + r"(\.data)?\.[0-9a-f]{8}\.tmp")
        self._beside: list[str] = []
        self._superfluous: set[str] = set()
        with contextlib.suppress(OSError):  # a file that cannot be read now is not removed later
            self._beside = os.listdir(folder)
            self._superfluous = _named_in(target, filter(self._data.fullmatch, self._beside))
        if lock is not None:
            lock.seek(0)
            left = lock.read().decode(errors="replace").split("\n")
            self._superfluous.update(filter(self._data.fullmatch, left))
            self._note()

    def data_name(self, digest: str, form: str) -> str:
        """The name for a data file, which will be removed unless the model in place names it when the turn ends."""
        name = f"{os.path.basename(self._target)}.{digest}{'' if self.locked else '-' + secrets.token_hex(4)}.{form}"
        self._superfluous.add(name)
        self._note()
        return name

    def end(self) -> None:
        """Remove what the model in place does not need, and what dead writers left. What cannot be removed stays."""
        folder = os.path.dirname(self._target)
        try:
            needed = _named_in(self._target, self._superfluous)
        except OSError:
            return
        _remove(os.path.join(folder, name) for name in self._superfluous - needed)
        for name in filter(self._temporary.fullmatch, self._beside):
            _remove_if_dead(os.path.join(folder, name))

    def _note(self) -> None:
        if self._lock is not None and self._superfluous:
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write("\n".join(sorted(self._superfluous)).encode())
            self._lock.flush()


@contextlib.contextmanager
def turn(target: str) -> Iterator[Turn]:
    """Wait for a turn to move files to `target`."""
    path = f"{target}.j2o-lock"
    lock = None
    try:
        lock = open_locked(path, "a+b", _WAIT_SECONDS)
    except NoLocksError:
        _remove([path])
    except OSError:  # it is held, or belongs to somebody else
        pass
    try:
        mine = Turn(target, lock)
        try:
            yield mine
        finally:
            mine.end()
    finally:
        if lock is not None:
            if os.name != "nt":  # first, so that nobody locks what has no name; there, what is open cannot be removed
                _remove([path])
            unlock(lock)
            if os.name == "nt":
                _remove([path])


def _named_in(path: str, names: Iterable[str]) -> set[str]:
    """Those of the names that a model file contains."""
    names = list(names)
    if not names:
        return set()
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return {name for name in names if content.find(os.fsencode(name)) >= 0}
    except (FileNotFoundError, ValueError):  # there is none, or it is empty
        return set()


def _remove_if_dead(path: str) -> None:
    """Remove a temporary file whose writer does not live."""
    with contextlib.suppress(OSError):  # somebody holds it: it lives
        try:
            file = open_locked(path, "r+b")
        except NoLocksError:
            if time.time() - os.stat(path).st_mtime > _OLD_SECONDS:
                os.remove(path)
            return
        with contextlib.closing(file):
            os.remove(path)


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.remove(path)
