"""The builder leaves large constants, sizes that are not known and places outside of an axis as they are."""

import jax
import numpy as np
import onnx_ir as ir
import pytest
from jax import export as jax_export

from j2o_core import J2oError
from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._infer import infer_shapes
from j2o_core.graph._kept import KeptWeight
from j2o_core.graph._layout import _moved_ones, _reshape_target
from j2o_core.graph._placement import whole
from j2o_core.graph._ranges import value_range
from j2o_core.graph._values import shape_of, stamp
from j2o_core.graph._walk import replace_output
from j2o_core.target import Target

(B,) = jax_export.symbolic_shape("B")


def value(dtype=np.float32, shape=None):
    result = ir.Value(name="v")
    stamp(result, dtype, shape)
    return result


LARGE = np.zeros(70_000, np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda op: op.Cast(op.const(LARGE), to=ir.DataType.INT32),
        lambda op: op.Concat(op.const(LARGE[:40_000]), op.const(LARGE[:40_000]), axis=0),
        lambda op: op.Gather(op.const(LARGE), op.const([1], np.int64)),
        lambda op: op.And(op.const(np.arange(70_000) % 2 == 0), op.const(np.arange(70_000) % 3 == 0)),
        lambda op: op.Add(op.const(LARGE.astype(np.int64)), op.const(1, np.int64)),
    ],
    ids=["Cast", "Concat", "Gather", "And", "Add"],
)
def test_large_constants_are_not_folded(op, make):
    assert op.constant_value(make(op)) is None


@pytest.mark.parametrize("index", [3, -4])
def test_places_outside_of_a_constant_are_not_folded(op, index):
    assert op.constant_value(op.Gather(op.const([1, 2, 3]), op.const([index], np.int64))) is None


def test_a_cast_to_its_own_dtype_gives_a_weight_back(op):
    """Not an equal array without its name; small arrays that are equal are one anyway."""
    weight = op.const(np.arange(2048, dtype=np.float32))
    assert op.Cast(weight, to=ir.DataType.FLOAT) is weight


def test_a_squeeze_of_all_axes_is_folded(op):
    np.testing.assert_array_equal(op.constant_value(op.Squeeze(op.const([[[1], [2]]]))), [1, 2])


@pytest.mark.parametrize(
    ("shapes", "place"),
    [
        ([(2,), (3,)], -1),
        ([(B,), (3,)], 0),
        ([None, None], 0),
        ([(2, 3), (2, 4)], 1),
    ],
    ids=["from behind", "symbolic", "unknown", "another axis"],
)
def test_a_place_of_joined_values_stays(op, shapes, place):
    joined = op.Concat(*(value(shape=shape) for shape in shapes), axis=-1 if shapes[0] is None else len(shapes[0]) - 1)
    assert op.Gather(joined, op.const(place, np.int64), axis=0).producer().inputs[0] is joined


def test_nodes_are_not_shared_where_they_may_go():
    op = Builder(Constants(), Target(None, 21), append=ir.Graph([], [], nodes=[]).append, share=False)
    x = value(shape=(3,))
    assert op.Sin(x) is not op.Sin(x)


def test_the_rank_that_gather_nd_takes_away_has_to_be_known(op):
    inputs = [value(shape=(2, 3)), value(np.int64, (4, B))]
    assert infer_shapes("GatherND", inputs, {}, 1, op.constant_value) == [None]


@pytest.mark.parametrize(("source", "shape"), [((2, B), (B,)), ((B, 2), (B,)), ((2, B), (B, 2)), (None, (B,))])
def test_axes_that_are_more_than_ones_do_not_come_and_go(source, shape):
    assert _moved_ones(source, shape) is None


def test_axes_of_size_1_come_and_go():
    assert _moved_ones((1, B, 3), (B, 1, 3)) == ([0], [1])
    assert _moved_ones((1, B, 3), (1, B, 1, 3)) == ([], [2])
    assert _moved_ones((1, 1, B), (1, B)) == ([1], [])


def test_a_size_of_0_is_not_a_size_that_stays():
    assert _reshape_target((B, 3), (B, 0)) is None
    assert _reshape_target((B, 3), (B, 1, 3)) == [0, 1, 3]


@pytest.mark.parametrize(("compare", "keeps"), [("Equal", False), ("Greater", True)])
def test_a_choice_that_replaces_zeros_has_none_of_them_negative(op, compare, keeps):
    x = value(shape=(3,))
    chosen = op.Where(op(compare, x, op.const(0, x)), op.const(1, x), x)
    assert value_range(chosen, op.constant_value).negative_zero is keeps


def test_a_comparison_of_another_domain_says_nothing_of_zeros(op):
    x, zero = value(shape=(3,)), op.const(0, np.float32)
    equal = op("my.domain::Equal", x, zero)
    stamp(equal, np.bool_, (3,))
    chosen = op.Where(equal, op.const(1, np.float32), x)
    assert value_range(chosen, op.constant_value).negative_zero


@pytest.mark.parametrize(("shape", "perm"), [((1, B), (1, 0)), ((0, 1), (1, 0))], ids=["symbolic", "empty"])
def test_a_transpose_that_no_constant_shape_replaces(op, shape, perm):
    """In the shape of a Reshape, 0 stands for a size that is there."""
    moved = op.Transpose(value(shape=shape), perm=perm)
    assert moved.producer().op_type == "Transpose"
    assert shape_of(moved) == shape[::-1]


def test_a_slice_of_a_symbolic_axis_has_no_known_shape(op):
    inputs = [value(shape=(2, B)), *(op.const([number], np.int64) for number in (0, 2, 1))]
    assert infer_shapes("Slice", inputs, {}, 1, op.constant_value) == [None]


@pytest.mark.parametrize("shape", [(5, 0), (0, 5), (0,)])
def test_an_empty_weight_in_another_shape_is_no_view(shape):
    assert whole((0,)).reshaped(shape) is None


def test_nodes_with_an_array_as_attribute_are_built_each(op):
    """An array has no hash."""
    shape = op.const([2], np.int64)
    first, second = (op.ConstantOfShape(shape, value=np.ones(1, np.float32)) for _ in range(2))
    assert first is not second


def test_operands_are_values(op):
    with pytest.raises(TypeError, match="input 1 of Add"):
        op.Add(value(shape=(3,)), 3.0)


def test_a_value_that_is_no_output_is_not_replaced_as_one():
    node = ir.node("Neg", [value(shape=(3,))])
    graph = ir.Graph([], [node.outputs[0]], nodes=[node])
    replace_output(graph, value(shape=(3,)), value(shape=(3,)), node)
    assert list(graph) == [node]
    assert list(graph.outputs) == [node.outputs[0]]


def test_a_weight_without_values_has_no_numbers():
    weight = KeptWeight("w", jax.ShapeDtypeStruct((2,), np.float32), whole((2,)), np.dtype(np.float32))
    with pytest.raises(J2oError, match="no values"):
        np.asarray(weight)
