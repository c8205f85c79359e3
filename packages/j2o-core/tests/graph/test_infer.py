"""Dtypes and shapes that core says, against ONNX's own shape inference on random operands."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._infer import broadcast_shapes, may_equal, same_shape
from j2o_core.graph._values import numpy_dtype, shape_of, stamp
from j2o_core.target import Target

F, INT, B = np.float32, np.int64, np.bool_


def axes_of(rng, shape, count=None):
    count = rng.integers(0, len(shape) + 1) if count is None else count
    axes = rng.permutation(len(shape))[:count]
    return np.array([axis - len(shape) if rng.random() < 0.3 else axis for axis in axes], INT)


def thinned(rng, shape):
    """A shape that broadcasts with another."""
    kept = [1 if rng.random() < 0.4 else size for size in shape]
    return tuple(kept[rng.integers(0, len(kept) + 1) :])


def binary(rng, shape):
    op = rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Pow"])
    return op, [(shape, F), (thinned(rng, shape), F)], {"fmod": 1} if op == "Mod" else {}


def comparison(rng, shape):
    return rng.choice(["Equal", "Less", "GreaterOrEqual", "LessOrEqual"]), [(thinned(rng, shape), F), (shape, F)], {}


def where(rng, shape):
    return "Where", [(thinned(rng, shape), B), (shape, INT), (thinned(rng, shape), INT)], {}


def function(rng, shape):
    names = ["Abs", "Exp", "Tanh", "Sigmoid", "Erf", "Softplus", "Gelu", "Softmax", "Elu", "Floor", "IsNaN", "IsInf"]
    return rng.choice(names), [(shape, F)], {}


def logic(rng, shape):
    return rng.choice(["And", "Or", "Xor"]), [(shape, B), (thinned(rng, shape), B)], {}


def cast(rng, shape):
    return "Cast", [(shape, F)], {"to": int(rng.choice([ir.DataType.INT8, ir.DataType.BOOL, ir.DataType.DOUBLE]))}


def transpose(rng, shape):
    return "Transpose", [(shape, F)], {"perm": [int(axis) for axis in rng.permutation(len(shape))]}


def reduction(rng, shape):
    op = rng.choice(["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", "ReduceL2", "ReduceL1"])
    attrs = {"keepdims": int(rng.integers(2)), "noop_with_empty_axes": int(rng.integers(2))}
    return op, [(shape, F), *([axes_of(rng, shape)] if rng.random() < 0.9 else [])], attrs


def arg_reduction(rng, shape):
    axis = int(axes_of(rng, shape, 1)[0])
    return rng.choice(["ArgMax", "ArgMin"]), [(shape, F)], {"axis": axis, "keepdims": int(rng.integers(2))}


def unsqueeze(rng, shape):
    wide = (1,) * (len(shape) + rng.integers(1, 3))
    return "Unsqueeze", [(shape, F), axes_of(rng, wide, len(wide) - len(shape))], {}


def squeeze(rng, shape):
    axes = axes_of(rng, shape)
    sizes = [1 if axis in axes % len(shape) else size for axis, size in enumerate(shape)]
    return "Squeeze", [(tuple(sizes), F), axes], {}


def matmul(rng, shape):
    batch = shape[:-2]
    left = (*thinned(rng, batch), 3, shape[-1]) if rng.random() < 0.8 else (shape[-1],)
    right = (*batch, shape[-1], 5) if rng.random() < 0.8 else (shape[-1],)
    return "MatMul", [(left, F), (right, F)], {}


def concat(rng, shape):
    axis = int(axes_of(rng, shape, 1)[0])
    others = [tuple(9 if place == axis % len(shape) else size for place, size in enumerate(shape)) for _ in range(2)]
    return "Concat", [(shape, F), *((other, F) for other in others)], {"axis": axis}


def gather(rng, shape):
    axis = int(axes_of(rng, shape, 1)[0])
    return "Gather", [(shape, F), ((2, 3)[: rng.integers(0, 3)], INT)], {"axis": axis}


def gather_nd(rng, shape):
    return "GatherND", [(shape, F), ((4, int(rng.integers(1, len(shape) + 1))), INT)], {}


def slices(rng, shape):
    axes = axes_of(rng, shape, rng.integers(1, len(shape) + 1))
    starts, ends = (rng.integers(-6, 7, len(axes)) for _ in range(2))
    steps = rng.choice([-2, -1, 1, 2], len(axes))
    return "Slice", [(shape, F), starts, ends, axes, *([steps] if rng.random() < 0.7 else [])], {}


def pad(rng, shape):
    return "Pad", [(shape, F), rng.integers(0, 3, 2 * len(shape))], {}


def expand(rng, shape):
    return "Expand", [(thinned(rng, shape), F), np.array(shape, INT)], {}


def reshape(rng, shape):
    return "Reshape", [(shape, F), np.array(rng.permutation(shape), INT)], {}


def shape_op(rng, shape):
    ends = {"start": int(rng.integers(-5, 5)), "end": int(rng.integers(-5, 5))}
    return "Shape", [(shape, F)], {name: end for name, end in ends.items() if rng.random() < 0.7}


CASES = [
    *(binary, comparison, where, function, logic, cast, transpose, reduction, arg_reduction, unsqueeze, squeeze),
    *(matmul, concat, gather, gather_nd, slices, pad, expand, reshape, shape_op),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_shapes_and_dtypes_are_those_of_onnx(case):
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(40):
        shape = tuple(int(size) for size in rng.choice([1, 2, 3, 4], rng.integers(1, 5)))
        op_type, operands, attrs = case(rng, shape if case is not matmul else (2, *shape, 3))
        graph = ir.Graph([], [], nodes=[])
        builder = Builder(Constants(), Target(None, 21), append=graph.append, share=False)
        values = [_value(builder, index, operand) for index, operand in enumerate(operands)]
        result = builder(str(op_type), *values, **attrs)
        expected = _inferred(str(op_type), operands, attrs)
        got = shape_of(result)
        assert numpy_dtype(result) == expected[0], (op_type, operands, attrs)
        if got is not None:
            told += 1
            assert tuple(got) == expected[1], (op_type, operands, attrs)
    assert told > 20


def _value(builder, index, operand):
    if isinstance(operand, np.ndarray):
        return builder.const(operand)
    shape, dtype = operand
    value = ir.Value(name=f"x{index}")
    stamp(value, dtype, shape)
    return value


def _inferred(op_type, operands, attrs):
    """(dtype, shape) of the result, by ONNX."""
    inputs, initializers = [], []
    for index, operand in enumerate(operands):
        if isinstance(operand, np.ndarray):
            initializers.append(onnx.numpy_helper.from_array(operand.astype(INT), f"x{index}"))
        else:
            element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(operand[1]))
            inputs.append(onnx.helper.make_tensor_value_info(f"x{index}", element, operand[0]))
    node = onnx.helper.make_node(op_type, [f"x{index}" for index in range(len(operands))], ["y"], **attrs)
    result = onnx.ValueInfoProto(name="y")
    graph = onnx.helper.make_graph([node], "g", inputs, [result], initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0].type
    sizes = tuple(dim.dim_value for dim in inferred.tensor_type.shape.dim)
    return onnx.helper.tensor_dtype_to_np_dtype(inferred.tensor_type.elem_type), sizes


def test_broadcasting_is_numpys():
    rng = np.random.default_rng(1)
    for _ in range(200):
        shape = tuple(int(size) for size in rng.choice([0, 1, 2, 3], rng.integers(0, 4)))
        others = [shape, *(thinned(rng, shape) for _ in range(rng.integers(1, 3)))]
        assert broadcast_shapes(others) == np.broadcast_shapes(*others)
    assert broadcast_shapes([(2,), None]) is None
    assert broadcast_shapes([(2,), (3,)]) is None


def test_shapes_of_other_ranks_differ():
    assert not may_equal((2,), (2, 1))
    assert not may_equal((2, 3), (2, 4))
    assert may_equal((2, 3), (2, 3))
    assert not same_shape((2,), (2, 1))


@pytest.mark.parametrize("hidden", [1, 2, 3, 4])
def test_nothing_is_told_of_a_slice_whose_parts_are_not_all_known(hidden):
    builder = Builder(Constants(), Target(None, 21), append=ir.Graph([], [], nodes=[]).append)
    parts = [builder.const([1]), builder.const([2]), builder.const([0]), builder.const([1])]
    parts[hidden - 1] = _value(builder, hidden, ((1,), INT))
    assert shape_of(builder.Slice(_value(builder, 0, ((4, 5), F)), *parts)) is None
    assert shape_of(builder.Slice(_value(builder, 0, ((4, 5), F)), *parts[:2])) is None


def test_nothing_is_told_of_padding_along_some_axes():
    builder = Builder(Constants(), Target(None, 21), append=ir.Graph([], [], nodes=[]).append)
    x, amounts, axes = _value(builder, 0, ((4, 5), F)), builder.const([1, 1]), builder.const([1])
    assert shape_of(builder.Pad(x, amounts, None, axes)) is None
