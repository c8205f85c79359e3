import math

import jax
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._ranges import ANYTHING, BOUNDS, Range, dtype_range, value_range
from j2o_core.graph._values import stamp
from j2o_core.target import Target

FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)
NARROW = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
INTEGERS = (np.int8, np.uint8, np.int32, np.int64)
SHAPE = (3,)


def builder():
    graph = ir.Graph([], [], nodes=[])
    return Builder(Constants(), Target(None, 21), append=graph.append)


def leaf(dtype):
    value = ir.Value()
    stamp(value, dtype, SHAPE)
    return value


def clip(x, low, high):
    return np.minimum(np.maximum(x, low), high)


# Operator: how many operands, NumPy's function, and whether integers have it.
FUNCTIONS = {
    "Add": (2, np.add, True),
    "Sub": (2, np.subtract, True),
    "Mul": (2, np.multiply, True),
    "Max": (2, np.maximum, True),
    "Min": (2, np.minimum, True),
    "Clip": (3, clip, True),
    "Neg": (1, np.negative, True),
    "Abs": (1, np.abs, True),
    "Relu": (1, lambda x: np.maximum(x, np.zeros_like(x)), True),
    "Identity": (1, lambda x: x, True),
    "Tanh": (1, np.tanh, False),
    "Sin": (1, np.sin, False),
    "Exp": (1, np.exp, False),
    "Log": (1, np.log, False),
}


def numbers(dtype):
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return st.one_of(st.integers(-9, 9).filter(lambda n: info.min <= n), st.integers(int(info.min), int(info.max)))
    return st.sampled_from([0.0, -0.0, 1.0, -2.5, 0.1, 1e-3, 3e4, -6e4, 3e38, -3e38, math.inf, -math.inf, math.nan])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_element_is_in_the_range(data):
    """Of random expressions: values, NaN and the sign of zeros are as the range says."""
    dtype = data.draw(st.sampled_from(FLOATS + INTEGERS))
    op, arrays, results = builder(), {}, {}
    for _ in range(3):
        value = leaf(dtype)
        elements = data.draw(st.lists(numbers(dtype), min_size=3, max_size=3))
        with np.errstate(over="ignore"):
            arrays[value] = np.array(elements).astype(dtype)
        results[value] = arrays[value]
    names = [name for name, (_, _, integers) in FUNCTIONS.items() if integers or dtype in FLOATS]
    with np.errstate(all="ignore"):
        for _ in range(data.draw(st.integers(1, 5))):
            dtypes = {value.dtype for value in results}
            kind = data.draw(st.sampled_from(sorted(dtypes)))
            same = [value for value in results if value.dtype == kind]
            name = data.draw(st.sampled_from([*names, "Cast", "Where"]))
            if name == "Cast":
                source, target = data.draw(st.sampled_from(same)), data.draw(st.sampled_from(FLOATS + NARROW))
                value = op.Cast(source, to=ir.DataType.from_numpy(np.dtype(target)))
                results.setdefault(value, results[source].astype(target))
                continue
            if name == "Where":
                yes, no = (data.draw(st.sampled_from(same)) for _ in range(2))
                condition = leaf(np.bool_)
                arrays[condition] = np.array([True, False, True])
                results[op.Where(condition, yes, no)] = np.where(arrays[condition], results[yes], results[no])
                continue
            count, function, integers = FUNCTIONS[name]
            if not integers and kind.numpy().kind in "iu":
                continue
            operands = [data.draw(st.sampled_from(same)) for _ in range(count)]
            results[op(name, *operands)] = np.asarray(function(*(results[x] for x in operands)), kind.numpy())
    for value, array in results.items():
        found = value_range(value, arrays.get)
        exact = array.astype(object if array.dtype.kind in "iu" else np.float64)
        for x in exact:
            if isinstance(x, float) and math.isnan(x):
                assert found.nan
                continue
            assert found.low <= x <= found.high
            if x == 0 and math.copysign(1, x) < 0:
                assert found.negative_zero


