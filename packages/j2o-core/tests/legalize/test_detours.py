"""Every operator in every element type: it runs and gives NumPy's bits, or the export stops with an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import LegalizeError
from j2o_core.target import WORKAROUNDS, Target

BOOL = ["bool"]
SIGNED = ["int8", "int16", "int32", "int64", "int4"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64", "uint4"]
FLOATS = ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"]
INTS = SIGNED + UNSIGNED
NUMBERS = INTS + FLOATS
ALL = BOOL + NUMBERS
OPSETS = (18, 21, 23, 26)
SHAPE = (12, 16)


def first_opset(dtype: str) -> int:
    return 21 if dtype in ("int4", "uint4") else 19 if dtype.startswith("float8") else 18


@dataclasses.dataclass(frozen=True)
class Case:
    """A node: operands in an element type, what NumPy makes of them, and the element types for which it is exact."""

    op_type: str
    operands: Callable[[Any, Any], list]  # (kit, dtype)
    reference: Callable[..., Any]
    dtypes: list[str]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    since: int = 18


CASES: dict[str, Case] = {}


def case(op_type: str, operands, reference, dtypes=ALL, *, label: str = "", since: int = 18, **attributes) -> None:
    CASES[label or op_type] = Case(op_type, operands, reference, dtypes, attributes, since)


def computed(function):
    """NumPy's function in the type that the arithmetic has: float32 for small floats, wrapping for integers."""

    def apply(*arrays):
        dtype = arrays[-1].dtype
        if dtype.name in ("int4", "uint4"):
            wide = np.int32
        elif dtype.name.startswith(("bfloat", "float8", "float16")):
            wide = np.float32
        else:
            wide = dtype
        return np.asarray(function(*(a.astype(wide) if a.dtype == dtype else a for a in arrays)))

    return apply


def rounded(function):
    """The same, with the result in the element type of the operands."""
    return lambda *arrays: computed(function)(*arrays).astype(arrays[-1].dtype)


def one(kit, dtype):
    return [kit.sample(dtype, SHAPE)]


def without_nan(kit, dtype):
    x = kit.sample(dtype, SHAPE)
    return [np.where(x == x, x, np.ones((), dtype))]


def two(kit, dtype):
    return [kit.sample(dtype, SHAPE), kit.sample(dtype, SHAPE, 1)]


def whole(kit, dtype, shape, seed=0):
    """Operands of sums: whole numbers where order and rounding must not matter, everything where sums wrap."""
    if dtype.name in INTS:
        return kit.sample(dtype, shape, seed)
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(dtype)


def nonzero_second(kit, dtype):
    x, z = two(kit, dtype)
    return [x, np.where(kit.comparable(z) == 0, np.ones((), dtype), z)]


def with_static(*constants):
    """A sample and constants."""
    return lambda kit, dtype: [kit.sample(dtype, SHAPE), *(kit.Static(np.asarray(c)) for c in constants)]


for _name, _function in {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}.items():
    case(_name, two, rounded(_function), NUMBERS)
for _name, _function in {"Max": np.maximum, "Min": np.minimum}.items():
    case(_name, two, rounded(_function))
for _name, _function in {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}.items():
    case(_name, two, computed(_function))
for _name, _function in {"And": np.bitwise_and, "Or": np.bitwise_or, "Xor": np.bitwise_xor}.items():
    case("Bitwise" + _name, two, rounded(_function), INTS)
case("BitwiseNot", one, rounded(np.invert), INTS)
case("Neg", one, rounded(np.negative), NUMBERS)
case("Abs", one, rounded(np.abs), NUMBERS)
case("Sign", one, rounded(np.sign), NUMBERS)
case("Relu", one, rounded(lambda x: np.maximum(x, np.zeros((), x.dtype))))
for _name, _function in {"Floor": np.floor, "Ceil": np.ceil, "Round": np.round, "Sqrt": np.sqrt}.items():
    case(_name, one, rounded(_function), FLOATS)
case("Reciprocal", one, rounded(lambda x: 1 / x), FLOATS)
case("IsNaN", one, computed(np.isnan), FLOATS)
case("Sum", two, rounded(np.add), FLOATS)


