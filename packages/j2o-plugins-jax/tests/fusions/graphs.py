"""Graphs as ONNX text: their operators after the fusions, which compute what they did before."""

import numpy as np
import onnx
import onnx_ir as ir

import j2o_plugins_jax
from j2o_core.graph._kept import WEIGHT_INPUT
from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

_SIZES = {"B": 2, "C": 4, "H": 5, "W": 3}
_RTOL = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-10}


def graph(inputs, constants, *nodes, outputs="y"):
    """The text of a graph."""
    return f"({inputs}) => ({outputs}) <{', '.join(constants)}> {{ {' '.join(nodes)} }}"


def fused(text, opset=23, **feeds):
    """The operators of a graph after the fusions. Inputs `weight...` are kept; others are drawn unless given.

    ONNX Runtime gives the numbers that it gives for the graph as it is. bfloat16, for which it has no kernels, is not
    compared.
    """
    before = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>g {text}')
    before = onnx.shape_inference.infer_shapes(before, check_type=True, strict_mode=True, data_prop=True)
    model = ir.from_proto(before)
    for value in model.graph.inputs:
        if value.name.startswith("weight"):
            value.meta[WEIGHT_INPUT] = value.name
    rewrite_model(model, Target("onnxruntime", opset), j2o_plugins_jax.plugin)
    if "bfloat16" not in text:
        given = {value.name: feeds.get(value.name, _numbers(value)) for value in before.graph.input}
        for old, new in zip(_run(before, given), _run(ir.to_proto(model), given), strict=True):
            assert (old.dtype, old.shape) == (new.dtype, new.shape)
            rtol = _RTOL.get(old.dtype.name, 0)
            np.testing.assert_allclose(
                new, old, rtol=rtol, atol=rtol * np.max(np.abs(old), initial=0, where=np.isfinite(old))
            )
    return [node.op_type for node in model.graph.all_nodes()]


def _numbers(value):
    tensor = value.type.tensor_type
    shape = [_SIZES.get(size.dim_param, size.dim_value) for size in tensor.shape.dim]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    rng = np.random.default_rng(len(value.name))
    if dtype.kind in "iub":
        return rng.integers(0, 2 if dtype.kind == "b" else 5, shape).astype(dtype)
    return np.asarray(
        np.abs(rng.standard_normal(shape)) + 0.1 if "weight" in value.name else rng.standard_normal(shape), dtype
    )


def _run(proto, feeds):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(proto.SerializeToString(), options).run(None, feeds)
