import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from jax import export as jax_export

from j2o_core.graph._values import shape_of, stamp


@pytest.fixture
def x():
    result = ir.Value(name="x")
    stamp(result, np.float32, (2, 3, 4))
    return result


def ints(op, values):
    return op.const(values, np.int64)


def test_what_does_nothing_is_not_added(op, x):
    assert op.Identity(x) is x
    assert op.Cast(x, to=ir.DataType.FLOAT) is x
    assert op.Transpose(x, perm=(0, 1, 2)) is x
    assert op.Reshape(x, ints(op, [2, 3, 4])) is x
    assert op.Expand(x, ints(op, [2, 3, 4])) is x
    assert op.Concat(x, axis=0) is x
    assert not list(op.nodes)


def test_pairs_cancel(op, x):
    assert op.Transpose(op.Transpose(x, perm=(1, 2, 0)), perm=(2, 0, 1)) is x
    assert op.Reshape(op.Reshape(x, ints(op, [6, 4])), ints(op, [2, 3, 4])) is x
    assert op.Squeeze(op.Unsqueeze(x, ints(op, [0])), ints(op, [0])) is x
    assert op.Not(op.Not(op.Less(x, x))) is op.Less(x, x)


def test_the_first_power_is_the_number(op, x):
    assert op.Pow(x, op.const(1, np.int32)) is x
    assert op.Pow(x, op.const(2.0, x)) is not x
    assert op.Pow(x, op.const([1.0, 1.0, 1.0, 1.0], x)) is x
    assert op.Pow(x, op.const(np.ones((2, 1, 1, 1)), x)).producer().op_type == "Pow"
    assert op.Pow(x, op.const([1.0, 2.0, 1.0, 1.0], x)) is not x


def test_a_choice_that_is_known_is_the_chosen(op, x):
    flags, row = ir.Value(name="flags"), ir.Value(name="row")
    stamp(flags, np.bool_, (2, 1, 4))
    stamp(row, np.float32, (4,))
    yes, no = op.const([True] * 4), op.const(False)
    assert op.Where(flags, x, x) is x
    assert op.Where(yes, x, row) is x
    assert op.Where(no, row, x) is x
    assert not list(op.nodes)
    op.Where(flags, row, row)  # which has more axes than the row
    op.Where(yes, row, x)
    op.Where(op.const([True, True, False, True]), x, row)
    op.Where(op.const(np.ones((3, 1, 1, 1), bool)), x, row)
    op.Where(op.const(np.zeros((0, 1, 1, 1), bool)), x, row)
    assert [node.op_type for node in op.nodes] == ["Where"] * 5


def test_a_choice_of_symbolic_sizes_is_known_where_the_sizes_are_the_same(op):
    batch, other = jax_export.symbolic_shape("B, C")
    values = [ir.Value(name=name) for name in "xpqr"]
    for value, dtype, size in zip(values, (np.float32, *[np.bool_] * 3), (batch, batch, other, 1), strict=True):
        stamp(value, dtype, (size,))
    x, same, unknown, one = values
    assert op.Where(same, x, x) is x
    assert op.Where(one, x, x) is x
    assert op.Where(unknown, x, x) is not x


def test_a_transpose_that_reverses_the_axes_says_so(op, x):
    reverse = op.Transpose(x)
    assert tuple(reverse.producer().attributes["perm"].as_ints()) == (2, 1, 0)
    assert op.Transpose(reverse) is x


def test_pairs_merge(op, x):
    twice = op.Transpose(op.Transpose(x, perm=(1, 2, 0)), perm=(1, 2, 0))
    assert twice.producer().inputs[0] is x
    assert tuple(twice.producer().attributes["perm"].as_ints()) == (2, 0, 1)
    merged = op.Reshape(op.Reshape(x, ints(op, [6, 4])), ints(op, [24]))
    assert merged.producer().inputs[0] is x


def test_only_a_cast_goes_there_and_back(op):
    counts = ir.Value(name="counts")
    stamp(counts, np.int32, (7,))
    sizes = op.Cast(op.Shape(counts), to=ir.DataType.INT32)
    assert sizes is not counts
    assert sizes.producer().op_type == "Cast"


