"""No fusion takes for its pattern a graph that differs from it in one operand, constant, attribute, use or dtype.

The graphs of the programs of `test_near_misses` and of some more, before any rewrite. After the fusions, ONNX Runtime
gives the numbers that it gave before, and there are no more nodes than core's rewrites alone leave. Some changes of
each graph, the same on every machine, by default; `J2O_EXAMPLES=1000` tries all of them.
"""

import os
import random

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

import j2o_core
import j2o_plugins_jax
from j2o_core.rewrite._driver import Steps, counted
from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

from .graph_near_misses import changed, near_misses
from .test_near_misses import MATRIX, PROGRAMS, WEIGHT, numbers

ort = pytest.importorskip("onnxruntime")

_COUNT = int(os.environ.get("J2O_EXAMPLES") or 25)
_OPTIONS = ort.SessionOptions()
_OPTIONS.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
_OPTIONS.log_severity_level = 4
_OPTIONS.intra_op_num_threads = 1

RNG = np.random.default_rng(1)
INTEGERS = RNG.integers(-(2**31), 2**31 - 1, (2, 3000), np.int32)
WORDS = INTEGERS.view(np.uint32)

MORE = {
    "relu": (lambda x: jnp.maximum(x, 0), MATRIX),
    "thresholded relu": (lambda x: jnp.where(x > 0.5, x, 0), MATRIX),
    "numbers of a vector": (lambda x, i: x[i], numbers(40), RNG.integers(0, 40, (5, 8), np.int32)),
    "choices among integers": (lambda x, y: jnp.where(x > y, x, y + 3), *INTEGERS),
    "rotated bits": (lambda x: (x << 13) | (x >> 19), WORDS),
    "quotient of a power of two": (lambda x: x // 8, WORDS),
    "short spans": (lambda x, y: x[:, None] * y, numbers(1000), numbers(1000, 3)),
    "short spans inside": (lambda x, y: x[:, None] + y, numbers(400, 3), numbers(400, 2, 3)),
    "outer products": (lambda x, y: x[..., None] @ y[..., None, :], numbers(500, 2), numbers(500, 3)),
    "products of few numbers": (lambda x, y: jnp.einsum("nij,nj->ni", x, y), numbers(500, 3, 2), numbers(500, 2)),
    "scaled product": (lambda x: ((x @ MATRIX + WEIGHT) * WEIGHT - WEIGHT) / 3, MATRIX),
    "transposed product": (lambda x: (MATRIX @ x.T).T, MATRIX),
    "repeated constant": (lambda x: x * np.broadcast_to(WEIGHT[:, None, None], (1, 4, 3, 3)), numbers(2, 4, 3, 3)),
}
# More nodes: they are faster, or a value that is read elsewhere too is computed twice.
MORE_NODES = {
    *("numbers of a vector", "short spans", "short spans inside", "outer products", "products of few numbers"),
    "indices from the end",
    "indices that are filled in",
    "silu by exponential",
    "group norm",
    "group norm of the last axis",
    "biased attention",
    "rotary embedding of halves",
    "rotary embedding of computed tables",
    "packed projections",
}


def graph_of(fn, args, opset):
    """The model of a function before any rewrite."""
    token = counted.set(Steps(0))
    try:
        return j2o_core.to_onnx(fn, list(args), opset=opset, target=None).model
    finally:
        counted.reset(token)


def run(proto, feeds):
    return ort.InferenceSession(proto.SerializeToString(), _OPTIONS).run(None, feeds)


def rewritten(proto, opset, *plugins):
    model = ir.from_proto(proto)
    rewrite_model(model, Target("onnxruntime", opset), *plugins)
    return model


def assert_alike(before, after):
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    if before.dtype.kind == "f":
        # Numbers 300 away from zero are known to 3e-5: their mean and deviation are no nearer.
        scale = np.max(np.abs(before[np.isfinite(before)]), initial=1e-30)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * scale)
    else:
        np.testing.assert_array_equal(after, before)


def check(model, change, feeds, opset, *, may_add_nodes):
    found = changed(model, change)
    if found is None:
        return
    proto, more = found
    feeds = feeds | more
    doubles = {value.name for value in proto.graph.input if value.type.tensor_type.elem_type == ir.DataType.DOUBLE}
    feeds = {name: array.astype(np.float64) if name in doubles else array for name, array in feeds.items()}
    try:
        before = run(proto, feeds)
    except Exception:  # noqa: BLE001 - sizes that do not fit each other, a dtype without a kernel
        return
    model = rewritten(proto, opset, j2o_plugins_jax.plugin)
    for old, new in zip(before, run(ir.to_proto(model), feeds), strict=True):
        assert_alike(old, new)
    if not may_add_nodes:
        assert model.graph.num_nodes() <= rewritten(proto, opset).graph.num_nodes()


@pytest.mark.parametrize("program", [*PROGRAMS, *MORE])
def test_near_misses_of_graphs_compute_what_they_did(program):
    fn, *args = (PROGRAMS | MORE)[program]
    opset = 23 if _COUNT >= 1000 else random.Random(program).choice([21, 23])
    model = graph_of(fn, args, opset)
    feeds = {x.name: np.asarray(leaf) for x, leaf in zip(model.graph.inputs, jax.tree.leaves(args), strict=True)}
    changes = list(near_misses(model))
    if len(changes) > _COUNT:
        changes = random.Random(program).sample(changes, _COUNT)
    for what, change in [("nothing", lambda graph: {}), *changes]:
        try:
            with np.errstate(all="ignore"):
                check(model, change, feeds, opset, may_add_nodes=program in MORE_NODES)
        except Exception as error:
            error.add_note(f"The change is: {what}.")
            raise
