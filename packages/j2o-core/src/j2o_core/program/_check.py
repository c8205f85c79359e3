"""Check: ONNX's own checker, with shape inference, on the model without the bytes of large weights."""

from __future__ import annotations

import onnx_ir as ir

from .._errors import CheckError
from ..graph._kept import without_values
from ._model_view import model_view
from ._save import EMBED_LIMIT_BYTES, weight_bytes

# Shapes, axes and other numbers that shape inference reads.
_READ_BYTES = 1 << 12


def check_model(model: ir.Model) -> None:
    """Raise a CheckError unless the model is valid ONNX.

    In models of 1.5 GB and more, and in those whose weights have no values, weights are checked as inputs are.
    """
    import onnx

    missing = set(without_values(model))
    large = weight_bytes(model) >= EMBED_LIMIT_BYTES
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    described = {
        name: ir.ExternalTensor("", 0, 0, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name)
        for name, tensor in tensors.items()
        if tensor is not None and (name in missing or (large and tensor.nbytes > _READ_BYTES))
    }
    try:
        proto = ir.serde.serialize_model(model_view(model, tensors=described))
        weights = [one for one in proto.graph.initializer if one.name not in described]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(weights)
        proto.graph.input.extend(ir.serde.serialize_value(model.graph.initializers[name]) for name in described)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckError(f"The model is not valid ONNX: {error}") from error
