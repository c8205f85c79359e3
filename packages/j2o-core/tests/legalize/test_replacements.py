"""Kernels that are wrong: that what is written in their place is right, over shapes, types and opsets."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import LegalizeError

OPSETS = (18, 21, 23, 26)
NAN = np.nan


# Sums


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", "int8", "uint16"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2), (-1,), ()])
def test_reduce_sum_wraps(kit, axes, keepdims, dtype, opset):
    x = kit.sample(np.dtype(dtype), (3, 4, 5))
    expected = x.sum(axes or (0, 1, 2), dtype=x.dtype, keepdims=bool(keepdims))
    operands = [x, kit.Static(np.array(axes, np.int64))]
    kit.check_node("ReduceSum", operands, np.asarray(expected), opset=opset, keepdims=keepdims)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_reduce_sum_of_symbolic_sizes(kit, axes):
    x = kit.sample(np.dtype(np.int64), (3, 2000))
    operands = [x, kit.Static(np.array(axes))]
    for dims in (["B", "N"], ["B", 2000], [3, "N"]):
        kit.check_node("ReduceSum", operands, np.asarray(x.sum(axes)), dims=dims, keepdims=0)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 1), (2000, 1)])
def test_reduce_sum_of_little(kit, shape):
    for axes in ((0,), (1,), (0, 1)):
        x = kit.sample(np.dtype(np.int64), shape)
        kit.check_node("ReduceSum", [x, kit.Static(np.array(axes))], np.asarray(x.sum(axes)), keepdims=0)


def test_reduce_sum_without_axes(kit):
    x = kit.sample(np.dtype(np.int32), (3, 4))
    kit.check_node("ReduceSum", [x], x.sum(dtype=np.int32, keepdims=True))
    kit.check_node("ReduceSum", [x], x, noop_with_empty_axes=1)


def test_reduce_sum_with_axes_of_run_time(kit):
    x = np.ones((3, 4), np.int32)
    model = kit.node_model("ReduceSum", [x, np.array([0])], [x[0]], {"keepdims": 0}, 21)
    with pytest.raises(LegalizeError, match="axes have to be constant"):
        kit.legalize(model)


def test_counting_needs_no_stand_in(kit):
    """Where no sum can leave the range the graph stays readable."""
    x = np.ones((3, 4), bool)
    mask = kit.value("x0", x)
    cast = kit.ir.node("Cast", [mask], {"to": 6})
    axes = kit.initializer("axes", np.array([1]))
    total = kit.ir.node("ReduceSum", [cast.outputs[0], axes], {"keepdims": 0})
    for out in (cast.outputs[0], total.outputs[0]):
        out.type = kit.ir.TensorType(kit.ir.DataType.INT32)
    cast.outputs[0].shape = kit.ir.Shape((3, 4))
    model = kit.model_of([mask], [cast, total], total.outputs, 21, [axes])
    kit.legalize(model)
    assert [n.op_type for n in model.graph] == ["Cast", "ReduceSum"]
    np.testing.assert_array_equal(kit.run(model, [x])[0], [4, 4, 4])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "int16"])
@pytest.mark.parametrize("equation", ["ij->i", "ij->", "ij,kj->ik", "ij,k->i", "ij,ij->i", "ij,ij->", "ij,jk->k"])
def test_einsum_of_integers_wraps(kit, equation, dtype):
    d = np.dtype(dtype)
    terms = equation.split("->")[0].split(",")
    operands = [kit.sample(d, (4,) * len(term), seed) for seed, term in enumerate(terms)]
    with np.errstate(all="ignore"):
        expected = np.einsum(equation, *(o.astype(np.int64) for o in operands)).astype(d)
    kit.check_node("Einsum", operands, np.asarray(expected), equation=equation)


@pytest.mark.parametrize("equation", ["ii->i", "ij,jk,kl->il"])
def test_einsum_of_integers_that_is_not_known_to_be_exact(kit, equation):
    x = np.ones((2, 2), np.int32)
    count = equation.count(",") + 1
    model = kit.node_model("Einsum", [x] * count, [x], {"equation": equation}, 21)
    with pytest.raises(LegalizeError, match="distinct labels"):
        kit.legalize(model)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64"])
def test_reduce_prod_wraps(kit, dtype, size):
    x = kit.sample(np.dtype(dtype), (size, 3)) | 1
    for axes in ((0,), (0, 1)):
        for keepdims in (0, 1):
            expected = x.prod(axes, dtype=x.dtype, keepdims=bool(keepdims))
            kit.check_node("ReduceProd", [x, kit.Static(np.array(axes))], np.asarray(expected), keepdims=keepdims)


def test_reduce_prod_of_unknown_size(kit):
    x = np.ones((3, 4), np.int32)
    model = kit.node_model("ReduceProd", [x, kit.Static(np.array([0]))], [x[0]], {"keepdims": 0}, 21, dims=["N", 4])
    with pytest.raises(LegalizeError, match="sizes of the axes"):
        kit.legalize(model)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_mod_of_64_bits(kit, dtype):
    d = np.dtype(dtype)
    x, z = kit.sample(d, (200,)), kit.sample(d, (200,), 1)
    z = np.where((z == 0) | (z == d.type(-1 if d.kind == "i" else 1)), d.type(7), z)
    kit.check_node("Mod", [x, z], np.fmod(x, z), fmod=1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint32", "uint64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 0), (0,)),
        ((0,), (0,)),
        ((0,), (0, 3)),
        ((2, 3, 0), (0, 4)),
        ((0, 3), (3,)),
        ((3,), (0, 3, 2)),
        ((0,), (4, 0, 5)),
    ],
)
def test_products_of_nothing(kit, left, right, dtype):
    a, b = np.ones(left, dtype), np.ones(right, dtype)
    for _ in range(5):  # memory as it was found may be zero
        kit.check_node("MatMul", [a, b], np.asarray(a @ b))


# Order


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), ()])
def test_reductions_keep_nan(kit, axes, keepdims, dtype, opset):
    x = np.arange(12.0).reshape(3, 4)
    x[1, 2] = NAN
    x[2, 0] = -np.inf
    x = x.astype(kit.dtype_named(dtype))
    for op_type, function in {"ReduceMax": np.max, "ReduceMin": np.min}.items():
        with np.errstate(all="ignore"):
            expected = function(x.astype(np.float64), axes or (0, 1), keepdims=bool(keepdims)).astype(x.dtype)
        operands = [x, kit.Static(np.array(axes, np.int64))]
        kit.check_node(op_type, operands, np.asarray(expected), opset=opset, keepdims=keepdims)


@pytest.mark.parametrize("shape", [(3, 4), (2, 2048)])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_reductions_keep_nan_and_negative_zero(kit, op_type, shape):
    """Of few numbers NaN comes first, of many behind a negated condition."""
    x = np.full(shape, -0.0, np.float32)
    x[0, 1] = NAN
    expected = np.array([NAN] + [-0.0] * (shape[0] - 1), np.float32)
    model = kit.check_node(op_type, [x, kit.Static(np.array([1]))], expected, keepdims=0)
    assert ("Xor" in [node.op_type for node in model.graph]) == (x.size >= 4096)
    (got,) = kit.run(model, [x])
    assert np.signbit(got[1:]).all()


def test_reductions_of_nothing(kit):
    x = np.zeros((2, 0), np.float32)
    kit.check_node("ReduceMax", [x, kit.Static(np.array([1]))], np.full((2,), -np.inf, np.float32), keepdims=0)
    kit.check_node("ReduceMin", [x, kit.Static(np.array([1]))], np.full((2,), np.inf, np.float32), keepdims=0)
    for opset in OPSETS:
        x = np.zeros((2, 0), bool)
        kit.check_node("ReduceMax", [x, kit.Static(np.array([1]))], np.zeros((2,), bool), opset=opset, keepdims=0)
        kit.check_node("ReduceMin", [x, kit.Static(np.array([1]))], np.ones((2,), bool), opset=opset, keepdims=0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_max_pool_keeps_nan(kit, dtype):
    x = np.arange(16.0).reshape(1, 1, 4, 4) - 8
    x[0, 0, 1, 2] = NAN
    x = x.astype(kit.dtype_named(dtype))
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    with np.errstate(all="ignore"):
        expected = wide.reshape(3, 2, 3, 2).max((1, 3)).reshape(1, 1, 3, 3).astype(x.dtype)
    kit.check_node("MaxPool", [x], expected, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_keeps_minus_infinity(kit, rank, pads, dtype):
    x = np.full((1, 2) + (4,) * rank, -np.inf)
    x[0, 1, 0] = 5
    x[0, 1, 2] = NAN
    x = x.astype(kit.dtype_named(dtype))
    wide = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *[(pads, pads)] * rank], constant_values=-np.inf)
    size = wide.shape[-1] // 2
    with np.errstate(all="ignore"):
        blocks = wide.reshape(1, 2, *(size, 2) * rank)
        expected = blocks.max(tuple(range(3, blocks.ndim, 2))).astype(x.dtype)
    kit.check_node("MaxPool", [x], expected, kernel_shape=[2] * rank, strides=[2] * rank, pads=[pads] * 2 * rank)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("opset", "attributes"),
    [
        (21, {}),
        (18, {"dilations": [1], "storage_order": 0}),
        (18, {"dilations": [2]}),
        (21, {"dilations": [2]}),
        (26, {"ceil_mode": 1}),
        (26, {"auto_pad": "VALID"}),
    ],
)
def test_max_pool_of_any_numbers(kit, rank, dtype, opset, attributes):
    """Windows of three, one after the other, of all kinds of numbers, on the last axis of `rank`."""
    kind = kit.dtype_named(dtype)
    lowest = float(ml_dtypes.finfo(kind).min)
    numbers = [-np.inf, lowest, -lowest, np.inf, NAN, -1.0, 0.0]
    windows = np.array(list(itertools.product(numbers, repeat=3)))
    dilation = attributes.get("dilations", [1])[0]
    x = windows if dilation == 1 else np.stack([windows, windows[::-1]], -1)
    x = x.reshape((1, 1) + (1,) * (rank - 1) + (-1,)).astype(kind)
    with np.errstate(all="ignore"):
        expected = windows.max(-1)
    expected = expected.reshape(*x.shape[:-1], -1).astype(kind)
    attributes = {name: value * rank if isinstance(value, list) else value for name, value in attributes.items()}
    ones = [1] * (rank - 1)
    kit.check_node(
        "MaxPool", [x], expected, opset=opset, kernel_shape=[*ones, 3], strides=[*ones, 3 * dilation], **attributes
    )


def test_max_pool_is_short_over_images(kit):
    x = np.array([[[[-0.0, NAN], [-np.inf, -np.inf]]]], np.float32)
    model = kit.check_node("MaxPool", [x], np.array([[[[NAN], [-np.inf]]]], np.float32), kernel_shape=[1, 2])
    kinds = sorted(node.op_type for node in model.graph)
    assert kinds == ["AveragePool", "Ceil", "Div", "HardSigmoid", "MaxPool"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_global_max_pool(kit, dtype):
    x = np.array([[[1, NAN], [-np.inf, -np.inf], [-np.inf, np.inf]]]).astype(dtype)
    expected = np.array([NAN, -np.inf, np.inf]).reshape(1, 3, 1).astype(dtype)
    kit.check_node("GlobalMaxPool", [x], expected)


def test_max_pool_with_indices_is_left_alone(kit):
    x = np.arange(4.0, dtype=np.float32).reshape(1, 1, 4)
    kit.check_node("MaxPool", [x], [x[..., 1::2], np.array([[[1, 3]]])], kernel_shape=[2], strides=[2])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("axis", [0, 1])
def test_log_softmax_of_what_is_no_number(kit, axis, dtype):
    """A row is NaN as a whole where it holds NaN or infinity; nothing but minus infinity is such a row too."""
    rows = np.array([[0, NAN, 0], [np.inf, 0, 1], [0, np.inf, NAN], [-np.inf] * 3, [-np.inf, 2, -np.inf]])
    expected = np.full(rows.shape, NAN)
    expected[-1] = [-np.inf, 0, -np.inf]
    x, expected = (array.T if axis == 0 else array for array in (rows, expected))
    kind = kit.dtype_named(dtype)
    kit.check_node("LogSoftmax", [x.astype(kind)], expected.astype(kind), axis=axis)


def test_constants_and_casts_have_no_nan(kit):
    """No guard where there is nothing to guard against."""
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    model = kit.check_node("ReduceMax", [kit.Static(x), kit.Static(np.array([1]))], x.max(1), keepdims=0)
    assert len(model.graph) == 1


def int64_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Numbers around every power of two from 2^30 on, with both signs, in all pairs."""
    numbers = [s * 2**p + d for p in (0, 30, 31, 32, 33, 62) for s in (1, -1) for d in (-1, 0, 1, 3)]
    numbers += [2**31 + 2**30, 2**32 + 2**31, -(2**31) - 2**30, 2**63 - 1, -(2**63)]
    a, b = zip(*itertools.product(numbers, repeat=2), strict=True)
    return np.array(a), np.array(b)