def _truncated_quotient(a, b):
    if a.dtype.kind == "f":
        return a / b
    wide = a.astype(object), b.astype(object)
    return (abs(wide[0]) // abs(wide[1]) * np.sign(wide[0]) * np.sign(wide[1])).astype(a.dtype)


case("Div", nonzero_second, rounded(_truncated_quotient), NUMBERS)
case("Mod", nonzero_second, rounded(np.fmod), NUMBERS, fmod=1)
case("Mod", nonzero_second, rounded(np.mod), INTS, label="Mod-floor", fmod=0)


def _shifts(kit, dtype):
    amounts = np.arange(np.prod(SHAPE)).reshape(SHAPE) % (dtype.itemsize * (4 if "int4" in dtype.name else 8))
    return [kit.sample(dtype, SHAPE), amounts.astype(dtype)]


case("BitShift", _shifts, rounded(np.left_shift), INTS, label="BitShift-left", direction="LEFT")
case("BitShift", _shifts, rounded(np.right_shift), UNSIGNED, label="BitShift-right", direction="RIGHT")

_CONDITION = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3 == 0
case("Where", lambda kit, d: [_CONDITION, *two(kit, d)], np.where)
case(
    "Clip",
    lambda kit, d: [kit.sample(d, SHAPE), np.asarray(0, d), np.asarray(1, d)],
    rounded(np.clip),
)
case(
    "Pad",
    lambda kit, d: [kit.sample(d, SHAPE), kit.Static(np.array([1, 0, 0, 2])), np.asarray(1, d)],
    lambda x, v: np.pad(x, ((1, 0), (0, 2)), constant_values=v),
)
case("Transpose", one, np.transpose)
case("Reshape", with_static([2, -1]), lambda x: x.reshape(2, -1))
case("Expand", with_static([2, *SHAPE]), lambda x: np.broadcast_to(x, (2, *SHAPE)))
case("Tile", with_static([2, 1]), lambda x: np.tile(x, (2, 1)))
case("Concat", two, lambda a, b: np.concatenate([a, b], 1), axis=1)
case("Slice", with_static([1], [3]), lambda x: x[1:3])
case("Split", one, lambda x: (x[:6], x[6:]), num_outputs=2)
case("Gather", with_static([1, 0]), lambda x: x[[1, 0]])
case("GatherElements", with_static([[1] * 16]), lambda x: x[[1]])
case("GatherND", with_static([[1, 1], [2, 2]]), lambda x: x[[1, 2], [1, 2]])
case("Squeeze", lambda kit, d: [kit.sample(d, (9, 1)), kit.Static(np.array([1]))], lambda x: x[:, 0])
case("Unsqueeze", with_static([0]), lambda x: x[None])
case("Flatten", one, lambda x: x.reshape(1, -1), axis=0)
case("Trilu", one, lambda x: np.where(np.tri(*SHAPE, dtype=bool), x, np.zeros((), x.dtype)), upper=0)
case("Compress", with_static(np.arange(12) % 2 == 0), lambda x: x[::2], axis=0)
case("Identity", one, lambda x: x)
case(
    "ReverseSequence",
    with_static([12] + [1] * 15),
    lambda x: np.concatenate([x[::-1, :1], x[:, 1:]], 1),
)
_NOT_64_BIT = [d for d in ALL if d not in ("int64", "uint64")]
case(
    "DepthToSpace",
    lambda kit, d: [kit.sample(d, (1, 4, 3, 2))],
    lambda x: x.reshape(2, 2, 3, 2).transpose(2, 0, 3, 1).reshape(1, 1, 6, 4),
    _NOT_64_BIT,
    blocksize=2,
)
case(
    "SpaceToDepth",
    lambda kit, d: [kit.sample(d, (1, 1, 6, 4))],
    lambda x: x.reshape(3, 2, 2, 2).transpose(1, 3, 0, 2).reshape(1, 4, 3, 2),
    _NOT_64_BIT,
    blocksize=2,
)


def _scatter(reduce):
    def apply(x, updates):
        result = x.copy()
        result[[1, 3]] = reduce(result[[1, 3]], updates)
        return result

    return apply


for _reduction, _function in {
    "none": lambda a, b: b,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}.items():
    for _name, _where in {"ScatterND": [[1], [3]], "ScatterElements": [[1] * 16, [3] * 16]}.items():
        case(
            _name,
            lambda kit, d, where=_where: [kit.sample(d, SHAPE), kit.Static(np.array(where)), kit.sample(d, (2, 16), 1)],
            rounded(_scatter(_function)),
            label=f"{_name}-{_reduction}",
            reduction=_reduction,
        )
case(
    "OneHot",
    lambda kit, d: [kit.Static(np.array([0, 2, 1])), kit.Static(np.array(3)), kit.sample(d, (9,))[[2, 4]]],
    lambda v: np.where(np.eye(3, dtype=bool)[[0, 2, 1]], v[1], v[0]),
)
case("NonZero", one, lambda x: np.stack(np.nonzero(x.astype(bool))))

case("ReduceMax", with_static([1]), rounded(lambda x: np.max(x, 1)), keepdims=0)
case("ReduceMin", with_static([0]), rounded(lambda x: np.min(x, 0, keepdims=True)))
# Where NaN goes ONNX leaves open.
case("ArgMax", without_nan, computed(lambda x: np.argmax(x, 1)), axis=1, keepdims=0)
case("ArgMin", without_nan, computed(lambda x: np.argmin(x, 0)[None]), axis=0)
case(
    "MaxPool",
    lambda kit, d: [kit.sample(d, (1, 2, 40))],
    rounded(lambda x: np.maximum(x[..., ::2], x[..., 1::2])),
    _NOT_64_BIT,
    kernel_shape=[2],
    strides=[2],
)


def _top_two(x):
    order = np.argsort(-x.astype(object), axis=1, kind="stable")[:, :2]
    return np.take_along_axis(x, order, 1), order


case("TopK", lambda kit, d: [*without_nan(kit, d), kit.Static(np.array([2]))], _top_two)
case("Unique", without_nan, rounded(np.unique), NUMBERS)


def _matrices(kit, dtype):
    return [whole(kit, dtype, (4, 5)), whole(kit, dtype, (5, 3), 1)]


def _matmul(a, b):
    return (a[:, :, None] * b).sum(1, dtype=a.dtype) if a.dtype.kind in "iu" else a @ b


case("MatMul", _matrices, rounded(_matmul), NUMBERS)
case("Einsum", _matrices, rounded(_matmul), NUMBERS, equation="ij,jk->ik")
case(
    "Gemm",
    lambda kit, d: [*_matrices(kit, d), whole(kit, d, (3,), 2)],
    rounded(lambda a, b, c: _matmul(a, b) + c),
    NUMBERS,
)
case(
    "ReduceSum",
    lambda kit, d: [whole(kit, d, SHAPE), kit.Static(np.array([1]))],
    rounded(lambda x: np.sum(x, 1, dtype=x.dtype)),
    NUMBERS,
    keepdims=0,
)
case(
    "ReduceProd",
    lambda kit, d: [whole(kit, d, SHAPE), kit.Static(np.array([0]))],
    rounded(lambda x: np.prod(x, 0, dtype=x.dtype)),
    NUMBERS,
    keepdims=0,
)
case(
    "CumSum",
    lambda kit, d: [whole(kit, d, SHAPE), kit.Static(np.array(1))],
    rounded(lambda x: np.cumsum(x, 1, dtype=x.dtype)),
    NUMBERS,
)
case(
    "CumProd",
    lambda kit, d: [whole(kit, d, SHAPE), kit.Static(np.array(1))],
    rounded(lambda x: np.cumprod(x, 1, dtype=x.dtype)),
    NUMBERS,
    since=26,
)


def _convolve(x, w):
    taps = (x[:, None, :, k : k + 4] * w[None, :, :, k, None] for k in range(2))
    return sum(tap.sum(2, dtype=x.dtype) for tap in taps).astype(x.dtype)


case(
    "Conv",
    lambda kit, d: [whole(kit, d, (2, 3, 5)), whole(kit, d, (4, 3, 2), 1)],
    rounded(_convolve),
    NUMBERS,
)
case(
    "Range",
    lambda kit, d: [np.asarray(v, d) for v in (1, 7, 2)],
    lambda *v: np.array([1, 3, 5]).astype(v[0].dtype),
    [d for d in NUMBERS if d != "uint64"],
)
case("EyeLike", one, lambda x: np.eye(*SHAPE).astype(x.dtype))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("label", CASES)
def test_exact_or_refused(kit, label, dtype):
    case = CASES[label]
    for opset in OPSETS:
        if opset < max(case.since, first_opset(dtype)):
            continue
        operands = case.operands(kit, kit.dtype_named(dtype))
        if dtype not in case.dtypes:
            expected = [np.zeros((), operands[-1].array.dtype if isinstance(operands[-1], kit.Static) else dtype)]
            model = kit.node_model(case.op_type, operands, expected, case.attributes, opset)
            with pytest.raises(LegalizeError, match="no exact form"):
                kit.legalize(model)
            continue
        with np.errstate(all="ignore"):
            expected = case.reference(*(a for a in operands if not isinstance(a, kit.Static)))
        results = [np.asarray(e) for e in (expected if isinstance(expected, tuple) else (expected,))]
        model = kit.check_node(case.op_type, operands, results, opset=opset, **case.attributes)

        types = [ir.DataType.from_numpy((a.array if isinstance(a, kit.Static) else a).dtype) for a in operands]
        target = Target("onnxruntime", opset)
        results_of = [kit.dtype_of(r) for r in results]
        runs = target.runs(case.op_type, *types, outputs=results_of, attributes=case.attributes)
        if all(case.op_type not in row.op_types for row in WORKAROUNDS):
            assert runs == (len(model.graph) == 1)


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 0)])
@pytest.mark.parametrize("dtype", ["bool", "int4", "uint16", "uint64", "bfloat16", "float8_e4m3fn"])
def test_shapes_of_one_and_none(kit, dtype, shape):
    d = kit.dtype_named(dtype)
    x, y = kit.sample(d, shape), kit.sample(d, shape, 1)
    kit.check_node("Max", [x, y], rounded(np.maximum)(x, y))
    kit.check_node("Where", [np.ones(shape, bool), x, y], x)
    kit.check_node("Equal", [x, y], computed(np.equal)(x, y))


