"""Files of weights: the bytes of many tensors in one file, plain or as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .._errors import SaveError
from ._digests import Digester

# Runtimes map large weights into memory, which works by pages, and small ones like cache lines.
_PAGE, _LINE, _LARGE = 4096, 64, 1 << 20

SAFETENSORS = {
    "BOOL": "BOOL",
    "INT8": "I8",
    "INT16": "I16",
    "INT32": "I32",
    "INT64": "I64",
    "UINT8": "U8",
    "UINT16": "U16",
    "UINT32": "U32",
    "UINT64": "U64",
    "FLOAT16": "F16",
    "BFLOAT16": "BF16",
    "FLOAT": "F32",
    "DOUBLE": "F64",
    "FLOAT8E4M3FN": "F8_E4M3",
    "FLOAT8E5M2": "F8_E5M2",
}


@dataclass(frozen=True)
class Placed:
    """Where weights are in a file.

    Attributes:
        offsets: the first byte of each.
        digests: the digest of each.
        digest: that of the whole file.
    """

    offsets: list[int]
    digests: list[str]
    digest: str


class _Digesting:
    """Writes to a file, and knows the position and a digest of everything written: tensors count by their own."""

    def __init__(self, file: BinaryIO, digester: Digester):
        self._file = file
        self._digester = digester
        self._written: list[bytes | Callable[[], str]] = []
        self.position = 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._written.append(content)
        self.position += len(content)

    def tensor(self, tensor: Any) -> Callable[[], str]:
        digest = self._digester.write(self._file, tensor)
        self._written.append(digest)
        self.position += tensor.nbytes
        return digest

    def align(self, nbytes: int) -> None:
        step = _PAGE if nbytes >= _LARGE else _LINE
        self.write(b"\0" * (-self.position % step))

    def hexdigest(self) -> str:
        parts = (part if isinstance(part, bytes) else part().encode() for part in self._written)
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _write_data(file: BinaryIO, tensors: Sequence[Any]) -> Placed:
    """Weights one after the other."""
    offsets, digests = [], []
    with Digester() as digester:
        out = _Digesting(file, digester)
        for tensor in tensors:
            out.align(tensor.nbytes)
            offsets.append(out.position)
            digests.append(out.tensor(tensor))
    return Placed(offsets, [digest() for digest in digests], out.hexdigest())


def _write_safetensors(file: BinaryIO, tensors: Sequence[Any]) -> Placed:
    """The same as a safetensors file: a header that says where each weight is, then the weights without gaps."""
    # The widest first keeps every weight aligned to its elements.
    order = sorted(range(len(tensors)), key=lambda i: (-tensors[i].dtype.bitwidth, tensors[i].name))
    header: dict[str, Any] = {}
    starts, position = {}, 0
    for index in order:
        tensor = tensors[index]
        dtype = SAFETENSORS.get(tensor.dtype.name)
        if dtype is None:
            raise SaveError(
                f"The weight {tensor.name!r} has dtype {tensor.dtype.name.lower()}, which safetensors does not have. "
                f'Save with weights="data".'
            )
        end = position + tensor.nbytes
        header[tensor.name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        starts[index], position = position, end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    with Digester() as digester:
        out = _Digesting(file, digester)
        out.write(len(text).to_bytes(8, "little"))
        out.write(text)
        begin = out.position
        digests = {index: out.tensor(tensors[index]) for index in order}
    every = range(len(tensors))
    return Placed([begin + starts[index] for index in every], [digests[index]() for index in every], out.hexdigest())


WRITERS = {"data": _write_data, "safetensors": _write_safetensors}