@pytest.mark.parametrize("opset", OPSETS)
def test_int64_is_compared_whole(kit, opset):
    a, b = int64_pairs()
    pairs = np.stack([a, b])
    axes = kit.Static(np.array([0]))
    kit.check_node("Max", [a, b], np.maximum(a, b), opset=opset)
    kit.check_node("Min", [a, b, a[:1]], np.minimum(np.minimum(a, b), a[0]), opset=opset)
    kit.check_node("Max", [a], a, opset=opset)
    kit.check_node("Relu", [a], np.maximum(a, 0), opset=opset)
    kit.check_node("Sign", [a], np.sign(a), opset=opset)
    for low, high in ((3, 3 * 10**9), (-(2**40), 2**31)):
        bounds = [np.array(low), np.array(high)]
        kit.check_node("Clip", [a, *bounds], np.clip(a, low, high), opset=opset)
        kit.check_node("Clip", [a, None, bounds[1]], np.minimum(a, high), opset=opset)
        kit.check_node("Clip", [a, bounds[0]], np.maximum(a, low), opset=opset)
    kit.check_node("ReduceMax", [pairs, axes], pairs.max(0), opset=opset, keepdims=0)
    kit.check_node("ReduceMin", [pairs, axes], pairs.min(0, keepdims=True), opset=opset)
    kit.check_node("ReduceMax", [pairs], pairs.max(keepdims=True), opset=opset)
    for dtype in (np.uint32, np.uint64):
        unsigned = pairs.astype(dtype)
        kit.check_node("ReduceMax", [unsigned, axes], unsigned.max(0), opset=opset, keepdims=0)


