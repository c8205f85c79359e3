"""Graphs that core's rewrites change, and those beside them that they leave alone, as ONNX text.

Each graph computes the same before and after, by ONNX's reference implementation.
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

reference = pytest.importorskip("onnx.reference")

from j2o_core.graph._kept import WEIGHT_INPUT  # noqa: E402
from j2o_core.target import Target  # noqa: E402
from j2o_core.testing._legalized import rewrite_model  # noqa: E402

HEADER = '<ir_version: 10, opset_import: ["" : 21, "other" : 1]>'
_SIZES = {"N": 4, "M": 6}


def run(model, rng_seed=0):
    rng, feeds = np.random.default_rng(rng_seed), {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [_SIZES.get(size.dim_param, size.dim_value) for size in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        feeds[value.name] = rng.integers(-3, 4, shape).astype(dtype)
    return reference.ReferenceEvaluator(model).run(None, feeds)


def rewritten(text):
    """The operators of a graph after core's rewrites; the numbers are those before. Inputs `weight...` are kept."""
    before = onnx.parser.parse_model(HEADER + text)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(before))
    for value in model.graph.inputs:
        if value.name.startswith("weight"):
            value.meta[WEIGHT_INPUT] = value.name
    rewrite_model(model, Target(None, 21))
    after = ir.to_proto(model)
    if "float8" not in text and "other." not in text:
        onnx.shape_inference.infer_shapes(after, check_type=True, strict_mode=True)
        with np.errstate(all="ignore"):
            for old, new in zip(run(before), run(after), strict=True):
                assert old.dtype == new.dtype
                np.testing.assert_allclose(new, old, rtol=1e-6)
    return [node.op_type for node in model.graph]


