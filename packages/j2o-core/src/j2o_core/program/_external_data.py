"""Tensors in files beside a model: whether the files hold what the model says, before anything reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import onnx_ir as ir

from .._errors import CheckError
from ..graph._walk import model_graphs


def check_external_data(model: ir.Model) -> None:
    """Raise a CheckError unless every external tensor lies in its file as a whole, as ONNX Runtime asks."""
    sizes: dict[str, int | None] = {}
    for tensor in _external_tensors(model):
        if tensor.path not in sizes:
            sizes[tensor.path] = _file_size(tensor.path)
        problem = _problem(tensor, sizes[tensor.path])
        if problem:
            raise CheckError(
                f"The data of {tensor.name!r} ({tensor.dtype.name.lower()}{list(tensor.shape)}, {tensor.nbytes} bytes) "
                f"should be in {tensor.location} from byte {tensor.offset or 0} on, but {problem}. "
                f"Save the model again, or copy its files anew: they belong together."
            )


def _problem(tensor: ir.ExternalTensor, size: int | None) -> str | None:
    offset, length = tensor.offset or 0, tensor.length
    if size is None:
        return "there is no such file"
    if offset < 0:
        return "no file begins before its first byte"
    if length and length != tensor.nbytes:
        return f"the model says that it takes {length} bytes there"
    if offset + tensor.nbytes > size:
        return f"the file ends after {size} bytes"
    return None


def _file_size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in model_graphs(model):
        for value in graph.initializers.values() if isinstance(graph, ir.Graph) else ():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if isinstance(attribute.value, ir.ExternalTensor):
                    yield attribute.value