def test_indices_are_clipped_by_one_node(kit):
    """Numbers of the range of int32 are compared right, so the common case stays as it is."""
    x = np.array([-5, 7, 2**31 - 1, -(2**31)], np.int32)
    feed = kit.value("x0", x)
    cast = kit.ir.node("Cast", [feed], {"to": 7})
    bounds = [kit.initializer("low", np.array(0)), kit.initializer("high", np.array(9))]
    clip = kit.ir.node("Clip", [cast.outputs[0], *bounds])
    for out in (cast.outputs[0], clip.outputs[0]):
        out.type, out.shape = kit.ir.TensorType(kit.ir.DataType.INT64), kit.ir.Shape((4,))
    model = kit.model_of([feed], [cast, clip], clip.outputs, 21, bounds)
    kit.legalize(model)
    assert [n.op_type for n in model.graph] == ["Cast", "Clip"]
    np.testing.assert_array_equal(kit.run(model, [x])[0], [0, 7, 9, 0])


class Graph:
    """Adds nodes of int64."""

    def __init__(self, kit):
        self.kit = kit
        self.x = kit.value("x0", np.zeros((5,), np.float32), ["N"])
        self.index = kit.value("x1", np.zeros((4,), np.int32))
        self.constants = [kit.initializer("zero", np.array(0)), kit.initializer("one", np.array([1]))]
        self.nodes = []

    def add(self, op_type, *inputs, **attributes):
        self.nodes.append(self.kit.ir.node(op_type, inputs, attributes))
        (out,) = self.nodes[-1].outputs
        out.type, out.shape = self.kit.ir.TensorType(self.kit.ir.DataType.INT64), self.kit.ir.Shape((4,))
        return out

    def legalized(self):
        model = self.kit.model_of([self.x, self.index], self.nodes, self.nodes[-1].outputs, 21, self.constants)
        self.kit.legalize(model)
        return model, [node.op_type for node in model.graph]


