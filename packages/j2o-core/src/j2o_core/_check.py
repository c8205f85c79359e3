"""Check: ONNX's own checker, with shape inference, on the model without its weights' bytes."""

from __future__ import annotations

import onnx_ir as ir

from ._errors import CheckError
from ._save import EMBED_LIMIT_BYTES, weight_bytes


def check_model(model: ir.Model) -> None:
    """Raise a CheckError unless the model is valid ONNX.

    Models of 1.5 GB and more are checked without their weights.
    """
    import onnx

    graph = model.graph
    values = [] if weight_bytes(model) < EMBED_LIMIT_BYTES else list(graph.initializers.values())
    tensors = [value.const_value for value in values]
    try:
        for value in values:
            assert value.const_value is not None
            dtype, shape = value.const_value.dtype, ir.Shape(value.const_value.shape.numpy())
            value.const_value = ir.ExternalTensor("weights", 0, 0, dtype, shape=shape, name=value.name or "")
        proto = ir.serde.serialize_model(model)
        onnx.checker.check_model(proto, full_check=not values)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckError(f"The model is not valid ONNX: {error}") from error
    finally:
        for value, tensor in zip(values, tensors, strict=True):
            value.const_value = tensor
