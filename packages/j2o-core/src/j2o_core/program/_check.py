"""Check: ONNX's own checker, with shape inference, on the model without its weights' bytes."""

from __future__ import annotations

import onnx_ir as ir

from .._errors import CheckError
from ._model_view import model_view
from ._save import EMBED_LIMIT_BYTES, weight_bytes


def check_model(model: ir.Model) -> None:
    """Raise a CheckError unless the model is valid ONNX.

    Models of 1.5 GB and more are checked without their weights.
    """
    import onnx

    initializers = model.graph.initializers
    described = {} if weight_bytes(model) < EMBED_LIMIT_BYTES else dict(map(_without_content, initializers.values()))
    try:
        proto = ir.serde.serialize_model(model_view(model, tensors=described))
        onnx.checker.check_model(proto, full_check=not described)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckError(f"The model is not valid ONNX: {error}") from error


def _without_content(value: ir.Value) -> tuple[str, ir.ExternalTensor]:
    tensor, name = value.const_value, value.name or ""
    assert tensor is not None
    return name, ir.ExternalTensor("weights", 0, 0, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name)
