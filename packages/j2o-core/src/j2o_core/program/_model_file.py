"""The bytes of a model file, written piece by piece: through protobuf every weight would be copied three times.

Only the last field of the file is put together here: a `ModelProto` whose `graph` is what onnx_ir serializes without
the weights, followed by one `TensorProto` a weight whose `raw_data` comes straight from the array, and its digest from
what was written. The order of fields is free (https://protobuf.dev/programming-guides/encoding/#order).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import onnx_ir as ir

from .._errors import SaveError
from ._digests import DIGEST, DIGITS, Digester, digest_of
from ._model_view import model_view
from ._pieces import pieces

# Smaller fields are left to protobuf.
_SMALL_BYTES = 1 << 12
# Readers count the bytes of a message in 32 bits with a sign.
_LARGEST_BYTES = (1 << 31) - 1

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA, _TENSOR_METADATA = 7, 5, 9, 16


def write_model(file: BinaryIO, model: ir.Model, *, digests: bool = True) -> None:
    """Write a model with all weights that are not external.

    Args:
        file: where to.
        model: the model.
        digests: whether each weight gets its digest, which `j2o check` compares. They are put in at the end.

    Raises:
        SaveError: if it takes 2 GB or more, which no reader of ONNX accepts.
    """
    streamed = _large(model)
    proto = ir.serde.serialize_model(model_view(model, tensors=_emptied(streamed)))
    _drop_types_of_weights(proto.graph)
    tensors, heads, kept = [], [], []
    for described in proto.graph.initializer:
        tensor = streamed.get(described.name)
        if tensor is not None:
            described.ClearField("raw_data")
            tensors.append(tensor)
            heads.append(described.SerializeToString(deterministic=True) + _field(_TENSOR_RAW_DATA, tensor.nbytes))
            continue
        kept.append(described)
        has_digest = any(entry.key == DIGEST for entry in described.metadata_props)  # of the file that it was read from
        if digests and described.HasField("raw_data") and not has_digest:
            described.metadata_props.add(key=DIGEST, value=digest_of([described.raw_data]))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    behind = len(_digest_entry("0" * DIGITS)) if digests else 0
    bodies = [len(head) + tensor.nbytes + behind for head, tensor in zip(heads, tensors, strict=True)]
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
    if not digests:
        for initializer, head, tensor in zip(initializers, heads, tensors, strict=True):
            file.write(initializer + head)
            file.writelines(pieces(tensor))
        return
    places = []
    with Digester() as digester:
        for initializer, head, tensor in zip(initializers, heads, tensors, strict=True):
            file.write(initializer + head)
            digest = digester.write(file, tensor)
            file.write(_digest_entry("0" * DIGITS))
            places.append((file.tell() - DIGITS, digest))
        for place, digest in places:
            file.seek(place)
            file.write(digest().encode())


def _drop_types_of_weights(graph: Any) -> None:
    """A weight's tensor has its type. Apart from it they would stand in an order that a reader does not know."""
    weights = {tensor.name for tensor in graph.initializer}
    others = [value for value in graph.value_info if value.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(others)


def _digest_entry(digest: str) -> bytes:
    """The field of a tensor's metadata that holds its digest."""
    entry = b"".join(_field(number, len(text)) + text.encode() for number, text in ((1, DIGEST), (2, digest)))
    return _field(_TENSOR_METADATA, len(entry)) + entry


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
    """The bytes that precede a field of that many bytes: its tag (wire type 2) and its size, both as varints."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit set on all but the last."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