def test_sizes_and_what_is_computed_from_them():
    op, x = builder(), leaf(np.float32)
    size = op.Shape(x)
    assert value_range(size, op.constant_value) == Range(0, 2**31 - 1)
    doubled = op.Mul(size, op.const([2], np.int64))
    assert value_range(op.Sub(doubled, op.const([5], np.int64)), op.constant_value) == Range(-5, 2**32 - 7)


def test_integers_that_wrap_around_may_be_anything():
    op, x = builder(), leaf(np.int8)
    assert value_range(op.Add(x, x), op.constant_value) == Range(-128, 127)
    assert value_range(op.Neg(x), op.constant_value) == Range(-128, 127)


def test_a_cast_keeps_what_fits():
    op, x = builder(), leaf(np.int8)
    assert value_range(op.Cast(x, to=ir.DataType.INT64), op.constant_value) == Range(-128, 127)
    assert value_range(op.Cast(x, to=ir.DataType.UINT8), op.constant_value) == Range(0, 255)
    assert not value_range(op.Cast(x, to=ir.DataType.FLOAT), op.constant_value).negative_zero


def test_a_cast_to_float8_is_no_cast_to_integers():
    op, x = builder(), leaf(np.int8)
    small = op.Mul(op.Cast(x, to=ir.DataType.FLOAT), op.const(2.0**-8, np.float32))
    found = value_range(op.Cast(small, to=ir.DataType.FLOAT8E4M3FN), op.constant_value)
    assert found.low <= -0.5
    assert found.high >= 0.5


def test_extremes_of_nothing_are_those_of_the_type():
    op, x = builder(), ir.Value()
    stamp(x, np.int8, (0, 3))
    small = op.Cast(op.Cast(x, to=ir.DataType.INT64), to=ir.DataType.INT64)
    assert value_range(op.ReduceMax(small, op.const([0], np.int64)), op.constant_value) == dtype_range(
        ir.DataType.INT64
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, ml_dtypes.int4, np.float32])
def test_a_constant_without_elements_may_be_any_number_of_its_type(dtype):
    op = builder()
    found = value_range(op.const(np.zeros((0, 3), dtype)), op.constant_value)
    assert found == dtype_range(ir.DataType.from_numpy(np.dtype(dtype)))


@pytest.mark.parametrize(
    ("size", "constraints", "is_known"), [("N", [], True), ("N", ["N >= 0"], False), ("N - 1", [], False)]
)
def test_extremes_of_what_may_be_nothing_are_those_of_the_type(size, constraints, is_known):
    op, x = builder(), ir.Value()
    stamp(x, np.int8, (*jax.export.symbolic_shape(size, constraints=constraints), 3))
    largest = op.ReduceMax(op.Cast(x, to=ir.DataType.INT64), op.const([0], np.int64), keepdims=0)
    assert value_range(largest, op.constant_value) == (Range(-128, 127) if is_known else dtype_range(ir.DataType.INT64))


def test_operators_of_other_domains_are_unknown():
    op, x = builder(), leaf(np.float32)
    value = op("my.domain::Tanh", x)
    stamp(value, np.float32, SHAPE)
    assert value_range(value, op.constant_value) == ANYTHING


@pytest.mark.parametrize("depth", [40])
def test_long_chains_end(depth):
    op = builder()
    value = leaf(np.float32)
    for _ in range(depth):
        value = op.Max(value, op.Neg(value))
    assert value_range(value, op.constant_value) == ANYTHING._replace(negative_zero=True)


