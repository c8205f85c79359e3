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


@contextlib.contextmanager
def read_as(path: Path, kind: str) -> Iterator[None]:
    """Turn any error into one that names the file and says what to do."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else (str(error).strip() or type(error).__name__)
        raise CheckpointError(
            f"{path} cannot be read as {kind}: {reason}. It is damaged or no such file: copy or download it again, and "
            f"compare its digest with load(..., sha256=...)."
        ) from error


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
        ValueError: If it is anything but numbers, or ends too early.
    """
    start = file.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    if not start:
        return None
    version = tuple(start[-2:]) if start.startswith(np.lib.format.MAGIC_PREFIX) and len(start) == 8 else (0, 0)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"{name} is not an .npy record")
    size = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    header = _HEADER.fullmatch(file.read(min(size, 1 << 16)))
    if header is None:
        raise ValueError(f"{name} does not begin as NumPy writes it, or holds pickled objects, which are never loaded")
    shape = tuple(int(number) for number in re.findall(rb"\d+", header[3]))
    # bfloat16 has no name in the .npy format; it is stored as two bytes of nothing in particular.
    dtype = np.dtype(ml_dtypes.bfloat16) if header[1][1:] == b"V2" else np.dtype(header[1].decode())
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are never loaded")
    wanted = math.prod(shape) * dtype.itemsize
    content = bytearray()
    while len(content) < wanted and (piece := file.read(min(_CHUNK_BYTES, wanted - len(content)))):
        content += piece
    if len(content) != wanted:
        raise ValueError(f"{name} of shape {shape} ends after {len(content)} of {wanted} bytes")
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
        raise CheckpointError(f"{path} is not a file, so it has no digest. Leave sha256 out.")
    with read_as(path, "a file"), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(wanted.lower()):
        raise CheckpointError(f"{path} has the SHA-256 digest {found} instead of {wanted}. Copy or download it again.")
