import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.graph._builder import Builder
from j2o_core.graph._values import shape_of, stamp


def value(shape, dtype=np.float32, name="x"):
    result = ir.Value(name=name)
    stamp(result, dtype, shape)
    return result


def types(op):
    return [node.op_type for node in op.nodes]


def test_both_ways_to_add_a_node(op):
    x = value((2,))
    assert op.Sin(x) is op("Sin", x)
    assert types(op) == ["Sin"]
    with pytest.raises(AttributeError):
        op.sin  # noqa: B018


def test_operands_in_another_order_are_the_same_node(op):
    x, y = value((2,)), value((2,), name="y")
    assert op.Mul(x, y) is op.Mul(y, x)
    assert op.Sub(x, y) is not op.Sub(y, x)
    assert op.Max(x, y) is not op.Max(y, x)


def test_a_node_that_was_removed_is_built_again(op):
    x = value((2,))
    first = op.Sin(x)
    op.nodes.remove(first.producer(), safe=True)
    assert op.Sin(x) is not first
    assert types(op) == ["Sin"]


def test_attributes_are_python_values(op):
    x = value((2, 3))
    op.Softmax(x, axis=np.int64(1))
    op.LeakyRelu(x, alpha=0.5)
    op.Gelu(x, approximate="tanh")
    op.Transpose(x, perm=(1, 0))
    op.Conv(x, x, pads=[0, 0], auto_pad=None)
    op.ConstantOfShape(op.const([2], np.int64), value=np.zeros(1, np.int8))
    op.LSTM(x, x, x, activations=["Tanh"], activation_alpha=[0.5], outputs=3)
    attributes = [{name: attr.value for name, attr in node.attributes.items()} for node in op.nodes]
    assert attributes[:5] == [{"axis": 1}, {"alpha": 0.5}, {"approximate": "tanh"}, {"perm": (1, 0)}, {"pads": (0, 0)}]
    assert op.nodes[5].outputs[0].dtype == ir.DataType.INT8
    assert len(op.nodes[6].outputs) == 3
    with pytest.raises(TypeError, match="attribute axis has no ONNX form"):
        op.Softmax(x, axis=object())


def test_omitted_inputs(op):
    x = value((2,))
    op.Clip(x, None, op.const(1, x))
    assert op.nodes[0].inputs[1] is None


def test_equal_nodes_are_one_and_different_ones_are_not(op):
    x, y = value((2,)), value((2,), name="y")
    assert op.Add(x, y) is op.Add(x, y)
    assert op.Sub(x, y) is not op.Sub(y, x)
    assert op.Softmax(x, axis=0) is not op.Softmax(x, axis=-1)
    assert op.Split(x, axis=0, outputs=2) == op.Split(x, axis=0, outputs=2)
    assert len(op.nodes) == 6


def test_random_nodes_are_never_one(op):
    shape = {"shape": [2], "dtype": 1}
    assert op.RandomNormal(**shape) is not op.RandomNormal(**shape)


def test_nested_builders_see_outer_nodes_but_not_the_reverse(op):
    x = value((2,))
    outer = op.Sin(x)
    inner_nodes = []
    inner = Builder(op.constants, op.target, append=inner_nodes.append, outer=op)
    assert inner.Sin(x) is outer
    cosine = inner.Cos(x)
    assert op.Cos(x) is not cosine


def test_constants_are_stored_once(op):
    assert op.const(2, np.float32) is op.const(2.0, np.float32)
    assert op.const(2, np.float32) is not op.const(2, np.float64)
    assert op.const([2], np.int64) is not op.const(2, np.int64)
    large = np.arange(5000.0)
    assert op.const(large) is op.const(large)
    assert op.const(np.zeros(2), value((1,), np.float16)).dtype == ir.DataType.FLOAT16
    np.testing.assert_array_equal(op.constant_value(op.const([1, 2], np.int8)), [1, 2])
    assert op.constant_value(value((2,))) is None
    assert op.constant_value(None) is None


