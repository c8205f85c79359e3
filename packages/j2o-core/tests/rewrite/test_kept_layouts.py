"""Changes of layout of kept weights that are no views of the leaf stay nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.graph._constants import Constants
from j2o_core.graph._kept import KeptWeight, value_of
from j2o_core.graph._placement import whole
from j2o_core.graph._values import stamp
from j2o_core.program._pieces import pieces
from j2o_core.rewrite._kept_layouts import store_layouts

WHOLE = np.arange(6, dtype=np.float32).reshape(2, 3)


def ints(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("op_type", "placement", "operands", "shape", "expected"),
    [
        ("Reshape", whole((2, 3)), [ints(6)], (6,), ["Neg"]),
        ("Reshape", whole((2, 3)).transposed([1, 0]), [ints(6)], (6,), ["Reshape", "Neg"]),
        ("Slice", whole((2, 3)), [ints(0), ints(2), ints(1), ints(1)], (2, 2), ["Neg"]),
        ("Slice", whole((2, 3)), [ints(2), ints(0), ints(1), ints(-1)], (2, 2), ["Slice", "Neg"]),
    ],
    ids=["view", "copy", "slice", "backwards"],
)
def test_views_are_stored(op_type, placement, operands, shape, expected):
    constants = Constants()
    weight = value_of(KeptWeight("w", WHOLE, placement, WHOLE.dtype))
    node = ir.Node("", op_type, [weight, *map(constants.get, operands)])
    stamp(node.outputs[0], np.float32, shape)
    result = ir.Node("", "Neg", [node.outputs[0]])
    graph = ir.Graph([], result.outputs, nodes=[node, result])
    store_layouts(graph, constants)
    assert [one.op_type for one in graph] == expected


@pytest.mark.filterwarnings("ignore:w has numbers beyond the range of float16")  # 1e30
@pytest.mark.parametrize(
    ("old", "new", "stored"),
    [
        (np.float32, "float16", True),
        (np.float32, "bfloat16", True),
        (np.float32, "float64", False),
        (np.float64, "bfloat16", False),  # NumPy rounds twice
        (np.float32, "int8", False),
    ],
)
def test_casts_to_narrower_floats_are_stored(old, new, stored):
    array = np.array([[1e30, 1 / 3, -0.0], [2.0**-25, np.nan, 7]], old)
    weight = value_of(KeptWeight("w", array, whole(array.shape), array.dtype))
    node = ir.Node("", "Cast", [weight], [ir.AttrInt64("to", ir.DataType[new.upper().replace("FLOAT64", "DOUBLE")])])
    stamp(node.outputs[0], jnp.dtype(new), array.shape)
    result = ir.Node("", "Neg", [node.outputs[0]])
    graph = ir.Graph([], result.outputs, nodes=[node, result])
    store_layouts(graph, Constants())
    assert [one.op_type for one in graph] == (["Neg"] if stored else ["Cast", "Neg"])
    if stored:
        tensor = result.inputs[0].const_value
        want = np.asarray(jnp.asarray(array).astype(new))
        assert tensor.numpy().dtype == want.dtype
        assert b"".join(pieces(tensor)) == tensor.tobytes() == want.tobytes()


def stored(op_type, operands, shape, *, output=False):
    """The operators of a graph with a change of layout of a weight, after it is stored where it can be."""
    constants = Constants()
    weight = value_of(KeptWeight("w", WHOLE, whole(WHOLE.shape), WHOLE.dtype))
    node = ir.Node("", op_type, [weight, *map(constants.get, operands)])
    stamp(node.outputs[0], np.float32, shape)
    result = ir.Node("", "Neg", [node.outputs[0]])
    graph = ir.Graph([], [*result.outputs, *(node.outputs if output else ())], nodes=[node, result])
    store_layouts(graph, constants)
    return [one.op_type for one in graph]


(B,) = jax.export.symbolic_shape("B")


@pytest.mark.parametrize(
    ("operands", "shape", "output"),
    [([ints(6)], (6,), True), ([ints(-1, 3)], (B, 3), False), ([ints(6)], None, False)],
    ids=["output", "symbolic", "unknown"],
)
def test_layouts_that_stay(operands, shape, output):
    assert stored("Reshape", [ints(6)], (6,)) == ["Neg"]
    assert stored("Reshape", operands, shape, output=output) == ["Reshape", "Neg"]


def test_a_slice_of_unknown_shape_stays():
    assert stored("Slice", [ints(0), ints(1), ints(0)], (1, 3)) == ["Neg"]
    assert stored("Slice", [ints(0), ints(1), ints(0)], None) == ["Slice", "Neg"]
