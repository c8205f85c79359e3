"""Where equations and functions come from: the user's file and line."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from .._compat import user_frames
from .._errors import SpecError

# In the metadata of a node.
SOURCE = "j2o.source"

# How much the nodes of a file say of it: `metadata` of `to_onnx`.
LEVELS = ("relative", "full", "none")

_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep


@functools.lru_cache(maxsize=64)
def _library_folders(libraries: tuple[str, ...]) -> tuple[str, ...]:
    folders = []
    for name in (*libraries, "j2o_core", "jax"):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file:
            folders.append(os.path.dirname(file) + os.sep)
    return tuple(folders)


def user_line(eqn: Any, libraries: tuple[str, ...] = ()) -> str:
    """`file:line in function` of the innermost frame outside JAX, j2o and `libraries`."""
    return _user_line(eqn.source_info.traceback, _Frames(eqn), libraries)


class _Frames:
    """Carries an equation past the cache, whose key is the traceback."""

    def __init__(self, eqn: Any):
        self.eqn = eqn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frames)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4096)
def _user_line(traceback: Any, frames: _Frames, libraries: tuple[str, ...]) -> str:
    folders = _library_folders(libraries)
    fallback = ""
    for file, line, function in user_frames(frames.eqn):
        text = f"{file}:{line} in {function}"
        if not file.startswith(folders):
            return text
        if not file.startswith(_OWN_FOLDER):
            fallback = fallback or text
    return fallback or "unknown source"


def check_level(metadata: str) -> None:
    """Raise a SpecError unless `metadata` is one of its values."""
    if metadata not in LEVELS:
        raise SpecError(
            f'metadata is {metadata!r}. Expected "relative" (lines of source by their package), "full" (by their '
            f'whole path), or "none".'
        )


def relative_line(text: str) -> str:
    """`file:line in function` with the file's path from its package on: `equinox/nn/_linear.py`, or `train.py`."""
    file, colon, rest = text.rpartition(":")
    if not colon or not os.path.isabs(file):
        return text
    folder, name = os.path.split(file)
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        name = f"{package}/{name}"
    return f"{name}:{rest}"


def source_of(node: Any) -> str | None:
    """The user's line that an ONNX node comes from: with its whole path if it was exported here."""
    line: str | None = node.meta.get(SOURCE) or node.metadata_props.get(SOURCE)
    return line


def name_of(fn: Callable[..., Any]) -> str:
    """A callable's name, or that of its class."""
    inner = inspect.unwrap(fn) if callable(fn) else fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    return str(getattr(inner, "__qualname__", type(inner).__name__)).rpartition("<locals>.")[2]


def describe(fn: Callable[..., Any]) -> str:
    """A callable's name and where it is defined, for errors."""
    inner = inspect.unwrap(fn) if callable(fn) else fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inner, "__code__", None) or getattr(getattr(inner, "__func__", None), "__code__", None)
    name = name_of(fn)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
