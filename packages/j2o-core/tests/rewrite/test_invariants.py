"""Nodes of loop bodies that read outer values only stand in front of the loop, where that is right and no larger."""

import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._values import stamp
from j2o_core.rewrite._invariants import move_invariants
from j2o_core.target import Target

OUTER = {"x": np.float32, "n": np.int64, "h": np.float16, "m": np.float32}
SHAPES = {"m": (300, 1)}


def loop(build, op_type="Loop", wrap=None):
    """The operators outside and inside a loop whose body computes `build(op, carry, **outer)`, after the pass."""
    outer = {name: ir.Value(name=name) for name in OUTER}
    for name, value in outer.items():
        stamp(value, OUTER[name], SHAPES.get(name, (4,)))
    carry = ir.Value(name="carry")
    stamp(carry, np.float32, (4,))
    body = ir.Graph([carry], [], nodes=[], name="body")
    op = Builder(Constants(), Target(None, 21), append=body.append, share=False)
    body.outputs.extend(build(op, carry, **outer))
    node = ir.Node("", op_type, [outer["x"]], [ir.AttrGraph("body", body)])
    if wrap:
        node = ir.Node("", wrap, [outer["x"]], [ir.AttrGraph("body", ir.Graph([], node.outputs, nodes=[node]))])
    graph = ir.Graph(list(outer.values()), node.outputs, nodes=[node])
    move_invariants(graph)
    return [one.op_type for one in graph], [one.op_type for one in body]


@pytest.mark.parametrize("op_type", ["Loop", "Scan"])
def test_a_chain_leaves(op_type):
    def build(op, carry, x, **_):
        return [op.Add(carry, op.Exp(op.Sin(x)))]

    assert loop(build, op_type) == (["Sin", "Exp", op_type], ["Add"])


def test_out_of_two_loops():
    assert loop(lambda op, carry, x, **_: [op.Add(carry, op.Exp(x))], wrap="Loop") == (["Exp", "Loop"], ["Add"])


def test_not_out_of_a_branch():
    assert loop(lambda op, carry, x, **_: [op.Add(carry, op.Exp(x))], wrap="If") == (["If"], ["Add"])


STAYS = {
    "what reads the carry": lambda op, carry, x, **_: [op.Add(op.Exp(carry), x)],
    "a result of the body": lambda op, carry, x, **_: [op.Exp(x)],
    "an integer division": lambda op, carry, n, **_: [op.Add(carry, op.Cast(op.Div(n, n), to=ir.DataType.FLOAT))],
    "an integer remainder": lambda op, carry, n, **_: [op.Add(carry, op.Cast(op.Mod(n, n), to=ir.DataType.FLOAT))],
    "a lookup": lambda op, carry, x, n, **_: [op.Add(carry, op.Gather(x, n))],
    "float16": lambda op, carry, h, **_: [op.Add(carry, op.Cast(op.Sin(h), to=ir.DataType.FLOAT))],
    "a large table": lambda op, carry, m, **_: [op.Add(carry, op.ReduceSum(op.MatMul(m, op.Transpose(m)), keepdims=0))],
    "an operator of another domain": lambda op, carry, x, **_: [op.Add(carry, op("my.domain::Exp", x))],
}


@pytest.mark.parametrize("name", STAYS)
def test_stays(name):
    def build(op, carry, **outer):
        outputs = STAYS[name](op, carry, **outer)
        for value in outputs:
            stamp(value, np.float32, (4,))
        return outputs

    outside, inside = loop(build)
    assert outside in (["Loop"], ["Reshape", "Loop"])  # a transposed column
    assert {"Exp", "Div", "Mod", "Gather", "Sin", "MatMul", "my.domain::Exp"} & set(inside)