def test_casts_there_and_back_only_if_nothing_is_lost(op, x):
    assert op.Cast(op.Cast(x, to=ir.DataType.DOUBLE), to=ir.DataType.FLOAT) is x
    narrow = op.Cast(op.Cast(x, to=ir.DataType.FLOAT16), to=ir.DataType.FLOAT)
    assert narrow is not x
    integer = op.Cast(op.Cast(x, to=ir.DataType.INT64), to=ir.DataType.FLOAT)
    assert integer is not x


@pytest.mark.parametrize(
    ("dtype", "is_held"), [(np.int32, True), (np.uint32, True), (np.int64, False), (np.uint64, False)]
)
def test_float64_holds_integers_of_53_bits(op, dtype, is_held):
    number = ir.Value(name="number")
    stamp(number, dtype, (3,))
    back = op.Cast(op.Cast(number, to=ir.DataType.DOUBLE), to=number.dtype)
    assert (back is number) == is_held


def test_transposes_that_move_only_ones_are_reshapes(op):
    y = ir.Value(name="y")
    stamp(y, np.float32, (2, 1, 4))
    moved = op.Transpose(y, perm=(1, 0, 2))
    assert moved.producer().op_type == "Reshape"
    assert shape_of(moved) == (1, 2, 4)


def test_a_symbolic_size_is_not_taken_for_one(op):
    (batch,) = jax_export.symbolic_shape("B")
    y = ir.Value(name="y")
    stamp(y, np.float32, (batch, 4))
    assert op.Transpose(y, perm=(1, 0)).producer().op_type == "Transpose"
    assert op.Expand(y, ints(op, [4, 4])) is not y


def test_empty_operands_of_concat_go(op, x):
    empty = op.const(np.zeros((2, 0, 4)), np.float32)
    assert op.Concat(empty, x, axis=1) is x
    both = op.Concat(x, empty, op.Sin(x), axis=1)
    assert len(both.producer().inputs) == 2
    assert shape_of(op.Concat(empty, empty, axis=1)) == (2, 0, 4)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda op, c: op.Transpose(c, perm=(1, 0)), np.arange(6).reshape(2, 3).T),
        (lambda op, c: op.Reshape(c, op.const([3, -1], np.int64)), np.arange(6).reshape(3, 2)),
        (lambda op, c: op.Unsqueeze(c, op.const([1], np.int64)), np.arange(6).reshape(2, 1, 3)),
        (
            lambda op, c: op.Squeeze(op.Unsqueeze(c, op.const([0], np.int64)), op.const([0], np.int64)),
            np.arange(6).reshape(2, 3),
        ),
        (lambda op, c: op.Cast(c, to=ir.DataType.FLOAT), np.arange(6).reshape(2, 3)),
        (lambda op, c: op.Concat(c, c, axis=0), np.tile(np.arange(6).reshape(2, 3), (2, 1))),
        (lambda op, c: op.Gather(c, op.const([-1], np.int64), axis=1), np.array([[2], [5]])),
        (lambda op, c: op.Mul(c, op.Add(c, c)), 2 * np.arange(6).reshape(2, 3) ** 2),
    ],
    ids=range(8),
)
def test_layout_and_small_integers_of_constants_are_computed(op, make, expected):
    constant = op.const(np.arange(6).reshape(2, 3), np.int64)
    result = make(op, constant)
    assert not list(op.nodes)
    np.testing.assert_array_equal(
        op.constant_value(result), np.arange(6).reshape(2, 3) if expected is None else expected
    )


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16"), ("bfloat16", "float16")])
def test_constants_of_bfloat16_are_cast(op, dtypes):
    before, after = (np.dtype(getattr(ml_dtypes, dtype, dtype)) for dtype in dtypes)
    array = np.array([1.1, -np.inf, 300.7, -0.0], before)
    result = op.constant_value(op.Cast(op.const(array), to=ir.DataType.from_numpy(after)))
    assert result.dtype == after
    np.testing.assert_array_equal(result, array.astype(np.float32).astype(after))
    assert not list(op.nodes)


def test_float64_is_not_rounded_to_bfloat16_by_numpy_which_rounds_twice(op):
    op.Cast(op.const(np.array([1 + 2**-8 + 2**-40])), to=ir.DataType.BFLOAT16)
    assert [node.op_type for node in op.nodes] == ["Cast"]