# name: (graph, operators afterwards)
CHANGED = {
    "sum over no axes, which is no mean": (
        """g (float[2,3] x) => (y) <int64[0] a = {}, float c = {1}> { s = ReduceSum(x, a) y = Div(s, c) }""",
        ["ReduceSum"],
    ),
    "mean": (
        """g (float[2,3] x) => (y) <int64[1] a = {1}, float c = {3}>
        { s = ReduceSum <keepdims=0> (x, a) y = Div(s, c) }""",
        ["ReduceMean"],
    ),
    "mean by a factor, behind a reshape": (
        """g (float[2,4] x) => (y) <int64[1] a = {1}, float c = {0.25}, int64[2] to = {1, 2}>
        { s = ReduceSum <keepdims=0> (x, a) r = Reshape(s, to) y = Mul(c, r) }""",
        ["ReduceMean", "Reshape"],
    ),
    "bias of a convolution": (
        """g (float[1,2,5] x) => (y) <float[2,2,1] w = {1,2,3,4}, float[2,1] b = {1,2}>
        { c = Conv(x, w) y = Add(c, b) }""",
        ["Conv"],
    ),
    "bias of a convolution of one example that is kept": (
        """g (float[1,2,5] x, float[2,1] weight) => (y) <float[2,2,1] w = {1,2,3,4}, int64[1] a = {0}>
        { c = Conv(x, w) s = Squeeze(c, a) y = Add(s, weight) }""",
        ["Reshape", "Conv", "Reshape"],
    ),
    "chain of layouts": (
        """g (float[2,3,4] x) => (y) <int64[2] flat = {12, 2}, int64[3] back = {4, 3, 2}>
        { a = Transpose <perm=[1,2,0]> (x) b = Reshape(a, flat) c = Transpose <perm=[1,0]> (b) y = Neg(c) }""",
        ["Neg", "Reshape"],
    ),
    "layouts around a cast": (
        """g (float[2,3] x) => (y) <int64[1] a = {0}>
        { u = Unsqueeze(x, a) c = Cast <to=11> (u) y = Squeeze(c, a) }""",
        ["Cast"],
    ),
    "cast before expand": (
        """g (float[3] x) => (y) <int64[2] to = {2, 3}> { e = Expand(x, to) y = Cast <to=11> (e) }""",
        ["Cast", "Expand"],
    ),
    "expand once": (
        """g (float[2,1] x) => (y) <int64[2] to = {2, 3}, int64[1] a = {0}, int64[3] whole = {5, 2, 3}>
        { e = Expand(x, to) u = Unsqueeze(e, a) y = Expand(u, whole) }""",
        ["Reshape", "Expand"],
    ),
    "axes kept": (
        """g (float[2,3] x) => (y) <int64[1] a = {1}> { s = ReduceMax <keepdims=0> (x, a) y = Unsqueeze(s, a) }""",
        ["ReduceMax"],
    ),
    "reduction of what is transposed": (
        """g (float[2,3] x) => (y) <int64[1] a = {0}, int64[1] last = {1}>
        { t = Transpose <perm=[1,0]> (x) s = ReduceMax <keepdims=0> (x, a) u = Unsqueeze(s, last) y = Sub(t, u) }""",
        ["Transpose", "ReduceMax", "Sub"],
    ),
    "reduction over all axes": (
        """g (float[2,3] x) => (y) <int64[2] a = {0, 1}>
        { t = Transpose <perm=[1,0]> (x) s = ReduceMax <keepdims=0> (x) u = Unsqueeze(s, a) y = Sub(t, u) }""",
        ["Transpose", "ReduceMax", "Sub"],
    ),
    "squeeze before transpose": (
        """g (float[2,1,3,4] x) => (y) <int64[1] a = {2}>
        { t = Transpose <perm=[3,0,1,2]> (x) q = Squeeze(t, a) y = Neg(q) }""",
        ["Neg", "Reshape", "Transpose"],
    ),
    "transpose below a pointwise operator": (
        """g (float[2,3] x) => (y) <float c = {2}> { t = Transpose <perm=[1,0]> (x) y = Mul(t, c) }""",
        ["Mul", "Transpose"],
    ),
    "softmax before a reshape that keeps the last axis": (
        """g (float[2,3,4] x) => (y) <int64[2] to = {6, 4}> { r = Reshape(x, to) y = Softmax <axis=1> (r) }""",
        ["Softmax", "Reshape"],
    ),
    "two transposes below a sum": (
        """g (float[2,3] x, float[2,3] z) => (y)
        { t = Transpose <perm=[1,0]> (x) u = Transpose <perm=[1,0]> (z) y = Add(t, u) }""",
        ["Add", "Transpose"],
    ),
    "transpose below a gate": (
        """g (float[2,3] x) => (y) { t = Transpose <perm=[1,0]> (x) s = Sigmoid(t) y = Mul(s, t) }""",
        ["Sigmoid", "Mul", "Transpose"],
    ),
    "slice of one part of a concatenation": (
        """g (float[2,3] x, float[2,2] z) => (y) <int64[1] b = {3}, int64[1] e = {5}, int64[1] a = {1}>
        { c = Concat <axis=1> (x, z) s = Slice(c, b, e, a) y = Neg(s) }""",
        ["Neg"],
    ),
    "slice of which one axis is whole": (
        """g (float[4,3] x) => (y) <int64[2] b = {0, 1}, int64[2] e = {3, 3}, int64[2] a = {0, 1}>
        { t = Transpose <perm=[1,0]> (x) s = Slice(t, b, e, a) y = Neg(s) }""",
        ["Slice", "Neg", "Transpose"],
    ),
    "slices as a split of what is read elsewhere": (
        """g (float[4,3] x) => (y, z, m)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, four, a) y = Neg(p) z = Exp(q) m = ReduceMax(x) }""",
        ["Split", "Neg", "Exp", "ReduceMax"],
    ),
    "transpose below four operators": (
        """g (float[2,3] x) => (y) { t = Transpose <perm=[1,0]> (x)
        a = Neg(t) b = Exp(a) c = Neg(b) d = Exp(c) e = Neg(d) y = Exp(e) }""",
        ["Neg", "Exp", "Neg", "Exp", "Transpose", "Neg", "Exp"],
    ),
    "transpose below four gates": (
        """g (float[2,3] x) => (y) { t = Transpose <perm=[1,0]> (x)
        a = Sigmoid(t) b = Mul(a, t) c = Sigmoid(b) d = Mul(c, b) e = Sigmoid(d) f = Mul(e, d) h = Sigmoid(f)
        i = Mul(h, f) j = Sigmoid(i) y = Mul(j, i) }""",
        [*["Sigmoid", "Mul"] * 4, "Transpose", "Sigmoid", "Mul"],
    ),
    "slices together": (
        """g (float[4,3] x) => (y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, three, a) y = Concat <axis=0> (p, q) }""",
        ["Slice"],
    ),
    "slices before a transpose": (
        """g (float[4,3] x) => (y, z) <int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, int64[1] a = {1}>
        { t = Transpose <perm=[1,0]> (x) p = Slice(t, zero, two, a) q = Slice(t, two, four, a)
        y = Neg(p) z = Exp(q) }""",
        ["Split", "Neg", "Transpose", "Exp", "Transpose"],
    ),
    "slice before a reshape that splits an axis": (
        """g (float[2,6] x) => (y) <int64[3] to = {2, 2, 3}, int64[1] b = {1}, int64[1] e = {2}, int64[1] a = {1}>
        { r = Reshape(x, to) s = Slice(r, b, e, a) y = Neg(s) }""",
        ["Slice", "Neg", "Reshape"],
    ),
    "packed projection": (
        """g (float[2,2] x) => (y, z) <float[2,4] w = {1,2,3,4,5,6,7,8}, float[4] c = {1,2,3,4}, int64[1] zero = {0},
        int64[1] two = {2}, int64[1] four = {4}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(c, m) p = Slice(n, zero, two, a) q = Slice(n, two, four, a)
        y = Neg(p) z = Exp(q) }""",
        ["MatMul", "Add", "MatMul", "Add", "Neg", "Exp"],
    ),
    "slices as a split": (
        """g (float[4,3] x) => (y, z) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, four, a) y = Neg(p) z = Exp(q) }""",
        ["Split", "Neg", "Exp"],
    ),
    "slices of few elements as a split, with parts that are not read": (
        """g (float[7,3] x) => (y, z) <int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[1] six = {6},
        int64[1] a = {0}>
        { p = Slice(x, one, two, a) q = Slice(x, four, six, a) y = Neg(p) z = Exp(q) }""",
        ["Split", "Neg", "Exp"],
    ),
    "slices as a split, and one of two of its parts": (
        """g (float[3,2] x) => (y, z, u, v) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
        int64[1] three = {3}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, three, a) r = Slice(x, one, two, a) s = Slice(x, two, three, a)
        y = Neg(p) z = Exp(q) u = Sin(r) v = Cos(s) }""",
        ["Split", "Slice", "Neg", "Exp", "Sin", "Cos"],
    ),
    "slices as a split along one of two axes": (
        """g (float[2,2] x) => (y, z, u) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
        { r = Slice(x, one, two, one) p = Slice(x, zero, one, zero) q = Slice(x, one, two, zero)
        y = Neg(p) z = Exp(q) u = Sin(r) }""",
        ["Slice", "Split", "Neg", "Exp", "Sin"],
    ),
    "expand that the other operand makes larger": (
        """g (float[3] x) => (y) <int64[2] to = {1, 3}, float[2,1] c = {1, 2}>
        { e = Expand(x, to) y = Add(e, c) }""",
        ["Add"],
    ),
    "expand with a constant of more axes": (
        """g (float[3] x) => (y) <int64[2] to = {2, 3}, float[2,1] c = {1, 2}>
        { e = Expand(x, to) y = Add(e, c) }""",
        ["Add"],
    ),
    "mask that keeps everything, behind another shape": (
        """g (bool[1,3] m, float[1,2,3] x) => (y) <bool t = {1}, int64[2] to = {2, 3}, int64[1] a = {0}, float z = {0}>
        { e = Expand(t, to) k = And(e, m) u = Unsqueeze(k, a) y = Where(u, x, z) }""",
        ["Reshape", "Where"],
    ),
    "pointwise operator before an expand": (
        """g (float[3] x) => (y) <int64[2] to = {2, 3}, float c = {2}> { e = Expand(x, to) y = Add(e, c) }""",
        ["Add", "Expand"],
    ),
}