def test_what_is_computed_from_sizes_is_small(kit):
    """An index that is clipped to a symbolic size needs no stand-in."""
    graph = Graph(kit)
    zero, one = graph.constants
    last = graph.add("Sub", graph.add("Shape", graph.x), one)
    graph.add("Min", graph.add("Max", graph.add("Cast", graph.index, to=7), zero), last)
    model, operators = graph.legalized()
    assert operators == ["Shape", "Sub", "Cast", "Max", "Min"]
    result = kit.run(model, [np.zeros(5, np.float32), np.array([-3, 2, 4, 9], np.int32)])[0]
    np.testing.assert_array_equal(result, [0, 2, 4, 4])


def test_what_is_multiplied_is_not_small(kit):
    graph = Graph(kit)
    power = graph.add("Cast", graph.index, to=7)
    graph.add("Max", graph.add("Mul", power, power), graph.constants[0])
    model, operators = graph.legalized()
    assert operators == ["Cast", "Mul", "Greater", "Where"]
    index = np.array([-3, 2**31 - 1, 50000, 0], np.int32)
    result = kit.run(model, [np.zeros(5, np.float32), index])[0]
    np.testing.assert_array_equal(result, index.astype(np.int64) ** 2)


@pytest.mark.parametrize("op_type", ["ScatterND", "ScatterElements"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("reduction", ["max", "min"])
def test_scatter_keeps_nan(kit, reduction, dtype, op_type):
    d = kit.dtype_named(dtype)
    data, updates = np.array([NAN, 1, 2, 3]).astype(d), np.array([5, NAN, 0]).astype(d)
    function = np.maximum if reduction == "max" else np.minimum
    with np.errstate(all="ignore"):
        expected = data.astype(np.float64)
        expected[:3] = function(expected[:3], updates.astype(np.float64))
    indices = np.arange(3).reshape((3, 1) if op_type == "ScatterND" else (3,))
    kit.check_node(op_type, [data, kit.Static(indices), updates], expected.astype(d), reduction=reduction)


# Casts


def cast_chain(kit, x, *dtypes, opset=21):
    """Runs casts through element types, one after the other."""
    feed = kit.value("x0", x)
    nodes, value = [], feed
    for dtype in dtypes:
        to = kit.ir.DataType.from_numpy(kit.dtype_named(dtype))
        settings = {"to": int(to)} | ({"saturate": 0} if dtype.startswith("float8") else {})
        nodes.append(kit.ir.node("Cast", [value], settings))
        value = nodes[-1].outputs[0]
        value.type, value.shape = kit.ir.TensorType(to), kit.ir.Shape(x.shape)
    model = kit.model_of([feed], nodes, [value], opset)
    kit.legalize(model)
    return kit.run(model, [x])[0]


@pytest.mark.parametrize("source", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "chain",
    [
        ("int64", "int32"),
        ("int64", "int8"),
        ("int64", "uint16"),
        ("int32", "int8"),
        ("uint32", "uint8"),
        ("uint64", "uint32"),
        ("bfloat16", "int8"),
        ("bfloat16", "uint8"),
        ("bfloat16", "float32", "int8"),
        ("float32", "int64", "int32", "int8"),
        ("int64", "uint64", "uint32", "int16"),
    ],
)
def test_chains_of_casts_stay_chains(kit, chain, source):
    rng = np.random.default_rng(0)
    limit = 2.0**40 if chain[0].endswith("64") or "int64" in chain else 2.0**31 if "32" in chain[0] else 127.0
    if source == "float16":
        limit = min(limit, 60000.0)
    x = rng.uniform(0 if "u" in chain[0] or "u" in chain[1] else -limit, limit, 500).astype(source)
    expected = x
    for dtype in chain:
        expected = expected.astype(kit.dtype_named(dtype))
    np.testing.assert_array_equal(cast_chain(kit, x, *chain), expected)


@pytest.mark.parametrize(
    ("x", "chain", "expected"),
    [
        (np.array([2.0**40 + 123]), ("int64", "int32"), 123),
        (np.array([17.970763], np.float32), ("bfloat16", "uint8"), 18),
        (np.array([480.0], np.float32), ("float8_e4m3fn",), NAN),
        (np.array([62000.0], np.float32), ("float8_e5m2",), np.inf),
        (np.array([-0.0], np.float32), ("float8_e5m2", "bool"), False),
        (np.array([0.5], np.float32), ("int4",), 0),
    ],
)
def test_casts_are_right(kit, x, chain, expected):
    np.testing.assert_array_equal(cast_chain(kit, x, *chain), [expected])


@pytest.mark.parametrize("source", ["float32", "float64", "float16", "int32", "int16", "bfloat16"])
@pytest.mark.parametrize("target", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_overflow_of_float8(kit, target, source):
    d = kit.dtype_named(source)
    x = np.concatenate([np.arange(200, 600), np.arange(20000, 70000 if source != "int16" else 32000, 97)])
    x = np.concatenate([x, -x]).astype(np.float64)
    with np.errstate(all="ignore"):
        x = x.astype(d)
        if d.kind != "i":
            x = np.concatenate([x, np.array([np.inf, -np.inf, NAN]).astype(d)])
        expected = x.astype(np.float32).astype(kit.dtype_named(target)).astype(np.float32)
    np.testing.assert_array_equal(cast_chain(kit, x, target), expected)


def test_casts_to_float8_that_saturate_are_left_alone(kit):
    x = np.array([480.0], np.float32)
    model = kit.check_node("Cast", [x], np.array([448], kit.dtype_named("float8_e4m3fn")), to=17)
    assert len(model.graph) == 1


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
def test_negative_zero_is_false(kit, dtype):
    x = np.array([0.0, -0.0, 1.0, NAN]).astype(kit.dtype_named(dtype))
    kit.check_node("Cast", [x], np.array([False, False, True, True]), to=9)


@pytest.mark.parametrize("source", ["float32", "float64", "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("target", ["int4", "uint4"])
def test_floats_are_truncated_to_4_bits(kit, target, source):
    x = np.array([0.5, 0.99, 1.5, 2.5, 6.99, 3.0]).astype(kit.dtype_named(source))
    expected = np.trunc(x.astype(np.float32)).astype(np.int8).astype(kit.dtype_named(target))
    kit.check_node("Cast", [x], expected, to=int(kit.ir.DataType.from_numpy(expected.dtype)))


# Scaled products


@pytest.mark.parametrize("op_type", ["Mul", "Div"])
@pytest.mark.parametrize("number", [2.8284271247461903, 0.125])
@pytest.mark.parametrize("before", [False, True])
def test_a_scaled_float64_product_keeps_its_precision(kit, op_type, number, before):
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 4, 5, 8)), rng.standard_normal((2, 4, 8, 5))
    inputs = [
        ir.Value(name=name, type=ir.TensorType(ir.DataType.DOUBLE), shape=ir.Shape(array.shape))
        for name, array in (("q", q), ("k", k))
    ]
    constant = ir.Value(name="c", const_value=ir.Tensor(np.asarray(number), name="c"))
    constant.dtype, constant.shape = ir.DataType.DOUBLE, ir.Shape(())
    if before:
        scaled = ir.Node("", op_type, [inputs[0], constant])
        nodes = [scaled, ir.Node("", "MatMul", [scaled.outputs[0], inputs[1]])]
        shapes = [(2, 4, 5, 8), (2, 4, 5, 5)]
    else:
        product = ir.Node("", "MatMul", inputs)
        nodes = [product, ir.Node("", op_type, [product.outputs[0], constant])]
        shapes = [(2, 4, 5, 5)] * 2
    for index, (node, shape) in enumerate(zip(nodes, shapes, strict=True)):
        value = node.outputs[0]
        value.name, value.dtype, value.shape = f"v{index}", ir.DataType.DOUBLE, ir.Shape(shape)
    graph = ir.Graph(
        inputs, [nodes[-1].outputs[0]], nodes=nodes, initializers=[constant], opset_imports={"": 21}, name="g"
    )
    model = ir.Model(graph, ir_version=10)
    kit.legalize(model)
    scale = number if op_type == "Mul" else 1 / number
    np.testing.assert_allclose(kit.run(model, [q, k])[0], q @ k * scale, rtol=1e-13, atol=1e-13)


# Quotients that are merged


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_an_integer_reciprocal_is_rounded_before_it_is_multiplied(kit, dtype):
    y = np.array([1, 2, 3, 7, -1, np.iinfo(dtype).max], dtype)
    feed, one = kit.value("y", y), kit.initializer("one", np.ones((), dtype))
    quotient = ir.Node("", "Div", [one, feed])
    product = ir.Node("", "Mul", [quotient.outputs[0], feed])
    for node in (quotient, product):
        node.outputs[0].type, node.outputs[0].shape = feed.type, feed.shape
    model = kit.model_of([feed], [quotient, product], product.outputs, 21, [one])
    kit.legalize(model)
    np.testing.assert_array_equal(kit.run(model, [y])[0], [1, 0, 0, 0, 1, 0])


# Products with vectors


def _transposed_product(a, v, scale):
    inputs = [
        ir.Value(name=n, type=ir.TensorType(ir.DataType.from_numpy(x.dtype)), shape=ir.Shape(x.shape))
        for n, x in (("a", a), ("v", v))
    ]
    swap = [*range(a.ndim - 2), a.ndim - 1, a.ndim - 2]
    nodes = [ir.Node("", "Transpose", [inputs[0]], [ir.AttrInt64s("perm", swap)])]
    initializers = []
    if scale:
        number = ir.Value(name="c", const_value=ir.Tensor(np.asarray(scale, a.dtype), name="c"))
        number.dtype, number.shape = inputs[0].dtype, ir.Shape(())
        initializers.append(number)
        nodes.append(ir.Node("", "Mul", [nodes[0].outputs[0], number]))
    nodes.append(ir.Node("", "MatMul", [nodes[-1].outputs[0], inputs[1]]))
    shape = np.swapaxes(a, -1, -2).shape
    for index, node in enumerate(nodes):
        value = node.outputs[0]
        value.name, value.dtype = f"v{index}", inputs[0].dtype
        value.shape = ir.Shape(shape[:-1] if node.op_type == "MatMul" else shape)
    graph = ir.Graph(
        inputs, [nodes[-1].outputs[0]], nodes=nodes, initializers=initializers, opset_imports={"": 21}, name="g"
    )
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("shape", [(4, 3), (4, 4), (2, 4, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_a_transposed_matrix_times_a_vector(kit, shape, dtype, scale):
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal(shape).astype(dtype), rng.standard_normal(4).astype(dtype)
    expected = np.swapaxes(a, -1, -2) @ v * (scale or 1)
    model = _transposed_product(a, v, scale)
    kit.legalize(model)
    np.testing.assert_allclose(kit.run(model, [a, v])[0], expected, rtol=1e-6, atol=1e-6)


def test_a_product_with_a_vector_that_is_right_is_left_alone(kit):
    model = _transposed_product(np.ones((4, 3), np.float32), np.ones(4, np.float32), None)
    transpose, product = model.graph
    product.replace_input_with(0, transpose.inputs[0])
    transpose.inputs[0].shape, product.inputs[1].shape = ir.Shape((3, 4)), ir.Shape((4,))
    model.graph.remove(transpose, safe=True)
    kit.legalize(model)
    assert [node.op_type for node in model.graph] == ["MatMul"]
