"""Operators of constants give what ONNX says; those that round, are large or fail are left to the runtime."""

import numpy as np
import onnx
import pytest

reference = pytest.importorskip("onnx.reference")

INTEGERS = np.array([[-7, -1, 0], [1, 7, 100]], np.int32)
NATURAL = np.array([[0, 1, 2], [7, 250, 255]], np.uint8)
FLOATS = np.array([[-0.0, 0.0, 1.5], [np.inf, -np.inf, np.nan]], np.float32)
FLAGS = np.array([[True, False, True], [False, False, True]])
PLACES = np.array([2], np.int64)

FOLDED = {
    **{op_type: [(INTEGERS, INTEGERS.T.reshape(2, 3)), (NATURAL, NATURAL[::-1])] for op_type in ("Add", "Sub", "Mul")},
    "Div": [(INTEGERS, np.array([3, -2, 7], np.int32)), (NATURAL, np.array([3, 2, 7], np.uint8))],
    "Neg": [(INTEGERS,)],
    "Abs": [(INTEGERS,), (NATURAL,)],
    "Sign": [(INTEGERS,), (NATURAL,)],
    "Max": [(INTEGERS, -INTEGERS, INTEGERS[::-1])],
    "Min": [(INTEGERS, -INTEGERS, INTEGERS[::-1])],
    "Not": [(FLAGS,)],
    **{op_type: [(FLAGS, FLAGS[::-1])] for op_type in ("And", "Or", "Xor")},
    "BitwiseNot": [(INTEGERS,), (NATURAL,)],
    **{op_type: [(INTEGERS, INTEGERS[::-1])] for op_type in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    "Equal": [(INTEGERS, INTEGERS[::-1]), (FLOATS, FLOATS[:, ::-1]), (FLAGS, FLAGS[::-1])],
    **{
        op_type: [(INTEGERS, INTEGERS[::-1]), (FLOATS, FLOATS[:, ::-1])]
        for op_type in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    },
    "IsNaN": [(FLOATS,)],
    "Where": [(FLAGS, INTEGERS, INTEGERS[::-1]), (FLAGS, FLOATS, FLOATS[::-1]), (FLAGS, FLAGS[::-1], FLAGS)],
    "Slice": [
        (INTEGERS, np.array([1]), np.array([2**62])),
        (INTEGERS, np.array([-2]), np.array([-1]), np.array([1])),
        (INTEGERS, np.array([0, 0]), np.array([1, 3]), np.array([0, 1]), np.array([1, 2])),
        (INTEGERS, np.array([2]), np.array([1]), np.array([1])),
    ],
    "GatherND": [(INTEGERS, np.array([[0, 1], [-1, -3]])), (FLOATS, np.array([1]))],
    "Pad": [(INTEGERS, np.array([0, 1, 2, 0]), np.array(9, np.int32))],
}


def of_onnx(op_type, arrays):
    names = [f"x{index}" for index in range(len(arrays))]
    node = onnx.helper.make_node(op_type, names, ["y"])
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    graph = onnx.helper.make_graph([node], "g", inputs, [onnx.helper.make_empty_tensor_value_info("y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    (result,) = reference.ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))
    return result


@pytest.mark.parametrize(
    ("op_type", "arrays"), [(op_type, arrays) for op_type, cases in FOLDED.items() for arrays in cases]
)
def test_results_are_those_of_onnx(op, op_type, arrays):
    found = op.constant_value(op(op_type, *map(op.const, arrays)))
    expected = of_onnx(op_type, arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_the_quotient_of_integers_is_rounded_towards_zero(op):
    """As ONNX Runtime has it."""
    found = op.constant_value(op.Div(op.const([-7, -7, 7, 7], np.int32), op.const([2, -3, 2, -3], np.int32)))
    np.testing.assert_array_equal(found, [-3, 2, 3, -2])


def test_integers_wrap_around(op):
    lowest = op.const([-(2**31)], np.int32)
    for result in (op.Neg(lowest), op.Abs(lowest), op.Sub(op.const([2**31 - 1], np.int32), op.const([-1], np.int32))):
        np.testing.assert_array_equal(op.constant_value(result), [-(2**31)])


MANY = np.arange(70_000) % 3
LEFT = {
    "a sum of floats, which is rounded": lambda op: op.Add(op.const(FLOATS), op.const(FLOATS[::-1])),
    "a quotient by 0": lambda op: op.Div(op.const(INTEGERS), op.const([0, 1, 2], np.int32)),
    "a quotient by -1, of the least number none": lambda op: op.Div(op.const(INTEGERS), op.const([-1, 1, 2], np.int32)),
    "many numbers": lambda op: op.Max(op.const(MANY), op.const(MANY[::-1])),
    "many numbers of few": lambda op: op.Add(op.const(MANY[:300]), op.const(MANY[:300, None])),
    "many elements that are cut": lambda op: op.Slice(op.const(MANY), op.const([1]), op.const([60_000])),
    "steps back": lambda op: op.Slice(op.const(INTEGERS), op.const([2]), op.const([0]), op.const([1]), op.const([-1])),
    "many elements that are added": lambda op: op.Pad(
        op.const(INTEGERS), op.const([0, 0, 50_000, 0]), op.const(9, np.int32)
    ),
    "elements that are taken away": lambda op: op.Pad(
        op.const(INTEGERS), op.const([0, 0, -1, 0]), op.const(9, np.int32)
    ),
    "vectors along rows": lambda op: op.GatherND(op.const(INTEGERS), op.const([[1], [2]]), batch_dims=1),
    "a vector outside": lambda op: op.GatherND(op.const(INTEGERS), op.const([0, 3])),
    "a vector before the first": lambda op: op.GatherND(op.const(INTEGERS), op.const([-3, 0])),
    "vectors into many numbers": lambda op: op.GatherND(op.const(MANY), op.const([5])),
    "a frame of no number": lambda op: op.Pad(op.const(INTEGERS), op.const([0, 1, 0, 0])),
    "a frame of the edge": lambda op: op.Pad(
        op.const(INTEGERS), op.const([0, 1, 0, 0]), op.const(9, np.int32), mode="edge"
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_left_to_the_runtime(op, name):
    assert op.constant_value(LEFT[name](op)) is None
