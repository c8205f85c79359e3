"""Operators written with others: as exact as a good library for float64, and right at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from j2o_core import LegalizeError

OPSETS = (18, 21, 23, 26)


def _near_and_far(limit: float = 300.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-limit, 0, 50)
    large = 10.0 ** rng.uniform(0, limit, 50)
    return np.concatenate([small, -small, large, -large, rng.uniform(-20, 20, 200), [0.0]])


_EDGES = np.array([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 700.0, -700.0])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("op_type", "function", "limit"),
    [
        ("Sinh", np.sinh, 2),
        ("Cosh", np.cosh, 2),
        ("Asinh", np.arcsinh, 300),
        ("Acosh", np.arccosh, 300),
        ("Atan", np.arctan, 300),
        ("Atanh", np.arctanh, 300),
        ("Asin", np.arcsin, 300),
        ("Acos", np.arccos, 300),
        ("Erf", np.vectorize(math.erf, otypes=[float]), 300),
    ],
)
def test_functions_of_float64(kit, op_type, function, limit, opset):
    with np.errstate(all="ignore"):
        for x in (_near_and_far(limit), _EDGES, np.zeros((2, 0))):
            kit.check_node(op_type, [x], function(x).reshape(x.shape).astype(np.float64), opset=opset, ulps=8)


def test_tangent_is_as_exact_as_sine_and_cosine(kit):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, 200)
    kit.check_node("Tan", [x], np.tan(x), ulps=8)


def _expm1_below(x, alpha=1.0):
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _float32(number: float) -> float:
    """A float attribute is a float32 number."""
    return float(np.float32(number))


ACTIVATIONS = {
    "Celu": (lambda x: _expm1_below(x / 2.0, 2.0) + np.where(x < 0, 0, x / 2.0), {"alpha": 2.0}),
    "Elu": (lambda x: _expm1_below(x, _float32(0.3)), {"alpha": 0.3}),
    "HardSigmoid": (lambda x: np.clip(_float32(0.2) * x + 0.5, 0, 1), {}),
    "HardSwish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, {}),
    "LeakyRelu": (lambda x: np.where(x < 0, _float32(0.01) * x, x), {}),
    "Mish": (lambda x: x * np.tanh(_softplus(x)), {}),
    "Selu": (lambda x: _float32(1.0507009873554805) * _expm1_below(x, _float32(1.6732632423543772)), {}),
    "Softplus": (_softplus, {}),
    "Softsign": (lambda x: x / (1 + np.abs(x)), {}),
    "ThresholdedRelu": (lambda x: np.where(x > 0.5, x, 0), {"alpha": 0.5}),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op_type", ACTIVATIONS)
def test_activations_of_float64(kit, op_type, opset):
    function, attributes = ACTIVATIONS[op_type]
    x = np.concatenate([np.linspace(-30, 30, 241), [1e-9, -1e-9, np.nan]])
    expected = function(x)
    if op_type == "ThresholdedRelu":
        x, expected = x[:-1], expected[:-1]  # the runtime's own keeps NaN at opset 18, ONNX makes it 0
    kit.check_node(op_type, [x], expected, opset=opset, ulps=16, **attributes)


@pytest.mark.parametrize("opset", [20, 23, 26])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_float64(kit, approximate, opset):
    x = np.linspace(-2, 9, 200)
    if approximate == "none":
        expected = x * 0.5 * (1 + np.vectorize(math.erf)(x * math.sqrt(0.5)))
    else:
        expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    kit.check_node("Gelu", [x], expected, opset=opset, ulps=64, approximate=approximate)


@pytest.mark.parametrize("opset", [24, 26])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_swish_has_no_kernel(kit, dtype, opset):
    x = np.linspace(-4, 4, 33).astype(kit.dtype_named(dtype))
    wide = x.astype(np.float64 if dtype == "float64" else np.float32)
    expected = (wide / (1 + np.exp(-1.5 * wide))).astype(x.dtype)
    # The runtime's Sigmoid is as exact as its largest value, 1.
    ulps = {"bfloat16": 0, "float32": 128, "float64": 512}[dtype]
    model = kit.check_node("Swish", [x], expected, opset=opset, ulps=ulps, alpha=1.5)
    if opset > 24:
        assert [n.op_type for n in model.graph if n.op_type != "Cast"] == ["Mul", "Sigmoid", "Mul"]


def test_relu_of_int64_and_of_unsigned(kit):
    for dtype in (np.int64, np.uint64):
        x = kit.sample(np.dtype(dtype), (9,))
        kit.check_node("Relu", [x], np.maximum(x, 0))


def _convolve(x, w, bias, strides, dilations, pads, group):
    """Straight from the definition."""
    spatial = w.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:spatial], pads[spatial:], strict=True)])
    sizes = [(x.shape[i + 2] - (w.shape[i + 2] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(spatial)]
    result = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    per_group = w.shape[0] // group
    for out in range(w.shape[0]):
        first = out // per_group * w.shape[1]
        for place in np.ndindex(*sizes):
            window = tuple(
                slice(
                    place[i] * strides[i], place[i] * strides[i] + (w.shape[i + 2] - 1) * dilations[i] + 1, dilations[i]
                )
                for i in range(spatial)
            )
            seen = x[(slice(None), slice(first, first + w.shape[1]), *window)]
            result[(slice(None), out, *place)] = (seen * w[out]).sum(tuple(range(1, seen.ndim)), dtype=x.dtype)
    return result + bias.reshape(-1, *[1] * spatial)


CONVOLUTIONS = {
    "1d": ((2, 3, 9), (4, 3, 3), [1], [1], [0, 0], 1),
    "strides": ((1, 2, 9, 8), (3, 2, 3, 2), [2, 3], [1, 1], [0, 0, 0, 0], 1),
    "dilations": ((1, 2, 9, 8), (3, 2, 3, 2), [1, 2], [2, 3], [1, 0, 2, 3], 1),
    "groups": ((2, 4, 5, 5), (6, 2, 3, 3), [1, 1], [1, 1], [1, 1, 1, 1], 2),
    "depthwise": ((1, 3, 5, 5), (3, 1, 3, 3), [2, 2], [1, 1], [1, 1, 1, 1], 3),
    "pointwise": ((2, 3, 4, 4), (5, 3, 1, 1), [1, 1], [1, 1], [0, 0, 0, 0], 1),
    "3d": ((1, 2, 4, 4, 4), (3, 2, 2, 2, 2), [1, 2, 1], [1, 1, 1], [0, 0, 0, 1, 1, 1], 1),
    "empty batch": ((0, 2, 4), (3, 2, 2), [1], [1], [0, 0], 1),
}


@pytest.mark.parametrize("dtype", ["float64", "int8", "int32", "uint64"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(kit, case, dtype):
    shape, kernel, strides, dilations, pads, group = CONVOLUTIONS[case]
    rng = np.random.default_rng(0)
    d = np.dtype(dtype)
    if d.kind == "f":
        x, w, bias = (rng.integers(-9, 9, s).astype(d) for s in (shape, kernel, kernel[:1]))
    else:
        x, w, bias = (kit.sample(d, s, seed) for seed, s in enumerate((shape, kernel, kernel[:1])))
    with np.errstate(all="ignore"):
        expected = _convolve(x, w, bias, strides, dilations, pads, group)
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    kit.check_node("Conv", [x, kit.Static(w), bias], expected, **attributes)
    # Nothing has to be known of the input.
    symbolic = ["N", shape[1], *(f"D{i}" for i in range(len(shape) - 2))]
    kit.check_node("Conv", [x, kit.Static(w), bias], expected, dims=symbolic, **attributes)


def test_convolution_loses_nothing(kit):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 8, 10, 10)), rng.standard_normal((4, 8, 3, 3))
    expected = _convolve(x, w, np.zeros(4), [1, 1], [1, 1], [0] * 4, 1)
    model = kit.node_model("Conv", [x, w], [expected], {}, 21)
    kit.legalize(model)
    np.testing.assert_allclose(kit.run(model, [x, w])[0], expected, atol=1e-13)


@pytest.mark.parametrize("setting", [{"auto_pad": "SAME_UPPER"}, {}])
def test_convolution_that_cannot_be_written(kit, setting):
    x = np.zeros((1, 2, 4, 4))
    model = kit.node_model("Conv", [x, np.zeros((3, 2, 2, 2))], [x], setting, 21)
    if not setting:
        model.graph.inputs[1].shape = kit.ir.Shape(["O", "I", 2, 2])
    with pytest.raises(LegalizeError, match="auto_pad" if setting else "shape of the weights"):
        kit.legalize(model)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 2]])
def test_average_pool_of_float64(kit, pads, include):
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 6, 7)).astype(np.float64)
    kernel, strides = [3, 3], [2, 1]

    def pooled(values):
        kernels = np.ones((1, 1, *kernel))
        flat = values.reshape(-1, 1, *values.shape[2:])
        return _convolve(flat, kernels, np.zeros(1), strides, [1, 1], pads, 1)

    counts = 9.0 if include else pooled(np.ones_like(x))
    expected = (pooled(x) / counts).reshape(2, 3, -1, pooled(x).shape[-1])
    for dims in (None, ["N", 3, "H", "W"]):
        kit.check_node(
            "AveragePool",
            [x],
            expected,
            dims=dims,
            ulps=2,
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
            count_include_pad=include,
        )


def test_global_pools_of_float64(kit):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    kit.check_node("GlobalAveragePool", [x], x.mean((2, 3), keepdims=True), ulps=8)
    kit.check_node("GlobalMaxPool", [x], x.max((2, 3), keepdims=True))


def test_instance_normalization_of_float64(kit):
    rng = np.random.default_rng(0)
    x, scale, bias = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal(3), rng.standard_normal(3)
    centred = x - x.mean((2, 3), keepdims=True)
    expected = centred / np.sqrt(x.var((2, 3), keepdims=True) + _float32(1e-5))
    expected = expected * scale.reshape(3, 1, 1) + bias.reshape(3, 1, 1)
    model = kit.node_model("InstanceNormalization", [x, scale, bias], [expected], {}, 21)
    kit.legalize(model)
    np.testing.assert_allclose(kit.run(model, [x, scale, bias])[0], expected, atol=1e-14)


@pytest.mark.parametrize("dtype", ["int32", "uint64"])
@pytest.mark.parametrize("attributes", [{}, {"transA": 1, "transB": 1}, {"alpha": 2.0, "beta": 3.0}])
def test_gemm_of_integers(kit, attributes, dtype):
    d = np.dtype(dtype)
    a, b, bias = kit.sample(d, (3, 4)), kit.sample(d, (4, 5), 1), kit.sample(d, (5,), 2)
    with np.errstate(all="ignore"):
        product = (a[:, :, None] * b).sum(1, dtype=d)
        expected = d.type(attributes.get("alpha", 1)) * product + d.type(attributes.get("beta", 1)) * bias
    if attributes.get("transA"):
        a, b = a.T.copy(), b.T.copy()
    kit.check_node("Gemm", [a, b, bias], expected, **attributes)


def test_gemm_of_integers_with_half_of_the_product(kit):
    a = np.ones((2, 2), np.int32)
    model = kit.node_model("Gemm", [a, a], [a], {"alpha": 0.5}, 21)
    with pytest.raises(LegalizeError, match="alpha and beta"):
        kit.legalize(model)


@pytest.mark.parametrize("op_type", ["Det", "Hardmax", "LRN"])
def test_what_float64_has_no_form_for_is_refused(kit, op_type):
    x = np.ones((1, 2, 2, 2))
    model = kit.node_model(op_type, [x], [x], {"size": 1} if op_type == "LRN" else {}, 21)
    with pytest.raises(LegalizeError, match=rf"(?s){op_type}\(float64\).*runs float32"):
        kit.legalize(model)


FLAGS = np.array([[True, False, True], [False, False, True]])
TRUE, FALSE = np.array(True), np.array(False)
# The operands, the place of a constant, and the operators.
CHOICES = {
    "of two values": ([FLAGS, FLAGS[:, ::-1], FLAGS[::-1]], None, ["Xor", "And", "Xor"]),
    "and": ([FLAGS, FLAGS[::-1], FALSE], 2, ["And"]),
    "or": ([FLAGS, TRUE, FLAGS[::-1]], 1, ["Or"]),
    "and not": ([FLAGS, FALSE, FLAGS[::-1]], 1, ["Not", "And"]),
    "or not": ([FLAGS, FLAGS[::-1], TRUE], 2, ["Not", "Or"]),
    "of a constant with both": ([FLAGS, FLAGS[::-1], FLAGS[0]], 2, ["Xor", "And", "Xor"]),
    "of a constant with the shape": ([FLAGS[:, :1], np.ones((2, 3), bool), FLAGS[0, :1]], 1, ["Xor", "And", "Xor"]),
    "of a row that a column makes larger": ([FLAGS[0], np.ones(3, bool), FLAGS[:, :1]], 1, ["Xor", "And", "Xor"]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_of_booleans_are_logic(kit, name):
    arrays, constant, expected = CHOICES[name]
    operands = [kit.Static(array) if place == constant else array for place, array in enumerate(arrays)]
    model = kit.check_node("Where", operands, np.where(*arrays))
    assert [node.op_type for node in model.graph] == expected