# name: graph
KEPT = {
    "quotient of sums that are none": """g (float[0,3] x) => (y) <int64[1] a = {1}, float[0] c = {}>
        { s = ReduceSum <keepdims=0> (x, a) y = Div(s, c) }""",
    "mean of integers": """g (int32[2,3] x) => (y) <int64[1] a = {1}, int32 c = {3}>
        { s = ReduceSum (x, a) y = Div(s, c) }""",
    "mean of float8": """g (float8e4m3fn[2,4] x) => (float8e4m3fn[2,1] y) <int64[1] a = {1}, float8e4m3fn c = {72}>
        { s = ReduceSum (x, a) y = Div(s, c) }""",
    "quotient of other axes than the sum": """g (float[2,3] x) => (y) <int64[1] a = {1}, float[1,1] c = {3}>
        { s = ReduceSum <keepdims=0> (x, a) y = Div(s, c) }""",
    "sum over no axes": """g (float[2,3] x, int64[0] a) => (y) <float c = {1}>
        { s = ReduceSum (x, a) y = Div(s, c) }""",
    "mean over a symbolic axis": """g (float[N,3] x) => (y) <int64[1] a = {0}, float c = {3}>
        { s = ReduceSum (x, a) y = Div(s, c) }""",
    "product of a sum of nothing": """g (float[0,3] x) => (y) <int64[1] a = {0}, float c = {2}>
        { s = ReduceSum (x, a) y = Mul(s, c) }""",
    "another divisor than the number of elements": """g (float[2,3] x) => (y) <int64[1] a = {1}, float c = {2}>
        { s = ReduceSum (x, a) y = Div(s, c) }""",
    "bias of a convolution that has one": """g (float[1,2,5] x) => (y)
        <float[2,2,1] w = {1,2,3,4}, float[2] d = {1,2}, float[2,1] b = {1,2}>
        { c = Conv(x, w, d) y = Add(c, b) }""",
    "bias that is kept of a convolution whose channels are split": """g (float[1,2,4] x, float[2,1] weight) => (y)
        <float[2,2,1] w = {1,2,3,4}, int64[3] to = {2,2,2}>
        { c = Conv(x, w) r = Reshape(c, to) y = Add(r, weight) }""",
    "bias that is kept of a convolution with one more axis": """g (float[1,2,5] x, float[1,2,1] weight) => (y)
        <float[2,2,1] w = {1,2,3,4}, int64[1] a = {0}>
        { c = Conv(x, w) s = Squeeze(c, a) y = Add(s, weight) }""",
    "slices of a weight that is kept": """g (float[4,3] weight) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] a = {0}>
        { p = Slice(weight, zero, one, a) q = Slice(weight, one, four, a) y = Neg(p) z = Exp(q) }""",
    "product with a constant of no numbers": """g (float[1,3] x) => (y) <float[0,3] c = {}> { y = Mul(c, x) }""",
    "slice of a joined value of unknown shape": """g (float[2,3] x, float[2,2] z) => (y)
        <float[2,5] c, int64[1] b = {3}, int64[1] e = {5}, int64[1] a = {1}>
        { u = other.Sin(x) c = Concat <axis=1> (u, z) s = Slice(c, b, e, a) y = Neg(s) }""",
    "slice of a product of one column and a wider bias": """g (float[2,2] x) => (y)
        <float[2,1] w = {1,2}, float[4] c = {1,2,3,4}, int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) }""",
    "slice of a product of two inputs": """g (float[2,2] x, float[2,4] w) => (y)
        <int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {1}>
        { m = MatMul(x, w) s = Slice(m, b, e, a) y = Neg(s) }""",
    "slice of a product of two inputs with a bias": """g (float[2,2] x, float[2,4] w) => (y)
        <float[4] c = {1,2,3,4}, int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) }""",
    "bias of a convolution that is read elsewhere": """g (float[1,2,5] x) => (y, z)
        <float[2,2,1] w = {1,2,3,4}, float[2,1] b = {1,2}>
        { c = Conv(x, w) y = Add(c, b) z = Neg(c) }""",
    "bias of a convolution along another axis": """g (float[1,2,2] x) => (y)
        <float[2,2,1] w = {1,2,3,4}, float[2] b = {1,2}>
        { c = Conv(x, w) y = Add(c, b) }""",
    "layouts around a cast that is read elsewhere": """g (float[N,3] x) => (y, z) <int64[1] a = {0}>
        { u = Unsqueeze(x, a) c = Cast <to=11> (u) y = Squeeze(c, a) z = Neg(c) }""",
    "cast of an expand that is read elsewhere": """g (float[3] x) => (y, z) <int64[2] to = {2, 3}>
        { e = Expand(x, to) y = Cast <to=11> (e) z = ReduceMax(e) }""",
    "axes of a reduction that are kept already": """g (float[2,3] x) => (y) <int64[1] a = {1}, int64[1] first = {0}>
        { s = ReduceMax <keepdims=1> (x, a) y = Unsqueeze(s, first) }""",
    "reduction that is read elsewhere": """g (float[2,3] x) => (y, z) <int64[1] a = {0}, int64[1] last = {1}>
        { t = Transpose <perm=[1,0]> (x) s = ReduceMax <keepdims=0> (x, a) u = Unsqueeze(s, last) y = Sub(t, u)
          z = Neg(s) }""",
    "reduction of fewer axes than its readers have": """g (float[2,3] x) => (y) <int64[1] a = {0}, int64[2] to = {0, 2}>
        { t = Transpose <perm=[1,0]> (x) s = ReduceMax <keepdims=0> (x, a) u = Unsqueeze(s, to) y = Sub(t, u) }""",
    "squeeze of a transpose that is read elsewhere": """g (float[2,1,3,4] x) => (y, z) <int64[1] a = {2}>
        { t = Transpose <perm=[3,0,1,2]> (x) y = Squeeze(t, a) z = Neg(t) }""",
    "reshape of a transpose that merges axes": """g (float[2,3,4] x) => (y) <int64[2] to = {6, 4}>
        { t = Transpose <perm=[1,0,2]> (x) r = Reshape(t, to) y = ReduceMax(r) }""",
    "layout that is read elsewhere": """g (float[2,3] x) => (y, z) <float c = {2}>
        { t = Transpose <perm=[1,0]> (x) y = Mul(t, c) z = Identity(t) }""",
    "mask of fewer axes than what is added to it": """g (bool[3] m, float[2,1,3] x) => (y)
        <bool t = {1}, int64[2] to = {2, 3}, int64[1] a = {1}, float z = {0}>
        { e = Expand(t, to) k = And(e, m) u = Unsqueeze(k, a) y = Where(u, x, z) }""",
    "operands that both vary": """g (float[2,3] x, float[3,2] z) => (y) { t = Transpose
        <perm=[1,0]> (x) y = Mul(t, z) }""",
    "softmax behind a reshape of the last axis": """g (float[2,3,4] x) => (y) <int64[2] to = {2, 12}>
        { r = Reshape(x, to) y = Softmax <axis=1> (r) }""",
    "softmax along another axis": """g (float[2,3,4] x) => (y) <int64[2] to = {6, 4}>
        { r = Reshape(x, to) y = Softmax <axis=0> (r) }""",
    "transposes that differ": """g (float[2,3,4] x, float[3,2,4] z) => (y)
        { t = Transpose <perm=[2,1,0]> (x) u = Transpose <perm=[2,0,1]> (z) y = Add(t, u) }""",
    "one transpose in a sum": """g (float[2,3] x, float s) => (y) { t = Transpose <perm=[1,0]> (x) y = Pow(s, t) }""",
    "gate of another value": """g (float[2,3] x, float[3,2] z) => (y)
        { t = Transpose <perm=[1,0]> (x) s = Sigmoid(z) y = Mul(s, t) }""",
    "gate whose operand is read elsewhere": """g (float[2,3] x) => (y, z)
        { t = Transpose <perm=[1,0]> (x) s = Sigmoid(t) y = Mul(s, t) z = ReduceMax(t) }""",
    "gate whose operand is an output": """g (float[2,3] x) => (y, t)
        { t = Transpose <perm=[1,0]> (x) s = Sigmoid(t) y = Mul(s, t) }""",
    "gate that is read elsewhere": """g (float[2,3] x) => (y, z)
        { t = Transpose <perm=[1,0]> (x) s = Sigmoid(t) y = Mul(s, t) z = ReduceMax(s) }""",
    "slice from a start that is computed": """g (float[2,2,3] x, int64[1] b) => (float[2,4,e] y)
        <int64[1] e = {1}, int64[1] a = {2}, int64[1] step = {1}>
        { n = Neg(x) c = Concat <axis=1> (n, x) y = Slice(c, b, e, a, step) }""",
    "slice across parts of a concatenation": """g (float[2,3] x, float[2,2] z) => (y)
        <int64[1] b = {2}, int64[1] e = {5}, int64[1] a = {1}> { c = Concat <axis=1> (x, z) y = Slice(c, b, e, a) }""",
    "slice along another axis than the concatenation": """g (float[2,3] x, float[2,3] z) => (y)
        <int64[1] b = {0}, int64[1] e = {1}, int64[1] a = {0}> { c = Concat <axis=1> (x, z) y = Slice(c, b, e, a) }""",
    "reduction over all axes, with one more": """g (float[2,3] x) => (y) <int64[3] a = {0, 1, 2}>
        { t = Transpose <perm=[1,0]> (x) s = ReduceMax <keepdims=0> (x) u = Unsqueeze(s, a) y = Sub(t, u) }""",
    "layouts in between that are read elsewhere": """g (float[2,3,4] x) => (y, z) <int64[2] flat = {12, 2}>
        { a = Transpose <perm=[1,2,0]> (x) b = Reshape(a, flat) c = Transpose <perm=[1,0]> (b) y = ReduceMax(c)
          z = ReduceMin(b) }""",
    "split along a symbolic axis": """g (float[N,3] x) => (float[2,3] y, float[2,3] z) <int64[2] sizes = {2, 2}>
        { y, z = Split <axis=0> (x, sizes) }""",
    "slice before a reshape that drops an axis": """g (float[1,6] x) => (y)
        <int64[1] to = {6}, int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {0}>
        { r = Reshape(x, to) s = Slice(r, b, e, a) y = Neg(s) }""",
    "packed projection with a bias that is broadcast": """g (float[2,2] x) => (y) <float[2,4] w = {1,2,3,4,5,6,7,8},
        float[1] c = {1}, int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) }""",
    "bias of a convolution that is computed": """g (float[1,2,5] x, float[2,1] b) => (y) <float[2,2,1] w = {1,2,3,4}>
        { c = Conv(x, w) y = Add(c, b) }""",
    "bias that makes the result of a convolution larger": """g (float[1,2,5] x) => (y)
        <float[2,2,5] w = {1,2,3,4,5,6,7,8,9,1,1,2,3,4,5,6,7,8,9,1}, float[3,2,1] b = {1,2,3,4,5,6}>
        { c = Conv(x, w) y = Add(c, b) }""",
    "packed projection with a bias that is computed": """g (float[2,2] x, float[4] c) => (y)
        <float[2,4] w = {1,2,3,4,5,6,7,8}, int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) }""",
    "slices with a gap": """g (float[4,300] x) => (y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, two, four, a) y = Concat <axis=0> (p, q) }""",
    "slices of two values": """g (float[4,3] x, float[4,3] z) => (y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(z, one, three, a) y = Concat <axis=0> (p, q) }""",
    "slices joined along another axis": """g (float[4,300] x) => (y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, two, a) y = Concat <axis=1> (p, q) }""",
    "slice with steps": """g (float[4,3] x) => (y)
        <int64[1] zero = {0}, int64[1] three = {3}, int64[1] a = {1}, int64[1] two = {2}>
        { t = Transpose <perm=[1,0]> (x) s = Slice(t, zero, three, a, two) y = Neg(s) }""",
    "slice along two axes": """g (float[4,3] x) => (y) <int64[2] b = {0, 1}, int64[2] e = {2, 3}, int64[2] a = {0, 1}>
        { t = Transpose <perm=[1,0]> (x) s = Slice(t, b, e, a) y = Neg(s) }""",
    "slice along a symbolic axis": """g (float[4,N] x) => (y) <int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {0}>
        { t = Transpose <perm=[1,0]> (x) s = Slice(t, b, e, a) y = Neg(s) }""",
    "slice without axes": """g (float[4,3] x) => (y) <int64[2] b = {0, 0}, int64[2] e = {2, 2}>
        { t = Transpose <perm=[1,0]> (x) s = Slice(t, b, e) y = Neg(s) }""",
    "slices of a transpose that overlap": """g (float[4,3] x) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] four = {4}, int64[1] a = {1}>
        { t = Transpose <perm=[1,0]> (x) p = Slice(t, zero, three, a) q = Slice(t, one, four, a)
        y = Neg(p) z = Neg(q) }""",
    "slices of a transpose along two axes": """g (float[4,3] x) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
        { t = Transpose <perm=[1,0]> (x) p = Slice(t, zero, one, zero) q = Slice(t, one, two, one)
        y = Neg(p) z = Neg(q) }""",
    "slice before a reshape that merges axes": """g (float[2,3,4] x) => (y)
        <int64[2] to = {6, 4}, int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {0}>
        { r = Reshape(x, to) s = Slice(r, b, e, a) y = Neg(s) }""",
    "slice before a reshape that splits another axis": """g (float[4,6] x) => (y)
        <int64[3] to = {2, 4, 3}, int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {1}>
        { r = Reshape(x, to) s = Slice(r, b, e, a) y = Neg(s) }""",
    "slice before a reshape, behind the axes": """g (float[12] x) => (y)
        <int64[2] to = {4, 3}, int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {1}>
        { r = Reshape(x, to) s = Slice(r, b, e, a) y = Neg(s) }""",
    "packed projection cut along rows": """g (float[4,2] x) => (y)
        <float[2,2] w = {1,2,3,4}, int64[1] b = {0}, int64[1] e = {2},
        int64[1] a = {0}> { m = MatMul(x, w) s = Slice(m, b, e, a) y = Neg(s) }""",
    "product with a vector": """g (float[4,2] x) => (y)
        <float[2] w = {1,2}, int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {0}>
        { m = MatMul(x, w) s = Slice(m, b, e, a) y = Neg(s) }""",
    "packed projection with one bias": """g (float[2,2] x) => (y) <float[2,4] w = {1,2,3,4,5,6,7,8}, float c = {1},
        int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) }""",
    "packed projection that is read elsewhere": """g (float[2,2] x) => (y, z) <float[2,4] w = {1,2,3,4,5,6,7,8},
        float[4] c = {1,2,3,4}, int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {1}>
        { m = MatMul(x, w) n = Add(m, c) s = Slice(n, b, e, a) y = Neg(s) z = Exp(m) }""",
    "slices in two branches": """g (float[4,3] x, bool p) => (y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] a = {0}>
        { t = Sin(x) y = If(p) <
        then_branch = b () => (float[3] u) { k = Slice(t, zero, one, a) u = ReduceMax <keepdims=0> (k, zero) },
        else_branch = c () => (float[3] v) { l = Slice(t, one, four, a) v = ReduceMax <keepdims=0> (l, zero) }> }""",
    "two slices of few elements that overlap": """g (float[4,3] x) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] a = {0}>
        { p = Slice(x, zero, two, a) q = Slice(x, one, three, a) y = Neg(p) z = Exp(q) }""",
    "slices that leave a part out": """g (float[4,300] x) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, one, three, a) y = Neg(p) z = Exp(q) }""",
    "slices with a gap between them": """g (float[4,300] x) => (y, z)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[1] a = {0}>
        { p = Slice(x, zero, one, a) q = Slice(x, two, four, a) y = Neg(p) z = Exp(q) }""",
}

