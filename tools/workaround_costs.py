"""Measure what the workarounds for ONNX Runtime cost: the time of what is written over that of the operator.

usage: workaround_costs.py [NAME ...]

Each row of `j2o_core.target.WORKAROUNDS` that writes nodes is run on an ordinary size, as it is and legalized, in
one process and in turn, on one thread; the ratio is that of the least times. The figures go into the rows by hand.
"""

import sys
import time

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from j2o_core.target import WORKAROUNDS, Target
from j2o_core.testing._legalized import legalize_model

_ROUNDS = 60


def _unary(op_type: str, dtype: str = "double", attributes: str = "") -> str:
    return f"g ({dtype}[64,1024] x) => ({dtype}[64,1024] y) {{ y = {op_type} {attributes} (x) }}"


def _reduction(op_type: str, dtype: str) -> str:
    axes = "<int64[1] axes = {-1}>"
    return f"g ({dtype}[64,1024] x) => ({dtype}[64] y) {axes} {{ y = {op_type} <keepdims = 0> (x, axes) }}"


_IMAGES = (
    "g (float[1,64,56,56] x) => (float[1,64,28,28] y) { y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }"
)

# Graphs of an ordinary size; rows that are not here take one that their witness shows: nothing, or a size of 0.
_ORDINARY = {
    "reduce-sum-integers": _reduction("ReduceSum", "int32"),
    "einsum-integers": 'g (int32[64,1024] x) => (int32[64] y) { y = Einsum <equation = "ij->i"> (x) }',
    "reduce-prod-integers": _reduction("ReduceProd", "int32"),
    "mod-64-bits": "g (int64[64,1024] x, int64[64,1024] z) => (int64[64,1024] y) { y = Mod <fmod = 1> (x, z) }",
    "max-int64": "g (int64[64,1024] x, int64[64,1024] z) => (int64[64,1024] y) { y = Max (x, z) }",
    "clip-int64": "g (int64[64,1024] x) => (int64[64,1024] y) <int64 low = {5}> { y = Clip (x, low) }",
    "sign-int64": _unary("Sign", "int64"),
    "reduce-max-int64": _reduction("ReduceMax", "int64"),
    "relu-int64": _unary("Relu", "int64"),
    "reduce-max-nan": _reduction("ReduceMax", "float"),
    "log-softmax-nan": _unary("LogSoftmax"),
    "max-pool-nan": _IMAGES,
    "max-pool-minus-infinity": _IMAGES,
    "scatter-max-nan": "g (float[1024,64] x, int64[256,1] i, float[256,64] u) => (float[1024,64] y) "
    '{ y = ScatterND <reduction = "max"> (x, i, u) }',
    "where-negative-zero": "g (bool[64,1024] c, float[64,1024] x) => (float[64,1024] y) <float one = {1.0}> "
    "{ y = Where (c, x, one) }",
    "cast-float8-overflow": "g (float[64,1024] x) => (float[64,1024] y) "
    "{ n = Cast <to = 17, saturate = 0> (x) y = Cast <to = 1> (n) }",
    "cast-float8-bool": "g (float[64,1024] x) => (bool[64,1024] y) "
    "{ n = Cast <to = 19, saturate = 0> (x) y = Cast <to = 9> (n) }",
    "cast-4-bits": "g (float[64,1024] x) => (int8[64,1024] y) { n = Cast <to = 22> (x) y = Cast <to = 3> (n) }",
    "cast-chains": "g (double[64,1024] x) => (int32[64,1024] y) { n = Cast <to = 7> (x) y = Cast <to = 6> (n) }",
    "cast-widens-float16": "g (float16[64,1024] x) => (float[64,1024] y) { s = Mul (x, x) y = Cast <to = 1> (s) }",
    "cast-narrows-float16": "g (float[64,1024] x) => (float16[64,1024] y) { n = Cast <to = 10> (x) y = Mul (n, n) }",
    "compares-float16": "g (float16[64,1024] x, float16[64,1024] z) => (bool[64,1024] y) "
    "{ s = Mul (x, x) y = Equal (s, z) }",
    "orders-float16": "g (float16[64,1024] x) => (int64[64,1] y) { s = Mul (x, x) y = ArgMax <axis=1> (s) }",
    "reciprocal-times": "g (int64[64,1024] x, int64[64,1024] z) => (int64[64,1024] y) <int64 one = {1}> "
    "{ q = Div (one, x) y = Mul (q, z) }",
    "scaled-product-float64": "g (double[1,128,128] a, double[1,128,128] b) => (double[1,128,128] y) "
    "<double c = {0.1}> { p = MatMul (a, b) y = Mul (p, c) }",
    "transposed-matrix-times-vector": "g (float[512,512] a, float[512] v) => (float[512] y) "
    "{ t = Transpose <perm = [1, 0]> (a) y = MatMul (t, v) }",
    **{name: _unary(op_type) for name, op_type in (("elu-float64", "Elu"), ("selu-float64", "Selu"))},
    **{name: _unary(op_type) for name, op_type in (("softplus-float64", "Softplus"), ("mish-float64", "Mish"))},
    "gelu-float64": _unary("Gelu"),
    "hard-swish-float64": _unary("HardSwish"),
    "sign-half-nan": _unary("Sign", "float16"),
}


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _feeds(model: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        x.name: rng.integers(1, 100, [int(size) for size in x.shape]).astype(x.dtype.numpy())
        for x in model.graph.inputs
    }


def cost(graph: str, opset: int) -> float:
    """The least time of the legalized graph over that of the graph as it is."""
    header = f'<ir_version: {11 if opset > 22 else 10}, opset_import: ["" : {opset}]>'
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(header + graph))
    plain, legal = ir.from_proto(proto), ir.from_proto(proto)
    legalize_model(legal, Target("onnxruntime", opset, exact_nonfinite=True))
    feeds, sessions = _feeds(plain), [_session(plain), _session(legal)]
    times: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, feeds)
            taken.append(time.perf_counter() - start)
    return min(times[1]) / min(times[0])


def main() -> None:
    """The command line."""
    for row in WORKAROUNDS:
        if row.name in _ORDINARY and row.name in (sys.argv[1:] or _ORDINARY):
            try:
                print(f"{row.name:32} {cost(_ORDINARY[row.name], row.witness.opset):6.2f}")
            except Exception as error:  # noqa: BLE001  (some kernels exist in no release)
                print(f"{row.name:32} {str(error).splitlines()[0][:80]}")


if __name__ == "__main__":
    main()
