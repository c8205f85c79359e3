"""No fusion takes for its pattern a graph that differs from it in one operand, constant, attribute, use or dtype.

The graphs of the programs of `test_near_misses` and of some more, before any rewrite. After the fusions, ONNX Runtime
gives the numbers that it gave before, and there are no more nodes than core's rewrites alone leave. Some changes of
each graph, the same on every machine, by default; `J2O_EXAMPLES=1000` tries all of them.
"""

import os
import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from jax import lax

import j2o_core
import j2o_plugins_jax
from j2o_core import RewriteError
from j2o_core.graph._nonfinite import difference
from j2o_core.rewrite._driver import Steps, counted
from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

from .graph_near_misses import changed, near_misses
from .test_near_misses import (
    BIAS,
    CAUSAL,
    FILTER,
    INDICES,
    MATRIX,
    MODERATE,
    PROGRAMS,
    QKV,
    SPECIAL,
    VARIANCE,
    WEIGHT,
    attention,
    group_norm,
    normal,
    normal_over,
    numbers,
    softmax_behind,
)

ort = pytest.importorskip("onnxruntime")

_COUNT = int(os.environ.get("J2O_EXAMPLES") or 40)
_OPTIONS = ort.SessionOptions()
_OPTIONS.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
_OPTIONS.log_severity_level = 4
_OPTIONS.intra_op_num_threads = 1

RNG = np.random.default_rng(1)
INTEGERS = RNG.integers(-(2**31), 2**31 - 1, (2, 6000), np.int32)
WORDS = INTEGERS.view(np.uint32)


def outside(x, i, j):
    return jnp.where((i >= 0) & (i < 4) & (j >= 0) & (j < 4), x[i, j], 0.5)


