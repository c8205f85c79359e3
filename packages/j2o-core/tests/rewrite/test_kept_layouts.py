"""Changes of layout of kept weights that are no views of the leaf stay nodes."""

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.graph._constants import Constants
from j2o_core.graph._kept import KeptWeight, value_of
from j2o_core.graph._values import stamp
from j2o_core.rewrite._kept_layouts import store_layouts

WHOLE = np.arange(6, dtype=np.float32).reshape(2, 3)


def ints(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("op_type", "part", "operands", "shape", "expected"),
    [
        ("Reshape", WHOLE, [ints(6)], (6,), ["Neg"]),
        ("Reshape", WHOLE.T, [ints(6)], (6,), ["Reshape", "Neg"]),
        ("Slice", WHOLE, [ints(0), ints(2), ints(1), ints(1)], (2, 2), ["Neg"]),
        ("Slice", WHOLE, [ints(2), ints(0), ints(1), ints(-1)], (2, 2), ["Slice", "Neg"]),
    ],
    ids=["view", "copy", "slice", "backwards"],
)
def test_views_are_stored(op_type, part, operands, shape, expected):
    constants = Constants()
    weight = value_of(KeptWeight("w", WHOLE, part))
    node = ir.Node("", op_type, [weight, *map(constants.get, operands)])
    stamp(node.outputs[0], np.float32, shape)
    result = ir.Node("", "Neg", [node.outputs[0]])
    graph = ir.Graph([], result.outputs, nodes=[node, result])
    store_layouts(graph, constants)
    assert [one.op_type for one in graph] == expected