# name: (body of a scan of items [2, 3] that carries [2, 3], operators of the whole graph afterwards)
SCANS = {
    "product": ("m = MatMul(i, w) n = Add(c, m) o = Neg(n)", ["MatMul", "Scan"]),
    "product of the carry": ("m = MatMul(c, w) n = Add(m, i) o = Neg(n)", ["Scan"]),
    "product of an item and the carry": (
        "t = Transpose <perm=[1,0]> (c) m = MatMul(i, t) p = MatMul(m, c) n = Sin(p) o = Neg(n)",
        ["Scan"],
    ),
    "product with an item": (
        "t = Transpose <perm=[1,0]> (i) m = MatMul(w, t) u = Transpose <perm=[1,0]> (m) n = Add(c, u) o = Neg(n)",
        ["Transpose", "Scan"],
    ),
    "product of an item with itself": (
        "t = Transpose <perm=[1,0]> (i) m = MatMul(i, t) p = MatMul(m, i) n = Add(c, p) o = Neg(n)",
        ["Scan"],
    ),
    "product with several matrices": (
        "m = MatMul(i, several) s = ReduceMax <keepdims=0> (m, axis) n = Add(c, s) o = Neg(n)",
        ["Scan"],
    ),
    "large product of outer values": (
        "m = MatMul(column, row) s = ReduceMax <keepdims=0> (m) t = Mul(s, i) n = Add(c, t) o = Neg(n)",
        ["Scan"],
    ),
    "operator of another domain": ("m = other.Neg(i) n = Add(c, m) o = Neg(n)", ["Scan"]),
    "sum of an item and the carry": ("m = Add(i, c) n = Neg(m) o = Exp(n)", ["Scan"]),
    "map of items": ("m = Exp(i) n = Add(c, m) o = Neg(n)", ["Exp", "Scan"]),
}