@pytest.mark.parametrize("turned", [False, True])
def test_where_replaces_zeros_of_both_signs(turned):
    op, x = builder(), leaf(np.float32)
    zero, one = op.const(0, np.float32), op.const(1, np.float32)
    is_zero = op.Equal(zero, x) if turned else op.Equal(x, zero)
    assert not value_range(op.Where(is_zero, zero, x), op.constant_value).negative_zero
    assert value_range(op.Where(is_zero, x, zero), op.constant_value).negative_zero
    assert value_range(op.Where(is_zero, zero, leaf(np.float32)), op.constant_value).negative_zero
    assert value_range(op.Where(op.Equal(x, one), zero, x), op.constant_value).negative_zero
    assert value_range(op.Where(is_zero, op.const(-0.0, np.float32), x), op.constant_value).negative_zero


BITS = {
    "BitwiseOr": (np.bitwise_or, {}, INTEGERS),
    "BitwiseAnd": (np.bitwise_and, {}, INTEGERS),
    "BitShift": (np.right_shift, {"direction": "RIGHT"}, (np.uint8, np.uint32)),
}


@pytest.mark.parametrize("op_type", BITS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_bits_are_in_the_range(op_type, data):
    function, attributes, dtypes = BITS[op_type]
    dtype = data.draw(st.sampled_from(dtypes))
    x = np.array(data.draw(st.lists(numbers(dtype), min_size=3, max_size=3)), dtype)
    places = st.integers(0, np.iinfo(dtype).bits - 1)
    y = np.array(data.draw(st.lists(places if attributes else numbers(dtype), min_size=3, max_size=3)), dtype)
    op = builder()
    result = op(op_type, *map(op.const, (x, y)), **attributes)
    found, values = value_range(result, op.constant_value), function(x, y)
    assert found.low <= values.min()
    assert values.max() <= found.high


def test_a_field_of_bits_is_known():
    op = builder()
    shifted = op.BitShift(leaf(np.uint32), op.const(9, np.uint32), direction="RIGHT")
    assert value_range(shifted, op.constant_value)[:2] == (0, 2**23 - 1)
    assert value_range(op.BitwiseOr(shifted, op.const(127 << 23, np.uint32)), op.constant_value)[:2] == (
        127 << 23,
        (128 << 23) - 1,
    )
    assert value_range(op.BitwiseAnd(leaf(np.int32), op.const(255, np.int32)), op.constant_value)[:2] == (0, 255)
    left = op.BitShift(leaf(np.uint32), op.const(9, np.uint32), direction="LEFT")
    assert value_range(left, op.constant_value) == dtype_range(ir.DataType.UINT32)


COMPARISONS = {
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Equal": np.equal,
}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_comparisons_are_known_where_they_are_the_same_everywhere(data):
    """And what is made of them; of floats nothing is, since NaN compares as no number does."""
    dtype, op = data.draw(st.sampled_from([np.int32, np.uint8, np.float32])), builder()
    bounds = [sorted(data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=2))) for _ in range(2)]
    sides = [op.Clip(leaf(dtype), *(op.const(bound, dtype) for bound in pair)) for pair in bounds]
    left, right = (np.arange(low, high + 1) for low, high in bounds)
    results = {}
    for name, function in COMPARISONS.items():
        results[op(name, *sides)] = function(left[:, None], right)
    (one, x), (other, y) = (data.draw(st.sampled_from(list(results.items()))) for _ in range(2))
    results |= {op.Not(one): ~x, op.And(one, other): x & y, op.Or(one, other): x | y}
    for value, array in results.items():
        found = value_range(value, op.constant_value)
        if dtype is np.float32:
            assert (found.low, found.high) == (0, 1)
        else:
            assert found.low <= array.min()
            assert array.max() <= found.high
    less = value_range(op.Less(*sides), op.constant_value)
    if dtype is not np.float32:
        assert (less.low, less.high) == (int((left[:, None] < right).all()), int((left[:, None] < right).any()))