def test_negative_zero_and_nan_are_constants_of_their_own(op):
    assert op.const(0.0, np.float32) is not op.const(-0.0, np.float32)
    assert op.const(np.nan, np.float32) is op.const(np.nan, np.float32)


def test_metadata_goes_onto_new_nodes(op):
    op.metadata = {"j2o.source": "here"}
    op.Sin(value((2,)))
    assert op.nodes[0].metadata_props == {"j2o.source": "here"}


CASES = [
    (lambda op, x: op.Transpose(x, perm=(1, 0, 2)), (3, 2, 4)),
    (lambda op, x: op.Reshape(x, op.const([6, 4], np.int64)), (6, 4)),
    (lambda op, x: op.Unsqueeze(x, op.const([0, -1], np.int64)), (1, 2, 3, 4, 1)),
    (lambda op, x: op.Squeeze(op.Unsqueeze(x, op.const([1], np.int64)), op.const([1], np.int64)), (2, 3, 4)),
    (lambda op, x: op.ReduceSum(x, op.const([1], np.int64), keepdims=0), (2, 4)),
    (lambda op, x: op.ReduceSum(x, op.const([-1], np.int64)), (2, 3, 1)),
    (lambda op, x: op.ReduceMax(x), (1, 1, 1)),
    (lambda op, x: op.ReduceSum(x, op.const([], np.int64), noop_with_empty_axes=1, keepdims=0), (2, 3, 4)),
    (lambda op, x: op.ArgMax(x, axis=-1, keepdims=0), (2, 3)),
    (lambda op, x: op.MatMul(x, op.Transpose(x, perm=(0, 2, 1))), (2, 3, 3)),
    (lambda op, x: op.Concat(x, x, axis=1), (2, 6, 4)),
    (lambda op, x: op.Split(x, op.const([1, 3], np.int64), axis=2, outputs=2)[1], (2, 3, 3)),
    (lambda op, x: op.Gather(x, op.const([[0], [1]], np.int64), axis=1), (2, 2, 1, 4)),
    (lambda op, x: op.Expand(x, op.const([5, 2, 3, 4], np.int64)), (5, 2, 3, 4)),
    (lambda op, x: op.Shape(x), (3,)),
    (lambda op, x: op.Add(x, op.const(np.ones((3, 1)), x)), (2, 3, 4)),
    (lambda op, x: op.Where(op.Less(x, x), x, op.const(0, x)), (2, 3, 4)),
    (lambda op, x: op.ConstantOfShape(op.const([2, 2], np.int64)), (2, 2)),
]


@pytest.mark.parametrize(("make", "shape"), CASES, ids=range(len(CASES)))
def test_shapes_follow_from_the_operands(op, make, shape):
    result = make(op, value((2, 3, 4)))
    assert shape_of(result) == shape
    assert list(result.shape) == list(shape)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda op, x: op.Less(x, x), "BOOL"),
        (lambda op, x: op.Shape(x), "INT64"),
        (lambda op, x: op.Cast(x, to=ir.DataType.INT8), "INT8"),
        (lambda op, x: op.Where(op.Less(x, x), op.const(1, np.int32), op.const(2, np.int32)), "INT32"),
        (lambda op, x: op.TopK(x, op.const([1], np.int64), outputs=2)[1], "INT64"),
        (lambda op, x: op.CastLike(x, op.const(1, np.int16)), "INT16"),
    ],
    ids=range(6),
)
def test_dtypes_follow_from_the_operator(op, make, dtype):
    assert make(op, value((2, 3))).dtype.name == dtype


def test_shapes_that_do_not_follow_are_unknown(op):
    x = value((2, 3))
    assert shape_of(op.Resize(x, None, value((2,), np.float32))) is None
    assert shape_of(op.Reshape(x, value((2,), np.int64))) is None
