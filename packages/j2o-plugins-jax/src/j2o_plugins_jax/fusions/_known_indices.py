"""Choices and clamps that ranges decide, of integers and, for Max and Min, of floats.

before: Where(Less(i, 0), Add(i, n), i), i the counter of a loop, 0 or more    after: i
before: Clip(i, 0, n - 1), i less than n                                       after: i
before: Max(x, 0), x 0 or more                                                 after: x
before: Where(Equal(i, i), x, y)                                               after: x

Alike with other comparisons, and what is computed from them. Counters of loops and their items have ranges
(`rw.range`): what JAX traces around `x[i]`, so that an index counts from the end and none is outside, goes where it
does nothing.
Declines where the result is broadcast.
"""

from __future__ import annotations

import onnx_ir as ir

from j2o_core import Rewriter

from .._plugin import plugin


@plugin.rewrite("Where")
def _choice(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    condition, *choices = node.inputs
    test = condition.producer() if condition is not None else None
    if test is None or (test.op_type not in ("And", "Or", "Not") and not rw.is_integer(test.inputs[0])):
        return None
    equal, known = rw.producer(condition, "Equal"), rw.range(condition)
    if equal is not None and equal.inputs[0] is equal.inputs[1]:
        chosen = choices[0]
    elif known.low == known.high:
        chosen = choices[known.low == 0]
    else:
        return None
    return chosen if chosen is not None and rw.same_shape(chosen, node.outputs[0]) else None


@plugin.rewrite("Clip")
def _clip(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    x, *ends = node.inputs
    if len(ends) != 2:
        return None
    low, high = map(rw.scalar, ends)
    return x if low is not None and high is not None and rw.range(x).within(low, high) else None


@plugin.rewrite("Max", "Min")
def _larger_or_smaller(rw: Rewriter, node: ir.Node) -> ir.Value | None:
    for one, other in rw.both_ways(node):
        if one is None or not rw.same_shape(one, node.outputs[0]):
            continue
        ranges = high, low = [rw.range(value) for value in ((one, other) if node.op_type == "Max" else (other, one))]
        zeros = any(x.negative_zero for x in ranges)  # the order of zeros of both signs
        is_known = high.low > low.high or (high.low == low.high and not zeros)
        if is_known and not rw.range(other).nan:
            return one
    return None
