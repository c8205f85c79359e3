"""Digests of weights: taken while a model is written, compared when one is read.

A weight's digest is the beginning of the SHA-256 of its bytes. It stands in the metadata of its tensor, so a program
that replaces the tensor leaves none behind.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO

import onnx_ir as ir

from .._errors import CheckError
from ..trace._memory import file_map
from ._pieces import pieces

if TYPE_CHECKING:
    from typing import Self

# The entry in the metadata of a tensor, and how many hexadecimal digits it has.
DIGEST, DIGITS = "j2o.sha256", 32

# To hash less takes no longer than to ask another thread for it.
_PARALLEL_BYTES = 1 << 18


def digest_of(content: Iterable[bytes | memoryview]) -> str:
    """The digest of a tensor whose bytes these are."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return digest.hexdigest()[:DIGITS]


class Digester:
    """Writes tensors, and has another thread hash one piece while it is written and the next one is made."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "j2o-digests")
        self._hashed: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, file: BinaryIO, tensor: Any) -> Callable[[], str]:
        """Write the bytes of a tensor. The result gives their digest: best when all is written."""
        digest, last = hashlib.sha256(), None
        for piece in pieces(tensor):
            if last is not None:
                last.result()
            last = self._start(digest, piece) if len(piece) >= _PARALLEL_BYTES else None
            if last is None:
                digest.update(piece)
            file.write(piece)
            if last is not None and isinstance(piece, memoryview) and file_map(piece.obj) is not None:
                last.result()  # its pages are let go next
        return functools.partial(_hexdigest, digest, last)

    def _start(self, digest: Any, piece: bytes | memoryview) -> Future[None] | None:
        if self._hashed is not None:
            self._hashed.result()
        try:
            self._hashed = self._pool.submit(digest.update, piece)
        except RuntimeError:  # where there are no threads, or no new ones as the process ends
            return None
        return self._hashed


def _hexdigest(digest: Any, last: Future[None] | None) -> str:
    if last is not None:
        last.result()
    return str(digest.hexdigest()[:DIGITS])


def check_digests(model: ir.Model) -> None:
    """Raise a CheckError if a weight is not the one that was saved, in the model's file or beside it."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        wanted = None if tensor is None else tensor.metadata_props.get(DIGEST)
        if tensor is None or wanted is None or wanted == (found := digest_of(pieces(tensor))):
            continue
        place = f"in {tensor.location}" if isinstance(tensor, ir.ExternalTensor) else "in the model's file"
        what = f"{tensor.dtype.name.lower()}{list(tensor.shape)}, {tensor.nbytes} bytes {place}"
        raise CheckError(
            f"The weight {tensor.name!r} ({what}) is not the one that was saved: its SHA-256 begins with {found}, not "
            f"with {wanted[:DIGITS]}. The file is damaged, or another program has written to it. "
            f"Copy it anew, or export again."
        )
