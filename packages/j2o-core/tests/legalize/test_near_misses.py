"""Graphs beside those that workarounds change, as ONNX text: they stay as they are, operand by operand."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from j2o_core import LegalizeError
from j2o_core.legalize._detours import find_detour
from j2o_core.target import Target
from j2o_core.testing._legalized import legalize_model

IR_VERSIONS = {20: 10, 21: 10, 23: 11, 24: 13}


def legalized(text, opset=21):
    """The nodes of a graph before and after it is legalized, with their operands."""
    header = f'<ir_version: {IR_VERSIONS[opset]}, opset_import: ["" : {opset}]>'
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(header + text)))
    before = nodes(model)
    legalize_model(model, Target("onnxruntime", opset, exact_nonfinite=True))
    return before, nodes(model)


def nodes(model):
    """Nodes with their operands: inputs and constants by their names, the others by who computes them."""
    return [(node.op_type, *map(_named, node.inputs), node) for node in model.graph]


def _named(value):
    producer = value.producer() if value is not None else None
    return value and (value.name if producer is None else producer.op_type)


LEFT = {
    "cast between kinds of float8": "g (float8e5m2[3] x) => (y) { y = Cast <to=17, saturate=0> (x) }",
    "cast of float64 to float32": "g (double[3] x) => (y) { y = Cast <to=1> (x) }",
    "cast with saturation": "g (float[3] x) => (y) { y = Cast <to=17> (x) }",
    "casts that begin with an integer": "g (int64[3] x) => (y) { a = Cast <to=6> (x) y = Cast <to=3> (a) }",
    "casts that widen": "g (float[3] x) => (y) { a = Cast <to=6> (x) y = Cast <to=7> (a) }",
    "negative axes of something": "g (uint8[3,2] x) => (y) <int64[1] a = {-1}> { y = ReduceMax (x, a) }",
    "front axes of nothing": "g (float[0,2] x) => (y) <int64[1] a = {1}> { y = ReduceSum (x, a) }",
    "maximum of nothing": "g (int64[0,2] x) => (y) <int64[1] a = {1}> { y = ReduceMax (x, a) }",
    "maximum of no floats": "g (float[0,2] x) => (y) <int64[1] a = {1}> { y = ReduceMax (x, a) }",
    "integer reciprocal that is no factor": """g (int32[3] x) => (y) <int32 one = {1}>
        { q = Div (one, x) y = Add (q, one) }""",
    "convolution with weights that are not known": """g (float[1,1,5] x, float[1,1,1] w) => (y) <float c = {1e30}>
        { m = Conv (x, w) y = Mul (m, c) }""",
    "clip of int8 as int64": """g (int8[3] s) => (y) <int64 low = {-3}, int64 high = {9}>
        { x = Cast <to=7> (s) y = Clip (x, low, high) }""",
    "larger of int8 as int64": "g (int8[3] s) => (y) <int64 c = {-3}> { x = Cast <to=7> (s) y = Max (x, c) }",
    "sign of int8 as int64": "g (int8[3] s) => (y) { x = Cast <to=7> (s) y = Sign (x) }",
    "maximum of int8 as int64": """g (int8[3,2] s) => (y) <int64[1] a = {1}>
        { x = Cast <to=7> (s) y = ReduceMax (x, a) }""",
    "maximum of int32": "g (int32[3,2] x) => (y) <int64[1] a = {1}> { y = ReduceMax (x, a) }",
    "maximum of floats that were integers": """g (int8[3,2] s) => (y) <int64[1] a = {1}>
        { x = Cast <to=1> (s) y = ReduceMax (x, a) }""",
    "pool of int8": "g (int8[1,1,5] x) => (y) { y = MaxPool <kernel_shape=[2]> (x) }",
    "pool of floats that were integers": """g (int8[1,1,5] s) => (y)
        { x = Cast <to=1> (s) y = MaxPool <kernel_shape=[2]> (x) }""",
    "pool of nothing with places": "g (float[0,1,5] x) => (y, i) { y, i = MaxPool <kernel_shape=[2]> (x) }",
    "choice of many integers": "g (bool[20000] c, int32[20000] x) => (y) <int32 z = {0}> { y = Where (c, x, z) }",
    "pool with places": "g (float[1,1,5] x) => (y, i) { y, i = MaxPool <kernel_shape=[2]> (x) }",
    "number over a product": """g (double[3,3] x, double[3,3] w) => (y) <double c = {3}>
        { m = MatMul (x, w) y = Div (c, m) }""",
    "product times what float32 holds": """g (double[3,3] x, double[3,3] w) => (y) <double c = {0.5}>
        { m = MatMul (x, w) y = Mul (m, c) }""",
    "product over what float32 holds": """g (double[3,3] x, double[3,3] w) => (y) <double c = {4}>
        { m = MatMul (x, w) y = Div (m, c) }""",
    "float32 product times a number": """g (float[3,3] x, float[3,3] w) => (y) <float c = {0.3}>
        { m = MatMul (x, w) y = Mul (m, c) }""",
    "number times what is no product": "g (double[3] x) => (y) <double c = {0.3}> { m = Neg (x) y = Mul (m, c) }",
    "product times several numbers": """g (double[3,2] x, double[2,2] w) => (y) <double[2] c = {0.3, 0.1}>
        { m = MatMul (x, w) y = Mul (m, c) }""",
    "convolution times ordinary numbers": """g (float[1,1,5] x) => (y) <float[1,1,1] w = {2}, float c = {3}>
        { m = Conv (x, w) y = Mul (m, c) }""",
    "convolution times no numbers": """g (float[1,1,1] x) => (y) <float[1,1,1] w = {1e20}, float[0] c = {}>
        { m = Conv (x, w) y = Mul (m, c) }""",
    "sum of floats": "g (float[3,2] x) => (y) <int64[1] a = {1}> { y = ReduceSum (x, a) }",
    "sum of booleans": "g (bool[3,2] b) => (y) <int64[1] a = {1}> { x = Cast <to=6> (b) y = ReduceSum (x, a) }",
    "sum of int8": "g (int8[3,2] b) => (y) <int64[1] a = {1}> { x = Cast <to=6> (b) y = ReduceSum (x, a) }",
    "product of floats": "g (float[3,2] x) => (y) <int64[1] a = {1}> { y = ReduceProd (x, a) }",
    "product of int32 of nothing": "g (int32[3,0] x) => (y) <int64[1] a = {1}> { y = ReduceProd (x, a) }",
    "sum of int8 as int64": "g (int8[3,2] b) => (y) <int64[1] a = {1}> { x = Cast <to=7> (b) y = ReduceSum (x, a) }",
    "casts to integers and to float16": "g (float[3] x) => (y) { a = Cast <to=6> (x) y = Cast <to=10> (a) }",
    "input of float16 that is widened": "g (float16[3] x) => (y) { y = Cast <to=1> (x) }",
    "float16 that is moved and widened": """g (float16[2,3] x) => (y)
        { t = Transpose <perm=[1,0]> (x) y = Cast <to=1> (t) }""",
    "inputs of float16 that are compared": "g (float16[3] x, float16[3] z) => (y) { y = Equal (x, z) }",
    "input of float16 that is ordered": "g (float16[3] x) => (y) { y = ArgMax <axis=0> (x) }",
    "float16 that is compared with itself": "g (float16[3] x) => (y) { e = Sin (x) y = Equal (e, e) }",
    "product of a transposed vector": """g (float[2,3] x, float[2] v) => (y) <int64[1] a = {0}>
        { t = Transpose <perm=[1,0]> (x) m = ReduceSum <keepdims=0> (t, a) y = MatMul (m, v) }""",
    "text": "g (string[3] x) => (y) { y = StringNormalizer (x) }",
    "labels that floats lack": 'g (float[3,2] x) => (y) { y = Einsum <equation="ij->i"> (x) }',
    "labels that both have": """g (int32[3,2] x, int32[2,3] z) => (y) { y = Einsum <equation="ij,jk->ik"> (x, z) }""",
    "transposed integers times a vector": """g (int32[3,2] x, int32[3] v) => (y)
        { t = Transpose (x) y = MatMul (t, v) }""",
    "matrix times a vector": """g (float[2,3] x, float[3] v) => (y) { t = Neg (x) y = MatMul (t, v) }""",
    "transposed matrix times a matrix": """g (float[3,2] x, float[3,4] v) => (y)
        { t = Transpose (x) y = MatMul (t, v) }""",
    "transpose before another product": """g (float[3,2] x, float[3,3] w, float[2] v) => (y)
        { t = Transpose (w) m = MatMul (t, x) y = MatMul (m, v) }""",
    "chosen numbers that are not -0": """g (bool[3] c, float[3] x, float[3] z) => (y)
        { k = Exp (z) y = Where (c, k, x) }""",
    "chosen because they are above 0": """g (float[3] x, float[3] z) => (y) <float zero = {0}>
        { k = Exp (z) c = Greater (x, zero) y = Where (c, x, k) }""",
    "chosen because they are below 0": """g (float[3] x, float[3] z) => (y) <float zero = {0}>
        { k = Exp (z) c = Greater (zero, x) y = Where (c, x, k) }""",
    "cast of float16 to itself": "g (float16[3] x) => (y) { s = Sin (x) y = Cast <to=10> (s) }",
    "cast to float16 that is only moved": """g (float[3] x) => (y) <int64[1] a = {0}>
        { s = Sin (x) c = Cast <to=10> (s) y = Unsqueeze (c, a) }""",
    "remainder with the divisor's sign": "g (int64[3] x, int64[3] z) => (y) { y = Mod (x, z) }",
    "scatter of floats that adds": """g (float[3] x, int64[2] i, float[2] u) => (y)
        { y = ScatterElements <reduction="add"> (x, i, u) }""",
    "scatter of integers": """g (int32[3] x, int64[2] i, int32[2] u) => (y)
        { y = ScatterElements <reduction="max"> (x, i, u) }""",
}


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(name):
    before, after = legalized(LEFT[name])
    assert after == before


def test_sums_of_sums_are_looked_through_once():
    """Else 40 of them, each of the one before and itself, are as many ways as 2**40."""
    sums = " ".join(f"s{i + 1} = Add (s{i}, s{i})" for i in range(40))
    before, after = legalized(f"g (float[2,3] s0, float[3] v) => (y) {{ {sums} y = MatMul (s40, v) }}")
    assert after == before


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("g (bool[3,2] x) => (y) <int64[1] a = {1}> { y = ReduceMax (x, a) }", 20),
        ("g (float[3] x) => (y) { y = Cast <to=24> (x) }", 24),
        ('g (float[3] x) => (y) { y = Cast <to=11, round_mode="nearest"> (x) }', 24),
    ],
    ids=["maximum of booleans", "cast to powers of two, up", "cast to float64"],
)
def test_left_alone_at_another_opset(text, opset):
    before, after = legalized(text, opset)
    assert after == before


# Their neighbours are above, or would be wrong.
CHANGED = {
    "casts that narrow": (
        "g (float[3] x) => (y) { a = Cast <to=6> (x) y = Cast <to=3> (a) }",
        ["Cast", "Reshape", "Cast"],
    ),
    "sum of int32": (
        "g (int32[3,2] b) => (y) <int64[1] a = {1}> { x = Neg (b) y = ReduceSum (x, a) }",
        ["Neg", "MatMul", "Unsqueeze"],
    ),
    "sum of int8 as uint32, which wraps": (
        "g (int8[3,2] b) => (y) <int64[1] a = {1}> { x = Cast <to=12> (b) y = ReduceSum (x, a) }",
        ["Cast", "MatMul", "Unsqueeze"],
    ),
    "sum of float8, which holds larger numbers than integers of 8 bits": (
        "g (float8e5m2[3,2] b) => (y) <int64[1] a = {1}> { x = Cast <to=6> (b) y = ReduceSum (x, a) }",
        ["Cast", "MatMul", "Unsqueeze"],
    ),
    "cast to float16 that is computed with": (
        "g (float[3] x) => (y) { s = Sin (x) c = Cast <to=10> (s) y = Sin (c) }",
        ["Sin", "Cast", "Reshape", "Sin"],
    ),
    "transposed matrix times a vector": (
        "g (float[3,2] x, float[3] v) => (y) { t = Transpose (x) y = MatMul (t, v) }",
        ["Transpose", "Unsqueeze", "MatMul", "Squeeze"],
    ),
    "chosen by another's sign": (
        """g (float[3] c, float[3] x, float[3] z) => (y) <float zero = {0}>
        { k = Exp (z) g1 = Greater (c, zero) y = Where (g1, x, k) }""",
        ["Exp", "Greater", "Xor", "Where"],
    ),
    "chosen by another's sign, behind the number": (
        """g (float[3] c, float[3] x, float[3] z) => (y) <float zero = {0}>
        { k = Exp (z) g1 = Less (zero, c) y = Where (g1, x, k) }""",
        ["Exp", "Less", "Xor", "Where"],
    ),
    "sum of products of int8": (
        "g (int8[2,3] m, int8[3,2] n) => (y) <int64[1] a = {1}> { x = MatMulInteger (m, n) y = ReduceSum (x, a) }",
        ["MatMulInteger", "MatMul", "Unsqueeze"],
    ),
    "pool over three axes": (
        "g (float[1,1,3,3,3] x) => (y) { y = MaxPool <kernel_shape=[2,2,2]> (x) }",
        [*["MaxPool", "IsNaN", "Cast", "Equal", "Cast", "Sub"], *["MaxPool", "Less", "Where", "Max", "Cast", "Where"]],
    ),
    "chosen because they are at least 0, as -0 is": (
        """g (float[3] x, float[3] z) => (y) <float zero = {0}>
        { k = Exp (z) c = GreaterOrEqual (x, zero) y = Where (c, x, k) }""",
        ["Exp", "GreaterOrEqual", "Xor", "Where"],
    ),
    "chosen by a condition that is not": (
        "g (bool[3] c, float[3] x, float[3] z) => (y) { n = Not (c) k = Exp (z) y = Where (n, k, x) }",
        ["Exp", "Xor", "Where"],
    ),
    "pool of windows over the end": (
        "g (float[1,1,5] x) => (y) { y = MaxPool <kernel_shape=[2], strides=[2], ceil_mode=1> (x) }",
        [*["MaxPool", "IsNaN", "Cast", "Equal", "Cast", "Sub"], *["MaxPool", "Less", "Where", "Max", "Cast", "Where"]],
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed(name):
    text, operators = CHANGED[name]
    _, after = legalized(text)
    assert [node[0] for node in after] == operators


def test_a_sum_along_a_symbolic_axis_may_be_large():
    text = "g (bool[N,2] b) => (y) <int64[1] a = {0}> { x = Cast <to=6> (b) y = ReduceSum <keepdims=0> (x, a) }"
    _, after = legalized(text)
    assert [node[0] for node in after] == ["Cast", "Shape", "ConstantOfShape", "MatMul"]


def test_the_number_beside_a_product_of_float64_lies_along_an_axis():
    text = "g (double[3,3] x, double[3,2] w) => (y) <double c = {3}> { m = MatMul (x, w) y = Div (m, c) }"
    before, after = legalized(text)
    assert [node[0] for node in after] == ["MatMul", "Div"]
    assert after != before


@pytest.mark.parametrize(
    "text",
    [
        'g (int32[2,3] a, int32[3,2] b) => (y) { y = Einsum <equation="ij,jk"> (a, b) }',
        'g (int32[2,3] a) => (y) { y = Einsum <equation="...i->..."> (a) }',
        "g (int32[2,3] a, int32[3,2] b, int32[2] c) => (y) { y = Gemm <beta=0.5> (a, b, c) }",
        "g (int32[2,3] a, int32[3,2] b, int32[2] c) => (y) { y = Gemm <alpha=0.5> (a, b, c) }",
        "g (double[1,1,5] x) => (y) { y = AveragePool <kernel_shape=[2], strides=[2], ceil_mode=1> (x) }",
        """g (int32[1,1,5] x, int32[1,1,2] w) => (y) { y = Conv <auto_pad="SAME_UPPER"> (x, w) }""",
    ],
)
def test_what_has_no_exact_form_is_refused(text):
    with pytest.raises(LegalizeError, match="no exact form"):
        legalized(text)


def test_functions_of_floats_are_not_composed_for_integers():
    with pytest.raises(LegalizeError, match="only its floating-point form"):
        legalized("g (int32[3] x) => (y) { y = Erf (x) }")


@pytest.mark.parametrize("op_type", ["Cast", "CastLike"])
def test_a_cast_takes_no_detour(op_type):
    """Float64 would be rounded twice on its way to a narrow float."""
    target = Target("onnxruntime", 21)

    def runs(name, types, attribute):
        return name == "Cast" or ir.DataType.BFLOAT16 not in types.values()

    types = {"T1": ir.DataType.DOUBLE, "T2": ir.DataType.BFLOAT16}
    known = target.signature("Cast")
    assert find_detour(op_type, types, known, lambda _, default: default, runs, {"T1": 1, "T2": 0}) is None


def test_the_graphs_compute_what_they_did():
    """The changed ones, by ONNX's reference implementation."""
    reference = pytest.importorskip("onnx.reference")
    rng = np.random.default_rng(0)
    for text, _ in CHANGED.values():
        if "ceil_mode" in text or "<to=3>" in text or "float8" in text:
            continue  # the reference has no windows over the end and no float8, and rounds out of range in its own way
        model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>' + text)
        model = onnx.shape_inference.infer_shapes(model)
        feeds = {
            one.name: rng.integers(
                0 if one.type.tensor_type.elem_type == onnx.TensorProto.BOOL else -3,
                2,
                [size.dim_value for size in one.type.tensor_type.shape.dim],
            ).astype(onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type))
            for one in model.graph.input
        }
        changed = ir.from_proto(model)
        legalize_model(changed, Target("onnxruntime", 21, exact_nonfinite=True))
        (want,), (got,) = (reference.ReferenceEvaluator(one).run(None, feeds) for one in (model, ir.to_proto(changed)))
        np.testing.assert_allclose(got, want, rtol=1e-6)
