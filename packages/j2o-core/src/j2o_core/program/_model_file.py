"""The bytes of a model file, written piece by piece: through protobuf every weight would be copied three times.

Only the last field of the file is put together here: a `ModelProto` whose `graph` is what onnx_ir serializes without
the weights, followed by one `TensorProto` a weight whose `raw_data` comes straight from the array. The order of fields
is free (https://protobuf.dev/programming-guides/encoding/#order).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir

from .._errors import SaveError
from ..trace._memory import file_map
from ._model_view import model_view

# Weights are written in pieces, so that none is copied as a whole.
_CHUNK_BYTES = 1 << 24
# What has a layout of its own is copied, block by block.
_BLOCK_BYTES = 1 << 22
# What is smaller is left to protobuf.
_SMALL_BYTES = 1 << 12
# Readers count the bytes of a message in 32 bits with a sign.
_LARGEST_BYTES = (1 << 31) - 1

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9


def write_model(file: BinaryIO, model: ir.Model) -> None:
    """Write a model with all weights that are not external.

    Raises:
        SaveError: if it takes 2 GB or more, which no reader of ONNX accepts.
    """
    streamed = _large(model)
    proto = ir.serde.serialize_model(model_view(model, tensors=_emptied(streamed)))
    tensors, heads = [], []
    for described in proto.graph.initializer:
        tensor = streamed.get(described.name)
        if tensor is not None:
            described.ClearField("raw_data")
            tensors.append(tensor)
            heads.append(described.SerializeToString(deterministic=True) + _field(_TENSOR_RAW_DATA, tensor.nbytes))
    kept = [described for described in proto.graph.initializer if described.name not in streamed]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    bodies = [len(head) + tensor.nbytes for head, tensor in zip(heads, tensors, strict=True)]
    initializers = [_field(_GRAPH_INITIALIZER, size) for size in bodies]
    size = len(graph) + sum(map(len, initializers)) + sum(bodies)
    rest = proto.SerializeToString(deterministic=True) + _field(_MODEL_GRAPH, size)
    if len(rest) + size > _LARGEST_BYTES:
        raise SaveError(
            f"The model takes {(len(rest) + size) / 1e9:.1f} GB; one ONNX file holds less than 2.1 GB. "
            f"Save with external_data=True: the weights then go into a file of their own."
        )
    file.write(rest)
    file.write(graph)
    for initializer, head, tensor in zip(initializers, heads, tensors, strict=True):
        file.write(initializer + head)
        for piece in pieces(tensor):
            file.write(piece)


def pieces(tensor: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, little endian, without a copy of all of it.

    A tensor in a mapped file (`np.memmap`) is read from there, and its pages are let go: however many weights there
    are, no more than one is in memory.
    """
    array = tensor.numpy()
    if tensor.dtype.bitwidth < 8 or array.dtype.byteorder == ">" or not array.flags.c_contiguous:
        yield from _rearranged(tensor, array)
    else:
        flat = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(flat), _CHUNK_BYTES):
            yield flat[start : start + _CHUNK_BYTES]
    _let_go(array)


def _rearranged(tensor: Any, array: np.ndarray[Any, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of a view with a layout of its own, such as a transposed or a broadcast one, some rows at a time."""
    if array.nbytes <= _BLOCK_BYTES or array.ndim == 0 or tensor.dtype.bitwidth < 8:
        yield tensor.tobytes()
        return
    rows = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        block = array[start : start + rows] if rows > 1 else array[start]
        yield from _rearranged(ir.Tensor(block, dtype=tensor.dtype), block)


def _let_go(array: np.ndarray[Any, Any]) -> None:
    """Give back the memory that pages of a mapped file take: what is read again is read from the file again."""
    mapped = file_map(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _large(model: ir.Model) -> dict[str, ir.Tensor[Any]]:
    """Initializers that lie in memory and are worth a detour, by name."""
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {name: t for name, t in tensors.items() if isinstance(t, ir.Tensor) and t.nbytes > _SMALL_BYTES}


class _Empty(ir.Tensor[Any]):
    """A tensor's description without its content."""

    def tobytes(self) -> bytes:
        return b""


def _emptied(tensors: Mapping[str, ir.Tensor[Any]]) -> dict[str, ir.Tensor[Any]]:
    """The same descriptions without content."""
    described: dict[str, ir.Tensor[Any]] = {}
    for name, tensor in tensors.items():
        empty = _Empty(tensor.raw, tensor.dtype, shape=tensor.shape, name=name, doc_string=tensor.doc_string)
        empty.metadata_props.update(tensor.metadata_props)
        described[name] = empty
    return described


def _field(number: int, size: int) -> bytes:
    """What stands before a field of that many bytes: its tag (wire type 2) and its size, both as varints."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit set on all but the last."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