def scan(body, dtype="float"):
    """A graph with a scan whose body computes the carry `n` and the results `o` of `c` and `i`."""
    item = f"{dtype}[2,3]"
    return f"""g ({dtype}[2,3] first, {dtype}[5,2,3] items, {dtype}[300,1] column, {dtype}[1,300] row)
    => ({dtype}[2,3] last, {dtype}[5,2,3] results)
    <{dtype}[3,3] w = {{1,2,3,4,5,6,7,8,9}}, int64[1] axis = {{0}},
     {dtype}[2,3,3] several = {{1,2,3,4,5,6,7,8,9,9,8,7,6,5,4,3,2,1}}>
    {{ last, results = Scan <num_scan_inputs = 1, body = step ({item} c, {item} i) => ({item} n, {item} o) {{ {body} }}>
       (first, items) }}"""


@pytest.mark.parametrize("name", SCANS)
def test_scans(name):
    body, expected = SCANS[name]
    assert rewritten(scan(body)) == expected


@pytest.mark.parametrize(
    "body", [SCANS["map of items"][0], "m = MatMul(w, w) p = MatMul(i, m) n = Add(c, p) o = Neg(n)"]
)
def test_scans_of_half_precision_stay(body):
    assert rewritten(scan(body, "float16")) == ["Scan"]


@pytest.mark.parametrize("name", CHANGED)
def test_changed(name):
    text, expected = CHANGED[name]
    assert rewritten(text) == expected


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    text = KEPT[name]
    assert rewritten(text) == [node.op_type for node in onnx.parser.parse_model(HEADER + text).graph.node]
