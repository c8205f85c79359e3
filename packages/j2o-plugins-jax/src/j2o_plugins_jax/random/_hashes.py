"""Threefry, the hash of `jax.random`: independent hashes are one.

before: k_0, k_1 = keys[0], keys[1];  Threefry(k_0, counters [3]), Threefry(k_1, counters [2])
after:  Threefry(keys [2, 1], counters [2, 3]), of which the rows are parts

Keys that `split` made are rows of one array, and no hash by one of them depends on a hash by another. A hash is about
115 nodes of a few numbers each, which take no longer for twice as many numbers.
Declines for counters that are no constants, many numbers, and rows of very different lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from j2o_core import LoweringContext, Rewriter
from j2o_core.graph import traits

from .._plugin import plugin

_HASH = "j2o::Threefry2x32"
# Numbers of one hash, beyond which its time is that of the numbers, not of the nodes.
_MANY = 1024
_VIEWS = (*traits.RESHAPES, "Slice", "Split", "Gather")
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


@plugin.lowering("threefry2x32")
def _threefry2x32(ctx: LoweringContext, *operands: ir.Value) -> Any:
    return ctx.op(_HASH, *operands, outputs=2)


@plugin.rewrite(_HASH)
def _hashes(rw: Rewriter, node: ir.Node) -> dict[ir.Value, ir.Value]:
    root = _root(rw, node.inputs[0])
    members = _members(rw, root, node)
    if root is None or len(members) < 2:
        return dict(zip(node.outputs, _threefry_2x32(rw, *node.inputs), strict=True))
    sizes = [rw.size(member.outputs[0]) or 0 for member in members]
    flat = rw.reshape(root, (math.prod(rw.shape(root) or ()),))
    keys = [rw.op.Gather(flat, rw.const(places[:, None]), axis=0) for places in np.array([*members.values()]).T]
    counters = np.zeros((2, len(members), max(sizes)), np.uint32)
    for row, (member, size) in enumerate(zip(members, sizes, strict=True)):
        for place, counter in enumerate(member.inputs[2:]):
            counters[place, row, :size] = np.broadcast_to(rw.constant(counter), rw.shape(member.outputs[0])).reshape(-1)  # type: ignore[arg-type]
    words = _threefry_2x32(rw, *keys, *map(rw.const, counters))
    found: dict[ir.Value, ir.Value] = {}
    for row, (member, size) in enumerate(zip(members, sizes, strict=True)):
        for output, word in zip(member.outputs, words, strict=True):
            part = rw.cut(rw.cut(word, 0, row, row + 1), 1, 0, size)
            found[output] = rw.reshape(part, rw.shape(output))
    return found


def _threefry_2x32(rw: Rewriter, key_0: Any, key_1: Any, x_0: Any, x_1: Any) -> tuple[ir.Value, ir.Value]:
    """Threefry-2x32 with 20 rounds (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; 2011)."""
    op: Any = rw.op
    upper = rw.constant(x_0)
    if upper is not None and rw.scalar(x_0) is not None and rw.same_shape(x_0, x_1):
        x_0 = rw.const(upper.flat[0])  # one number for those that are equal, as for fewer than 2**32 counters

    def number(value: int) -> Any:
        return op.const(value, np.uint32)

    key = (key_0, key_1, op.BitwiseXor(op.BitwiseXor(key_0, key_1), number(0x1BD11BDA)))
    x_0, x_1 = op.Add(x_0, key_0), op.Add(x_1, key_1)
    for group in range(5):
        for count in _ROTATIONS[group % 2]:
            x_0 = op.Add(x_0, x_1)
            above, below = op.Mul(x_1, number(1 << count)), op.BitShift(x_1, number(32 - count), direction="RIGHT")
            x_1 = op.BitwiseXor(x_0, op.Add(above, below))
        x_0 = op.Add(x_0, key[(group + 1) % 3])
        x_1 = op.Add(x_1, op.Add(key[(group + 2) % 3], number(group + 1)))
    return x_0, x_1


def _root(rw: Rewriter, value: ir.Value | None) -> ir.Value | None:
    """The array that a value is a part of."""
    while (node := rw.producer(value, *_VIEWS)) is not None and all(map(rw.is_weight, node.inputs[1:])):
        value = node.inputs[0]
    return value


def _members(rw: Rewriter, root: ir.Value | None, node: ir.Node) -> dict[ir.Node, list[int]]:
    """The hashes with constant counters whose keys are numbers of a root, and the places of the two in it."""
    size = rw.size(root)
    if root is None or size is None:
        return {}
    places: dict[ir.Value | None, Any] = {root: np.arange(size, dtype=np.int32).reshape(rw.shape(root))}
    members: dict[ir.Node, list[int]] = {}
    queue = [root]
    while queue:
        for user, _ in queue.pop().uses():
            keys = [places[value] for value in user.inputs[:2] if value in places]
            if user.op_type == _HASH and [key.size for key in keys] == [1, 1] and user.graph is node.graph:
                if rw.size(user.outputs[0]) and all(rw.constant(counter) is not None for counter in user.inputs[2:]):
                    members[user] = [key.item() for key in keys]
            elif user.op_type in _VIEWS and user.inputs[0] in places:
                for output, part in zip(user.outputs, _parts(rw, user, places[user.inputs[0]]), strict=False):
                    if output not in places:
                        places[output] = part
                        queue.append(output)
    sizes = [rw.size(member.outputs[0]) or 0 for member in members]
    padded = len(sizes) * max(sizes, default=0)
    return members if node in members and padded <= min(_MANY, 4 * sum(sizes)) else {}  # cost: numbers without use


def _parts(rw: Rewriter, node: ir.Node, x: Any) -> Sequence[Any]:
    """The places of the parts of an array that a node gives, as far as they are known."""
    if node.op_type == "Split":
        sizes = rw.constant(node.inputs[1])
        return [] if sizes is None else np.split(x, np.cumsum(sizes)[:-1], rw.attr(node, "axis", 0))
    part = rw.folded(node, x)
    return [] if part is None else [part]
