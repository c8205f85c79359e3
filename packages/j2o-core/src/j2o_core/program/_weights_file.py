"""Files of weights: the bytes of many tensors in one file, plain or as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, BinaryIO

from .._errors import SaveError
from ._model_file import pieces

# Runtimes map large weights into memory, which works by pages, and small ones like cache lines.
_PAGE, _LINE, _LARGE = 4096, 64, 1 << 20

_SAFETENSORS = {
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


class _Digesting:
    """Writes to a file, and knows the position and a digest of everything written."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._digest = hashlib.blake2b(digest_size=8)
        self.position = 0

    def write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.position += len(content)

    def tensor(self, tensor: Any) -> None:
        for piece in pieces(tensor):
            self.write(piece)

    def align(self, nbytes: int) -> None:
        step = _PAGE if nbytes >= _LARGE else _LINE
        self.write(b"\0" * (-self.position % step))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _write_data(file: BinaryIO, tensors: Sequence[Any]) -> tuple[list[int], str]:
    """Weights one after the other; the offset of each, and the digest."""
    out = _Digesting(file)
    offsets = []
    for tensor in tensors:
        out.align(tensor.nbytes)
        offsets.append(out.position)
        out.tensor(tensor)
    return offsets, out.hexdigest()


def _write_safetensors(file: BinaryIO, tensors: Sequence[Any]) -> tuple[list[int], str]:
    """The same as a safetensors file: a header that says where each weight is, then the weights without gaps."""
    # The widest first keeps every weight aligned to its elements.
    order = sorted(range(len(tensors)), key=lambda i: (-tensors[i].dtype.bitwidth, tensors[i].name))
    header: dict[str, Any] = {}
    starts, position = {}, 0
    for index in order:
        tensor = tensors[index]
        dtype = _SAFETENSORS.get(tensor.dtype.name)
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
    out = _Digesting(file)
    out.write(len(text).to_bytes(8, "little"))
    out.write(text)
    begin = out.position
    for index in order:
        out.tensor(tensors[index])
    return [begin + starts[index] for index in range(len(tensors))], out.hexdigest()


WRITERS = {"data": _write_data, "safetensors": _write_safetensors}
