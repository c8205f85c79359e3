"""Arithmetic and logic that the builder does not add: the result is an operand, or known."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from jax import export as jax_export

from j2o_core.graph import traits
from j2o_core.graph._values import numpy_dtype, shape_of, stamp
from j2o_core.simplify._identities import one_number

NAN, INF = np.nan, np.inf
INTEGERS = np.array([[-(2**31), -1, 0], [1, 7, 2**31 - 1]], np.int32)
NATURAL = np.array([[0, 1, 2], [7, 2**31, 2**32 - 1]], np.uint32)
FLOATS = np.array([[-0.0, 0.0, 1.5], [INF, -INF, NAN]], np.float32)
FLAGS = np.array([[True, False, True], [False, True, True]])

# Operators as NumPy has them.
FUNCTIONS = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": lambda x, y: x / y if x.dtype.kind == "f" else np.trunc(x / y).astype(x.dtype),
    "Pow": lambda x, y: x ** y.astype(x.dtype) if y.dtype.kind == "f" or (y >= 0).all() else x,
    "Max": np.maximum,
    "Min": np.minimum,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "BitShift": np.left_shift,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}
LOGIC = ("And", "Or", "Xor")
BITS = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")


def value_of(array):
    value = ir.Value(name="x")
    stamp(value, array.dtype, array.shape)
    return value


def numbers_of(op_type):
    return [FLAGS] if op_type in LOGIC else [INTEGERS, NATURAL] if op_type in BITS else [INTEGERS, NATURAL, FLOATS]


def result(op, op_type, *operands):
    attributes = {"direction": "LEFT"} if op_type == "BitShift" else {}
    return op(op_type, *operands, **attributes)


def agrees(op, got, x, array, expected):
    """Whether a value for which there is no node is the expected one, bit for bit; None if there is a node."""
    if len(op.nodes):
        return None
    found = array if got is x else op.constant_value(got)
    assert found.shape == expected.shape == shape_of(got)
    assert found.dtype == expected.dtype == numpy_dtype(got)
    return bool(((found == expected) & (np.signbit(found) == np.signbit(expected)) | _both_nan(found, expected)).all())


def _both_nan(a, b):
    return (a != a) & (b != b)


CONSTANTS = [0, -0.0, 1, -1, 2, 2**31 - 1, -(2**31), 2**32 - 1, INF, -INF, NAN, True, False]


@pytest.mark.parametrize("op_type", FUNCTIONS)
@pytest.mark.parametrize("on_the_left", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_the_result_with_a_constant_is_that_of_the_operator(new_builder, op_type, on_the_left):
    """Whichever constant makes the builder leave an operator out."""
    left_out = 0
    for array in numbers_of(op_type):
        for constant in CONSTANTS:
            if array.dtype == bool and not isinstance(constant, bool):
                continue
            if array.dtype.kind in "iu" and not np.iinfo(array.dtype).min <= constant <= np.iinfo(array.dtype).max:
                continue
            if op_type == "BitShift" and array.dtype != np.uint32:
                continue
            op, x, number = new_builder(), value_of(array), np.full(array.shape, constant, array.dtype)
            pair = (op.const(number), x) if on_the_left else (x, op.const(number))
            got = result(op, op_type, *pair)
            arrays = (number, array) if on_the_left else (array, number)
            same = agrees(op, got, x, array, FUNCTIONS[op_type](*arrays))
            assert same is not False, (op_type, array.dtype, constant)
            left_out += same is True
    never = {*traits.COMPARISONS, *(["Sub", "Div", "BitShift"] if on_the_left else [])}
    assert (left_out > 0) == (op_type not in never)


@pytest.mark.parametrize("op_type", [name for name in FUNCTIONS if name not in ("Pow", "Div", "BitShift")])
@pytest.mark.filterwarnings("ignore")
def test_the_result_of_one_operand_twice_is_that_of_the_operator(new_builder, op_type):
    for array in numbers_of(op_type):
        op, x = new_builder(), value_of(array)
        got = result(op, op_type, x, x)
        assert agrees(op, got, x, array, FUNCTIONS[op_type](array, array)) is not False


@pytest.mark.parametrize(
    ("op_type", "dtype", "is_left_out"),
    [
        ("Sub", np.int32, True),
        ("Sub", np.float32, False),  # of infinities NaN
        ("Equal", np.int32, True),
        ("Equal", np.float32, False),
        ("Less", np.float32, True),
        ("Max", np.float32, True),
        ("Xor", np.bool_, True),
        ("Mul", np.int32, False),
        ("Mod", np.int32, False),
    ],
)
def test_operands_that_are_one(op, op_type, dtype, is_left_out):
    x = ir.Value()
    stamp(x, dtype, (3,))
    result(op, op_type, x, x)
    assert (not len(op.nodes)) == is_left_out


def test_several_operands_stay(op):
    x = value_of(FLOATS)
    assert op.Max(x, x, x).producer().op_type == "Max"


def test_zeros_of_both_signs_are_no_number(op):
    x = value_of(FLOATS)
    mixed = op.const([0.0, -0.0, -0.0], x)
    assert op.Add(x, op.const([-0.0, -0.0, -0.0], x)) is x
    assert op.Add(x, mixed) is not x
    assert op.Sub(x, mixed) is not x
    assert op.Sub(x, op.const([0.0, 0.0, 0.0], x)) is x


def test_a_constant_with_more_axes_stays(op):
    x = value_of(INTEGERS)
    assert op.Add(x, op.const(np.zeros((1, 3), np.int32))) is x
    assert op.Add(x, op.const(np.zeros((4, 1, 1), np.int32))) is not x
    assert op.constant_value(op.Mul(x, op.const(np.zeros((4, 1, 1), np.int32)))).shape == (4, 2, 3)


def test_a_result_that_is_large_or_symbolic_is_not_stored(op):
    (n,) = jax_export.symbolic_shape("N")
    for shape in ((n,), (5000,), None):
        x = ir.Value()
        stamp(x, np.int32, shape)
        for node in (op.Mul(x, op.const(0, x)), op.Sub(x, x), op.Less(x, x)):
            assert node.producer() is not None


def test_numbers_of_other_dtypes(op):
    x = ir.Value()
    stamp(x, ml_dtypes.bfloat16, (3,))
    assert op.Mul(x, op.const(1, x)) is x
    stamp(x, np.complex64, (3,))
    assert op.Add(x, op.const(0, x)) is not x


@pytest.mark.parametrize("op_type", ["Neg", "Not"])
def test_twice_is_not_at_all(op, op_type):
    x = value_of(FLAGS if op_type == "Not" else FLOATS)
    assert result(op, op_type, result(op, op_type, x)) is x


@pytest.mark.parametrize(("array", "is_known"), [(INTEGERS, True), (FLOATS, False)])
def test_the_opposite_of_a_comparison_of_integers(new_builder, array, is_known):
    pairs = {"Less": "GreaterOrEqual", "LessOrEqual": "Greater"}
    for one, other in (pairs | {value: key for key, value in pairs.items()}).items():
        op, x, z = new_builder(), value_of(array), value_of(array)
        negated = op.Not(op(one, x, z)).producer()
        assert negated.op_type == (other if is_known else "Not")
        assert not is_known or list(negated.inputs) == [x, z]
    equal = new_builder()
    assert equal.Not(equal.Equal(x, z)).producer().op_type == "Not"


def test_absolute_values_of_opposites(op):
    x = value_of(FLOATS)
    size = op.Abs(x)
    assert op.Abs(op.Neg(x)) is size
    assert op.Abs(size) is size
    assert op.Abs(op.Sqrt(x)) is not size


def test_a_choice_inside_of_one_by_the_same_condition_is_made(op):
    flags, x, y, z = (value_of(array) for array in (FLAGS, FLOATS, FLOATS, FLOATS))
    first = op.Where(flags, x, y)
    assert op.Where(flags, first, z) is op.Where(flags, x, z)
    assert op.Where(flags, z, first) is op.Where(flags, z, y)
    others = value_of(FLAGS)
    assert op.Where(others, first, z).producer().inputs[1] is first
    row, tall = value_of(FLAGS[0]), ir.Value()
    stamp(tall, np.float32, (4, 1, 1))
    taller = op.Where(row, x, tall)
    assert op.Where(row, taller, z).producer().inputs[1] is taller


@pytest.mark.parametrize(
    ("array", "number"),
    [
        ([3, 3, 3], 3),
        ([3, 4, 3], None),
        ([3, 3, 4], None),
        ([0.0, -0.0], None),
        ([-0.0, -0.0], -0.0),
        ([NAN, NAN, NAN], NAN),
        ([], None),
        (7, 7),
    ],
)
def test_one_number(array, number):
    found = one_number(np.asarray(array))
    assert (found is None) == (number is None)
    if number is not None:
        np.testing.assert_equal(found, number)
        assert np.signbit(found) == np.signbit(number)


def test_one_number_of_nothing():
    assert one_number(None) is None
