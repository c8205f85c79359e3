"""Paths that are to be written, checked before minutes of work."""

import os
from collections.abc import Iterable
from pathlib import Path

from ._errors import PathError


def is_special(path: Path) -> bool:
    """Whether a path is that of a device or a pipe, or a link to an open file, such as /dev/stdout."""
    opened = path.is_symlink() and os.readlink(path).startswith("/proc/")
    return opened or (path.exists() and not path.is_file() and not path.is_dir())


def check_writable(path: Path, *, read: Iterable[str | Path | None] = (), folder: bool = False) -> None:
    """Refuse a path that could not be written to, or would overwrite what is to be read.

    Args:
        path: What is to be written.
        read: What is to be read; None for nothing.
        folder: Whether the path is that of a folder.

    Raises:
        PathError: If it cannot be written.
    """
    if path.is_dir() and not folder:
        raise PathError(f"{path} is a folder; give the file to write.")
    if is_special(path):
        raise PathError(f"Cannot write {path}: it is a device or a pipe. Give the file to write.")
    if not path.parent.is_dir():
        raise PathError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PathError(f"Cannot write {path}: permission denied.")
    if any(path.resolve() == Path(other).resolve() for other in read if other is not None):
        raise PathError(f"{path} is to be read, so it cannot be written to.")