def test_a_place_of_joined_values_is_a_place_of_one_of_them(op):
    one, two = ir.Value(name="one"), ir.Value(name="two")
    stamp(one, np.float32, (3, 1))
    stamp(two, np.float32, (3, 2))
    joined = op.Concat(one, two, one, axis=-1)
    before = list(op.nodes)
    assert op.Gather(joined, op.const(0, np.int64), axis=1) is op.Squeeze(one, op.const([1], np.int64))
    assert op.Gather(joined, op.const(2, np.int64), axis=1) is op.Gather(two, op.const(1, np.int64), axis=1)
    assert op.Gather(joined, op.const(3, np.int64), axis=1) is op.Squeeze(one, op.const([1], np.int64))
    assert [node.op_type for node in op.nodes[len(before) :]] == ["Squeeze", "Gather"]
    before = list(op.nodes)
    op.Gather(joined, op.const(1, np.int64), axis=0)
    assert op.Gather(joined, op.const([2, 1], np.int64), axis=1).producer().inputs[0] is two
    assert op.Gather(joined, op.const([1, 2], np.int64), axis=1) is two
    assert op.Gather(joined, op.const([0, 1], np.int64), axis=1).producer().inputs[0] is joined
    assert [node.op_type for node in op.nodes[len(before) :]] == ["Gather", "Gather", "Gather"]


@pytest.mark.parametrize(
    ("first", "places", "expected"),
    [
        ([1, 2, 0], [2, 0, 1], None),
        ([1, 2, 0], [1, 2, 0], [2, 0, 1]),
        ([1, 2, 0], 1, 2),
        ([0, -1], [[1, 0], [-1, -2]], [[-1, 0], [-1, 0]]),
    ],
    ids=["all in order", "in another order", "one", "from behind"],
)
def test_places_of_places_are_places(op, first, places, expected):
    x = ir.Value(name="x")
    stamp(x, np.float32, (2, 3))
    result = op.Gather(op.Gather(x, op.const(first, np.int64), axis=-1), op.const(places, np.int64), axis=1)
    if expected is None:
        assert result is x
    else:
        assert result.producer().inputs[0] is x
        np.testing.assert_array_equal(op.constant_value(result.producer().inputs[1]), expected)


@pytest.mark.parametrize(
    ("first", "places", "axis"),
    [([1, 0], 1, 0), ([[1, 0]], 0, 1), ([1, 0], [2], 1), ([1, 0], [-3], 1)],
    ids=["another axis", "an array of places", "outside", "outside from behind"],
)
def test_places_of_places_stay(op, first, places, axis):
    x = ir.Value(name="x")
    stamp(x, np.float32, (2, 3))
    gathered = op.Gather(x, op.const(first, np.int64), axis=1)
    assert op.Gather(gathered, op.const(places, np.int64), axis=axis).producer().inputs[0] is gathered


def test_what_would_fail_or_round_is_left_to_the_runtime(op):
    constant = op.const([1.5, 300.0], np.float32)
    op.Cast(constant, to=ir.DataType.INT8)
    op.Gather(constant, op.const([7], np.int64), axis=0)
    op.Add(constant, constant)
    assert [node.op_type for node in op.nodes] == ["Cast", "Gather", "Add"]


def test_a_transposed_weight_keeps_its_name(op):
    weight = op.constants.get(np.ones((2, 3), np.float32), "layer.weight")
    assert op.constants.hint(op.Transpose(weight, perm=(1, 0))) == "layer.weight"


def test_integer_sums_wrap_as_in_onnx(op):
    largest = op.const(np.iinfo(np.int64).max, np.int64)
    with np.errstate(over="ignore"):
        result = op.Add(largest, op.const(1, np.int64))
    assert op.constant_value(result) == np.iinfo(np.int64).min


def test_zero_in_a_reshape_means_copy_unless_allowed(op):
    empty = ir.Value(name="e")
    stamp(empty, np.float32, (2, 0))
    result = op.Reshape(empty, ints(op, [0, 5]), allowzero=1)
    assert shape_of(result) in ((0, 5), None)
    assert op.nodes[0].attributes["allowzero"].as_int() == 1


def test_reshapes_through_a_zero_size(export):
    program = export(lambda x: x.reshape(0, 7).reshape(3, 0), [(0, 3)])
    assert program(np.zeros((0, 3), np.float32)).shape == (3, 0)
