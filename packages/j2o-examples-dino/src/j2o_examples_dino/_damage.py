"""Checkpoints are not trusted: whatever is wrong with one ends in one error, and nothing is allocated that it lacks."""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from ._errors import CheckpointError

# The most bytes of settings in JSON; published ones have a few hundred.
SETTINGS_BYTES = 1 << 20

# The most that may be unpacked from a compressed file: weights do not shrink to less than a few tenths.
_SPARE_BYTES, _RATIO = 1 << 28, 64

_CHUNK_BYTES = 1 << 24

# As NumPy writes it. It is read as text, since to evaluate it would be to run what the file says.
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-zA-Z]\d{1,2})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18},? ?)*)\),? ?\} *\n"
)


_ANEW = "Copy or download it again, and compare its digest with load(..., sha256=...)."


class _DamageError(ValueError):
    """Something is wrong with a part of a file."""

    def __init__(self, record: str, reason: str):
        super().__init__(reason)
        self.record = record


@contextlib.contextmanager
def read_as(path: Path, kind: str) -> Iterator[None]:
    """Turn any error into a CheckpointError that names the file, the record that `reading` gave, and what to do."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        record = error.record if isinstance(error, _DamageError) else whole(path)
        begin = f"{path} cannot be read as {kind}: {record}: {_reason(error)}. It is damaged or no such file."
        raise checkpoint_error(begin, path, record, _ANEW) from error


@contextlib.contextmanager
def reading(record: str) -> Iterator[None]:
    """Let errors say which part of a file is read: `tensor 'a' (bytes 64 to 128)`. The innermost counts."""
    try:
        yield
    except (CheckpointError, _DamageError):
        raise
    except Exception as error:
        raise _DamageError(record, _reason(error)) from error


def checkpoint_error(problem: str, path: Path, record: str, remedy: str) -> CheckpointError:
    """An error about a part of a file; the text says all of it."""
    error = CheckpointError(f"{problem} {remedy}")
    error.path, error.record, error.remedy = path, record, remedy
    return error


def in_bytes(name: str, start: int, stop: int) -> str:
    """A record by its name and place."""
    return f"{name} (bytes {start} to {stop})"


def whole(path: Path) -> str:
    """A file as a record of itself."""
    try:
        return f"the file ({path.stat().st_size} bytes)" if path.is_file() else "the folder"
    except (OSError, ValueError):
        return "the path"


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else (str(error).strip() or type(error).__name__)


def unpacked_limit(path: Path) -> int:
    """How many bytes a compressed file may hold."""
    return path.stat().st_size * _RATIO + _SPARE_BYTES


def read_json(file: IO[bytes]) -> Any:
    """Settings of a limited size."""
    text = file.read(SETTINGS_BYTES + 1)
    if len(text) > SETTINGS_BYTES:
        raise ValueError(f"its settings take more than {SETTINGS_BYTES} bytes")
    return json.loads(text)


def read_record(file: IO[bytes], name: str) -> np.ndarray | None:
    """The next `.npy` record of a file, or None at its end. Never unpickles, and evaluates nothing.

    Raises:
        ValueError: If it is anything but numbers, or ends too early. It names the record.
    """
    with reading(f"{name} (from byte {file.tell()} on)"):
        return _read_record(file)


def _read_record(file: IO[bytes]) -> np.ndarray | None:
    start = file.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    if not start:
        return None
    version = tuple(start[-2:]) if start.startswith(np.lib.format.MAGIC_PREFIX) and len(start) == 8 else (0, 0)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError("it is not an .npy record")
    size = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    header = _HEADER.fullmatch(file.read(min(size, 1 << 16)))
    if header is None:
        raise ValueError("it does not begin as NumPy writes it, or holds pickled objects, which are never loaded")
    shape = tuple(int(number) for number in re.findall(rb"\d+", header[3]))
    # bfloat16 has no name in the .npy format; it is stored as two bytes of nothing in particular.
    dtype = np.dtype(ml_dtypes.bfloat16) if header[1][1:] == b"V2" else np.dtype(header[1].decode())
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded")
    wanted = math.prod(shape) * dtype.itemsize
    content = bytearray()
    while len(content) < wanted and (piece := file.read(min(_CHUNK_BYTES, wanted - len(content)))):
        content += piece
    if len(content) != wanted:
        raise ValueError(f"its data, of shape {shape}, ends after {len(content)} of {wanted} bytes")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if header[2] == b"True" else "C")


def check_sha256(path: Path, wanted: str) -> None:
    """Compare a file with its published digest.

    Args:
        path: The file.
        wanted: The digest, or its first digits, at least eight: names of files of PyTorch's hub end in as many.

    Raises:
        CheckpointError: If it is another one.
    """
    if not re.fullmatch("[0-9a-fA-F]{8,64}", wanted):
        raise CheckpointError(f"sha256 is {wanted!r}. Expected the hexadecimal digest of the file, 8 to 64 digits.")
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not a file, so it has no digest. Give the digests of a folder's files by their names, "
            "sha256={'model.safetensors': ...}."
        )
    with read_as(path, "a file"), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(wanted.lower()):
        problem = f"{path} has the SHA-256 digest {found} instead of {wanted}: {whole(path)} is not the published one."
        raise checkpoint_error(problem, path, whole(path), "Copy or download it again.")