@pytest.mark.parametrize("fill", ["bool", "uint16", "bfloat16", "float8_e5m2", "int4", "float64"])
def test_constant_of_shape(kit, fill):
    d = kit.dtype_named(fill)
    value = ir.Tensor(np.ones((1,), d), dtype=ir.DataType.from_numpy(d))
    for opset in OPSETS:
        if opset >= first_opset(fill):
            shape = kit.Static(np.array([2, 3]))
            kit.check_node("ConstantOfShape", [shape], np.ones((2, 3), d), opset=opset, value=value)


@pytest.mark.parametrize("index", ["int8", "uint8", "int16", "uint32"])
def test_indices_are_widened(kit, index):
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    model = kit.check_node("Gather", [x, np.array([2, 0], index)], x[[2, 0]])
    assert [node.op_type for node in model.graph] == ["Cast", "Gather"]


def test_nearest_resize_moves_elements(kit):
    x = kit.sample(np.dtype(np.uint16), (1, 1, 4, 4))
    scales = kit.Static(np.array([1, 1, 2, 2], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    kit.check_node("Resize", [x, None, scales], x.repeat(2, 2).repeat(2, 3), **nearest)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_standard_onnx_needs_detours_too(kit, dtype):
    """Schemas forbid these; without a target only they count."""
    d = kit.dtype_named(dtype)
    a, b = kit.sample(d, (3, 4)), kit.sample(d, (4, 2))
    model = kit.check_node("MatMul", [a, b], rounded(_matmul)(a, b), target=None)
    assert [node.op_type for node in model.graph] == ["Cast", "Cast", "MatMul", "Cast"]


def test_standard_onnx_has_no_kernels(kit):
    x = kit.sample(np.dtype(np.uint16), (3, 4))
    model = kit.node_model("Where", [np.ones((3, 4), bool), x, x], [x], {}, 21)
    kit.legalize(model, target=None)
    assert [node.op_type for node in model.graph] == ["Where"]


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_extremes_of_nothing(kit, op_type):
    """The start value of the wide type is not that of int16."""
    for dtype in (np.uint16, np.int16):
        info = np.iinfo(dtype)
        start = np.full((2,), info.min if op_type == "ReduceMax" else info.max, dtype)
        kit.check_node(op_type, [np.zeros((2, 0), dtype), kit.Static(np.array([1]))], start, keepdims=0)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("width", [0, 3])
def test_extremes_of_truth_values(kit, op_type, width):
    """Without a type for bool below opset 20 they are those of numbers, whose start value need not be 0 or 1."""
    x = np.arange(2 * width).reshape(2, width) % 3 == 1
    wanted = x.any(1) if op_type == "ReduceMax" else x.all(1)
    kit.check_node(op_type, [x, kit.Static(np.array([1]))], wanted, keepdims=0, opset=18, target=None)