@pytest.mark.parametrize(("low", "high"), [(0, 20), (3, 4), (-9, 20), (-9, -1), (0, 0), (-9, 0)])
def test_what_a_division_leaves(low, high):
    op = builder()
    i = op.Clip(leaf(np.int32), op.const(low, np.int32), op.const(high, np.int32))
    seven, eight = op.const(7, np.int32), op.const(8, np.int32)
    rest = op.Sub(i, op.Mul(seven, op.Div(i, seven)))
    found = value_range(rest, op.constant_value)
    numbers = np.arange(low, high + 1)
    exact = np.fmod(numbers, 7)
    assert found.low <= exact.min()
    assert exact.max() <= found.high
    assert (found.low == 0) == (low >= 0)
    assert found.high == (6 if high > 0 else 0)
    for other in (op.Sub(i, op.Mul(eight, op.Div(i, seven))), op.Sub(seven, op.Mul(seven, op.Div(i, seven)))):
        assert value_range(other, op.constant_value).high > 6
    negative = op.const(-7, np.int32)
    assert value_range(op.Sub(i, op.Mul(negative, op.Div(i, negative))), op.constant_value).high > 6


EIGHTS = np.array([7, 8, 9], np.int32)
NO_REMAINDERS = {
    "a sum": lambda op, i, n: op.Sub(i, op.Add(n, op.Div(i, n))),
    "a product of another domain": lambda op, i, n: op.Sub(i, op("my.domain::Mul", n, op.Div(i, n))),
    "a difference": lambda op, i, n: op.Sub(i, op.Mul(n, op.Sub(i, n))),
    "a quotient of another domain": lambda op, i, n: op.Sub(i, op.Mul(n, op("my.domain::Div", i, n))),
    "several factors": lambda op, i, n: op.Sub(i, op.Mul(op.const(EIGHTS), op.Div(i, n))),
    "several divisors": lambda op, i, n: op.Sub(i, op.Mul(n, op.Div(i, op.const(EIGHTS)))),
    "no factor": lambda op, i, n: op.Sub(i, op.Mul(op.const(EIGHTS[:0]), op.Div(i, n))),
}


@pytest.mark.parametrize("case", NO_REMAINDERS)
def test_near_misses_of_what_a_division_leaves(case):
    op = builder()
    i = op.Clip(leaf(np.int32), op.const(0, np.int32), op.const(20, np.int32))
    found = value_range(NO_REMAINDERS[case](op, i, op.const(7, np.int32)), op.constant_value)
    assert not found.within(-6, 6)


def test_bounds_that_are_given():
    counter = leaf(np.int32)
    counter.meta[BOUNDS] = (2, 9)
    op = builder()
    assert value_range(op.Add(counter, op.const(1, np.int32)), op.constant_value)[:2] == (3, 10)


def test_places_along_an_axis():
    op, x = builder(), ir.Value()
    stamp(x, np.float32, (3, "N", 5))
    for attributes, last in (({}, 2), ({"axis": 0}, 2), ({"axis": -1}, 4), ({"axis": 2}, 4), ({"axis": 1}, 2**31 - 1)):
        assert value_range(op.ArgMax(x, keepdims=0, **attributes), op.constant_value)[:2] == (0, last)


@pytest.mark.parametrize(("fmod", "divisor", "found"), [(None, 7, (0, 6)), (0, 7, (0, 6)), (1, 7, None), (0, -7, None)])
def test_floored_remainders(fmod, divisor, found):
    op = builder()
    rest = value_range(op.Mod(leaf(np.int32), op.const(divisor, np.int32), fmod=fmod), op.constant_value)
    assert (rest.low, rest.high) == (found or (-(2**31), 2**31 - 1))


def test_choices_of_which_one_is_certain():
    op = builder()
    i = op.Clip(leaf(np.int32), op.const(0, np.int32), op.const(4, np.int32))
    five = op.const(5, np.int32)
    for condition, high in ((op.Less(i, five), 4), (op.Less(five, i), 9), (op.Less(i, op.const(4, np.int32)), 9)):
        found = value_range(op.Where(condition, i, op.Add(i, five)), op.constant_value)
        assert found.high == high