MORE = {
    "relu": (lambda x: jnp.maximum(x, 0), MATRIX),
    "thresholded relu": (lambda x: jnp.where(x > 0.5, x, 0), MATRIX),
    "numbers of a vector": (lambda x, i: x[i], numbers(40), RNG.integers(0, 40, (5, 8), np.int32)),
    "choices among integers": (lambda x, y: jnp.where(x > y, x, y + 3), *INTEGERS),
    "rotated bits": (lambda x: (x << 13) | (x >> 19), WORDS),
    "quotient of a power of two": (lambda x: x // 8, WORDS),
    "floored quotients": (lambda x: x // 7, INTEGERS),
    "few floored quotients": (lambda x: jnp.maximum(x, -1000) // 7, INTEGERS[:, :20]),
    "remainders": (lambda x: x % 7, INTEGERS),
    "few remainders": (lambda x: lax.rem(jnp.maximum(x, 0), 7), INTEGERS[:, :20]),
    "pairs outside an image": (
        lambda x, i, j: outside(x, i, j) - outside(x, i + 1, j + 1),
        MATRIX,
        *(np.resize(INDICES[places], 600) for places in ([0, 1, 2, 3, 4], [3, 1, 4])),
    ),
    "an update at a vector": (lambda x, v: x.at[v[0], v[1]].add(1), numbers(40, 30), np.int32([3, -2])),
    "short spans": (lambda x, y: x[:, None] * y, numbers(1000), numbers(1000, 3)),
    "short spans inside": (lambda x, y: x[:, None] + y, numbers(400, 3), numbers(400, 2, 3)),
    "outer products": (lambda x, y: x[..., None] @ y[..., None, :], numbers(500, 2), numbers(500, 3)),
    "products of few numbers": (lambda x, y: jnp.einsum("nij,nj->ni", x, y), numbers(500, 3, 2), numbers(500, 2)),
    "scaled product": (lambda x: ((x @ MATRIX + WEIGHT) * WEIGHT - WEIGHT) / 3, MATRIX),
    "transposed product": (lambda x: (MATRIX @ x.T).T, MATRIX),
    "repeated constant": (lambda x: x * np.broadcast_to(WEIGHT[:, None, None], (1, 4, 3, 3)), numbers(2, 4, 3, 3)),
}
IMAGE, CUBE = numbers(1, 4, 4, 4), numbers(4, 4, 4)
LAST = ("NHWC", "OIHW", "NHWC")


def conv(x, dimension_numbers=("NCHW", "OIHW", "NCHW")):
    return lax.conv_general_dilated(x, FILTER, (1, 1), "SAME", dimension_numbers=dimension_numbers)


def gate(x, h, place):
    return x @ GATES[0][place] + h @ GATES[1][place] + BIAS * place


GATES = numbers(2, 4, 4, 4) * np.float32(0.5)


def lstm(carry, x):
    h, c = carry
    i, o, f = (jax.nn.sigmoid(gate(x, h, place)) for place in range(3))
    c = f * c + i * jnp.tanh(gate(x, h, 3))
    h = o * jnp.tanh(c)
    return (h, c), h


def gru(h, x):
    z, r = (jax.nn.sigmoid(gate(x, h, place)) for place in range(2))
    n = jnp.tanh(x @ GATES[0][2] + r * (h @ GATES[1][2] + WEIGHT) + BIAS)
    return (h := (1 - z) * n + z * h), h


def gru_of_reset_state(h, x):
    z, r = (jax.nn.sigmoid(gate(x, h, place)) for place in range(2))
    return (h := h + z * (jnp.tanh(gate(x, r * h, 2)) - h)), h


def rnn(h, x):
    return (h := jnp.tanh(gate(x, h, 1))), h


def inverse(x):
    return lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def scanned(step, *states):
    return lambda x: lax.scan(step, tuple(WEIGHT for _ in range(states[0])) if states else WEIGHT, x)[1]


SEQUENCE = numbers(70, 4)
MORE |= {
    "elu by exponential": (lambda x: jnp.where(x >= 0, x, 2 * (jnp.exp(jnp.minimum(x, 0)) - 1)), MODERATE),
    "elu by selections": (lambda x: jnp.where(x >= 0, x, jnp.exp(jnp.where(x > 0, 0, x)) - 1), MODERATE),
    "leaky relu by a factor": (lambda x: x * jnp.where(x >= 0, 1, 0.1), MODERATE),
    "leaky relu by a maximum": (lambda x: jnp.maximum(x, 0.1 * x), MODERATE),
    "lstm": (scanned(lstm, 2), SEQUENCE),
    "gru": (scanned(gru), SEQUENCE),
    "gru of a reset state": (scanned(gru_of_reset_state), SEQUENCE),
    "rnn": (scanned(rnn), SEQUENCE),
}
MORE |= {
    "group norm of given weights": (
        lambda x, w, b: normal(x.reshape(2, 2, -1)).reshape(x.shape) * w[:, None, None] + b[:, None, None],
        *(numbers(2, 4, 4, 4), WEIGHT, BIAS),
    ),
    "group norm with two weights": (lambda x: group_norm(x, 4) * WEIGHT[:, None, None], numbers(2, 4, 4, 4)),
    "attention of scaled queries": (lambda q, k, v: jax.nn.softmax((q * 0.5) @ k.mT) @ v, *QKV),
    "attention of a scaled bias": (attention(lambda scores: (scores + MATRIX) * 2), *QKV),
    "attention of scaled scores": (attention(lambda scores: scores * VARIANCE[:, None]), *QKV),
    "attention of masked weights": (
        lambda q, k, v: jax.nn.softmax(q @ k.mT, where=CAUSAL) @ v,
        *QKV,
    ),
}


def causal(scores):
    rows, columns = (lax.broadcasted_iota(np.int32, scores.shape[-2:], axis) for axis in (0, 1))
    return columns <= rows


# Sizes of the inputs of some, that are arrays of theirs at run time.
SYMBOLIC = {
    "computed causal attention": [("B", "T", 4)] * 3,
}
# Programs that look like what is fused, and are something else.
BESIDE = {
    "softmax of a vector behind a product": (lambda x, v: softmax_behind(x, v), WEIGHT, MATRIX),
    "computed causal attention": (
        lambda q, k, v: attention(lambda scores: jnp.where(causal(scores), scores, -jnp.inf))(q, k, v),
        *QKV,
    ),
    "several rows times a vector": (lambda x: (x @ WEIGHT) * BIAS, CUBE),
    "a bias too large for its scale": (
        lambda x: (conv(x) + BIAS[:, None, None] * 1e25) * (WEIGHT[:, None, None] * 1e25),
        IMAGE,
    ),
    "channels that are split": (lambda x: conv(x).reshape(2, 4, 2, 4) * WEIGHT[:, None, None], IMAGE),
    "several scales for the image": (lambda x: conv(x, LAST) * numbers(2, 1, 1, 1, 4), IMAGE),
    "a convolution that grows": (lambda x: conv(x) * numbers(3, 4, 1, 1), IMAGE),
    "a bias of rows": (lambda x: (x @ MATRIX + WEIGHT[:, None]) * BIAS, MATRIX),
    "transposed in front": (lambda x, y: (x.mT @ y.mT).transpose(1, 0, 2), CUBE, CUBE),
    "transposed batches": (lambda x: (MATRIX @ x.mT).mT, CUBE),
    "a transposed product of inputs": (lambda x, y: (x @ y).T, MATRIX, MATRIX),
    "a transposed matrix times a matrix": (lambda x, y: x.T @ y, MATRIX, MATRIX),
    "a turned cube times a vector": (lambda x, y: x.transpose(2, 1, 0) @ y, CUBE, WEIGHT),
    "bits of negative numbers": (lambda x, y: (x * 8) | jnp.minimum(y, 7), *INTEGERS),
    "bits above a table": (lambda x: (x << 8) | np.arange(6000, dtype=np.uint32), WORDS),
    "quotient of several": (lambda x: x // np.array([[8], [4]], np.uint32), WORDS),
    "quotient of one": (lambda x: lax.div(x, np.uint32(1)), WORDS),
    "one word shifted by many places": (lambda x: np.uint32(77) << (x & 7), WORDS),
    "words shifted by many places": (lambda x: x << np.arange(6000, dtype=np.uint32) % 8, WORDS),
    "words beyond the width": (lambda x: lax.shift_left(x, np.uint32(32)), WORDS),
    "choices by row": (lambda x, y: jnp.where(x[:, :1] > 0, x, y), *(INTEGERS.reshape(120, 100),) * 2),
    "indices that are clipped to less": (lambda x, i: x[jnp.clip(jnp.where(i < 0, i + 4, i), 0, 2)], MATRIX, INDICES),
    "indices that are clipped from one": (lambda x, i: x[jnp.clip(jnp.where(i < 0, i + 4, i), 1, 3)], MATRIX, INDICES),
    "indices below one": (lambda x, i: x[jnp.clip(jnp.where(i < 1, i + 4, i), 0, 3)], MATRIX, INDICES),
    "indices by others": (
        lambda x, i, j: x[jnp.clip(jnp.where(j < 0, i + 4, i), 0, 3)],
        MATRIX,
        INDICES,
        INDICES[::-1],
    ),
    "indices along a wrong axis": (
        lambda x, i: jnp.take(x, jnp.clip(jnp.where(i < 0, i + 4, i), 0, 3), axis=1, mode="clip"),
        numbers(4, 6),
        INDICES,
    ),
    "small indices": (
        lambda x, i: x[jnp.clip(jnp.where(i < 0, i + np.int8(120), i), 0, 119)],
        numbers(120, 2),
        np.array([0, -1, -120, 100, 127], np.int8),
    ),
    "broadcast indices": (
        lambda x, i: x[jnp.clip(jnp.where(i[:, None] < 0, i + 4, i), 0, 3)],
        MATRIX,
        INDICES,
    ),
    "clipped indices that are read": (lambda x, i: (x[i], jnp.clip(jnp.where(i < 0, i + 4, i), 0, 3)), MATRIX, INDICES),
    "maximum of numbers": (lambda x: jnp.maximum(jnp.tanh(x), 2.0), SPECIAL),
    "NaN replaced": (lambda x: jnp.where(x == x, x, 7), SPECIAL),
    "quotient of nothing": (lambda x: x // np.zeros(0, np.uint32), WORDS[0, :1]),
    "bytes shifted": (lambda x: x << np.uint8(3), WORDS.view(np.uint8)),
    "a wide weight of one row": (lambda x, y: x[:, None] * y, numbers(40), numbers(40, 3)),
    "products of integers": (
        lambda x, y: x[..., None, :] @ y[..., None],
        *(RNG.integers(-9, 9, (2, 40, 3), np.int32),) * 2,
    ),
    "group norm of rows": (lambda x: group_norm(x, 2) * numbers(4, 1), numbers(2, 4, 4, 4)),
    "layer norm of another mean": (lambda x, y: (x - y.mean(-1, keepdims=True)) * inverse(x), MATRIX, MATRIX.T),
    "layer norm of another variance": (lambda x, y: (x - x.mean(-1, keepdims=True)) * inverse(y), MATRIX, MATRIX.T),
    "layer norm of columns": (lambda x: normal_over(x, (0,)) * WEIGHT, MATRIX),
    "rms norm of another": (lambda x, y: y * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5), MATRIX, MATRIX.T),
    "attention of one query": (lambda q, k, v: jax.nn.softmax(q @ k.mT) @ v, WEIGHT, MATRIX, MATRIX.T),
    "attention over queries": (lambda q, k, v: jax.nn.softmax(q @ k.mT, -2) @ v, *QKV),
    "attention of other masked weights": (
        lambda q, k, v: jnp.where(CAUSAL.T, jax.nn.softmax(jnp.where(CAUSAL, q @ k.mT, -jnp.inf)), 0) @ v,
        *QKV,
    ),
    "attention by several biases": (attention(lambda scores: scores + numbers(3, 1, 4, 4)), *QKV),
    "a window that is not counted": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 1, 1), "SAME") / numbers(3, 1, 1, 1, 1),
        IMAGE,
    ),
}
# More nodes: they are faster, or a value that is read elsewhere too is computed twice.
MORE_NODES = {
    *(
        "choices among integers",
        "choices by row",
        "numbers of a vector",
        "pairs outside an image",
        "places outside an image",  # where they are not, numbers of a vector
        "short spans",
        "short spans inside",
        "outer products",
        "products of few numbers",
    ),
    "indices from the end",
    "indices that are filled in",
    "floored quotients",
    "few floored quotients",
    "remainders",
    "silu by exponential",
    "group norm",
    "group norm of given weights",
    "group norm of rows",
    "group norm of the last axis",
    "clipped indices that are read",
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


def session(proto):
    return ort.InferenceSession(proto.SerializeToString(), _OPTIONS)


def rewritten(proto, opset, *plugins):
    """The model, and whether a rule of a plugin was applied to it."""
    model, steps = ir.from_proto(proto), Steps()
    token = counted.set(steps)
    try:
        rewrite_model(model, Target("onnxruntime", opset), *plugins)
    finally:
        counted.reset(token)
    return model, any(rule.plugin in plugins for rule, _ in steps.applied)


# (relative, of the largest number): what an operator rounds otherwise than the nodes that it stands for.
_TOLERANCES = {"float16": (1e-2, 1e-2), "float32": (1e-3, 1e-4), "float64": (1e-9, 1e-10)}


def assert_alike(before, after):
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    if before.dtype.kind == "f":
        rtol, of_largest = _TOLERANCES[before.dtype.name]
        scale = np.max(np.abs(before[np.isfinite(before)].astype(np.float64)), initial=1e-30)
        np.testing.assert_allclose(after, before, rtol=rtol, atol=of_largest * scale)
    else:
        np.testing.assert_array_equal(after, before)


def edges(array):
    """Other numbers: rows far from zero, whole numbers, NaN."""
    if array.dtype.kind != "f" or array.ndim == 0:
        return array
    other = array.copy()
    if array.ndim < 2:
        other[-1:] = np.nan
        return other
    other[-1] *= 400
    other[0] = np.round(other[0])
    return other


def check(model, change, feeds, opset, *, may_add_nodes):
    """Compares a graph with itself before the fusions. Returns whether one is applied, None for what is no model."""
    found = changed(model, change)
    if found is None:
        return None
    proto, more = found
    try:
        model, fused = rewritten(proto, opset, j2o_plugins_jax.plugin)
    except RewriteError:
        try:
            session(proto).run(None, fed(proto, feeds | more))
        except Exception:  # noqa: BLE001 - sizes that do not fit each other, a dtype without a kernel
            return None
        raise
    if not fused:
        return False
    # Softmax of far numbers that float16 rounds is anything.
    is_half = any(value.type.tensor_type.elem_type == ir.DataType.FLOAT16 for value in proto.graph.input)
    given = [
        fed(proto, {name: numbers(array) for name, array in (feeds | more).items()})
        for numbers in ((np.asarray,) if is_half else (np.asarray, edges))
    ]
    try:
        before = session(proto)
        expected = [before.run(None, one) for one in given]
    except Exception:  # noqa: BLE001 - as above
        return None
    after = session(ir.to_proto(model))
    only_finite = any(map(difference, model.graph.all_nodes()))
    for one, results in zip(given, expected, strict=True):
        for old, new in zip(results, after.run(None, one), strict=True):
            # Products in float16 overflow where an operator that computes them in float32 does not.
            if np.isfinite(old).all() or (not only_finite and old.dtype != np.float16):
                assert_alike(old, new)
    if not may_add_nodes and opset >= 23:  # below, what runtimes fuse may be written with more nodes
        assert count(model) <= count(rewritten(proto, opset)[0])
    return True


def count(model):
    """Nodes, those that run once for each turn of a loop counted ten times."""
    return sum(1 if node.graph is model.graph else 10 for node in model.graph.all_nodes())


def fed(proto, feeds):
    """Numbers for the inputs, of their dtypes and static sizes."""
    result = {}
    for value in proto.graph.input:
        kind, array = value.type.tensor_type, feeds[value.name]
        cut = tuple(slice(size.dim_value if size.HasField("dim_value") else None) for size in kind.shape.dim)
        with np.errstate(all="ignore"):
            result[value.name] = array[cut].astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return result


ALL = PROGRAMS | MORE | BESIDE


def cases(program):
    """The change, and what checks the graph with it: without any, then some of all, in an order of their own."""
    fn, *args = ALL[program]
    specs = SYMBOLIC.get(program, args)
    models = [(graph_of(fn, specs, opset), opset) for opset in (23, 18)]
    inputs = models[0][0].graph.inputs
    feeds = {x.name: np.asarray(leaf) for x, leaf in zip(inputs, jax.tree.leaves(args), strict=True)}
    changes = [(*change, *model) for model in models for change in near_misses(model[0])]
    random.Random(program).shuffle(changes)
    for what, change, model, opset in [("nothing", lambda graph: {}, *models[0]), *changes]:
        yield f"{what}, opset {opset}", partial(check, model, change, feeds, opset, may_add_nodes=program in MORE_NODES)


@pytest.mark.parametrize("program", ALL)
def test_near_misses_of_graphs_compute_what_they_did(program):
    done, fused = 0, None
    for what, one in cases(program):
        try:
            with np.errstate(all="ignore"):
                found = one()
        except Exception as error:
            error.add_note(f"The change is: {what}.")
            raise
        fused = found if fused is None else fused
        done += found is not None  # the others are no models
        if done > _COUNT:
            break
    assert fused or program in (*BESIDE, "packed projections"), "no fusion is applied to the program itself"
