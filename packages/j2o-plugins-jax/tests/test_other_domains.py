"""An operator of another domain is kept wherever a rewrite looks for ONNX's operator of the same name.

Each program of the near misses is lowered, one of its nodes is moved to another domain before or after the
rewrites, and the export goes on. A few nodes of each operator by default; `J2O_EXAMPLES=1000` tries all.
"""

import ast
import collections
import os
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

import j2o_core
import j2o_core.rewrite
import j2o_plugins_jax
from j2o_core import to_onnx
from j2o_core.graph._domains import bare
from j2o_core.graph._walk import remove_unused_nodes
from j2o_plugins_jax import plugin

from .test_near_misses import MATRIX, numbers
from .test_near_misses import PROGRAMS as NEAR_MISSES

_COUNT = 1 + int(os.environ.get("J2O_EXAMPLES") or 5) // 5
_DOMAIN = "my.domain"
_HOLDS_GRAPHS = ("If", "Loop", "Scan")
_ONNX = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}


def _of_bits(x, i):
    bits = (i & 3 | 4) ^ lax.shift_left(i, 1)
    return jnp.tile((x > 1) & (x <= 3) | (x < -1) ^ (x == 0), 2), lax.rem(bits, 5), jnp.take_along_axis(i, i % 4, 1)


def _reduced(x):
    return [x - f(x, 1, keepdims=True) for f in (jnp.min, jnp.prod, jnp.argmax, jnp.argmin)]


def _loops(x, w):
    def turn(carry, item):
        return jnp.tanh(carry * jnp.exp(w).sum() + item @ w), carry + jnp.cumsum(w, 0)[0]

    return lax.scan(turn, x[0], jnp.concatenate([x] * 20)), lax.fori_loop(0, 99, lambda i, c: c * jnp.sin(w) + i, x)


def _written(x, places):
    return (
        x.at[1].set(0).at[3].set(x[0]),
        x[0].at[2].set(9).at[3].set(x[1, 1]),
        x.at[places].set(1),
        x[0].at[places].add(1),
    )


def _resized(x, k):
    y = lax.conv_transpose(x, k, (1, 1), "SAME")
    return jax.image.resize(y + jnp.tanh(y), (1, 8, 8, 2), "linear")


PROGRAMS = NEAR_MISSES | {
    "written": (_written, MATRIX, np.array([0, 2], np.int32)),
    "converted": (lambda x: (100 * x).astype(np.int32), numbers(32, 32)),
    "loops": (_loops, MATRIX, MATRIX),
    "bits": (_of_bits, MATRIX, np.arange(16, dtype=np.int32).reshape(4, 4)),
    "pointwise": (lambda x: jnp.round(jnp.floor(x) + jnp.ceil(x) * jnp.sign(x)).T ** 2.5, MATRIX),
    "reduced": (_reduced, MATRIX),
    "turned": (lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME") + 1, numbers(1, 4, 4, 2), numbers(2, 2, 2, 3)),
    "resized": (_resized, numbers(1, 4, 4, 2), numbers(2, 2, 2, 2)),
    "keys": (lambda key: [jax.random.bits(row) for row in jax.random.split(key)], np.arange(2, dtype=np.uint32)),
    "diagonal": (lambda x: jnp.where(np.tri(4, dtype=bool), x, 0)[np.arange(4), np.arange(4)], MATRIX),
    "range": (lambda x: x + lax.iota(np.float32, x.shape[0])[:, None], jax.ShapeDtypeStruct((4, 4), np.float32)),
}
# Operators that rewrites look for and that the lowered programs do not have.
MADE = {
    "BatchNormalization",
    "Elu",
    "Flatten",
    "GRU",
    "If",
    "LSTM",
    "Loop",
    "RNN",
    "Range",
    "Scan",
    "Squeeze",
    "ThresholdedRelu",
    "j2o::Erfc",
}
# They decide between equal numbers: the condition of expm1 below zero goes, whoever computes it.
UNUSED = {(program, name) for program in ("elu", "selu") for name in ("Abs", "GreaterOrEqual")}


@pytest.fixture
def export(monkeypatch):
    """`export(program, place, stage)`: with the node at that place moved; also what the nodes were."""
    rewrite = j2o_core.rewrite.rewrite

    def run(program, place, stage, opset=23, op_type=None):
        fn, *args = PROGRAMS[program]
        names = []

        def moved(lowered, *rest, **options):
            if stage == "rewritten":
                rewrite(lowered, *rest, **options)
            remove_unused_nodes(lowered.graph)
            nodes = [node for node in lowered.graph.all_nodes() if node.op_type not in _HOLDS_GRAPHS]
            names.extend(node.op_type for node in nodes)
            if place is not None:
                nodes[place].op_type, nodes[place].domain = f"{_DOMAIN}::{bare(op_type or names[place])}", _DOMAIN
            return rewrite(lowered, *rest, **options)

        monkeypatch.setattr(j2o_core.rewrite, "rewrite", moved)
        return to_onnx(fn, args, opset=opset), names

    return run


@pytest.mark.parametrize("stage", ["lowered", "rewritten"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_kept(export, program, stage):
    _, names = export(program, None, stage)
    places = list(range(len(names)))
    random.Random(program).shuffle(places)
    tried = collections.Counter()
    for place in places:
        tried[names[place]] += 1
        if tried[names[place]] > _COUNT or (program, names[place]) in UNUSED:
            continue
        exported, _ = export(program, place, stage)
        left = [node.op_type for node in exported.model.graph.all_nodes() if node.domain == _DOMAIN]
        assert left == [bare(names[place])], (place, names[place])
        exported.check()


@pytest.mark.parametrize("op_type", sorted(MADE))
def test_what_rewrites_make_is_kept_in_another_domain(export, op_type):
    for program in random.Random(op_type).sample(sorted(PROGRAMS), 6):
        _, names = export(program, None, "lowered")
        place = random.Random(program).randrange(len(names))
        exported, _ = export(program, place, "lowered", op_type=op_type)
        left = [node.op_type for node in exported.model.graph.all_nodes() if node.domain == _DOMAIN]
        assert left == [bare(op_type)], (program, place, names[place])


def test_programs_have_every_operator_that_rewrites_look_for(export):
    seen = set()
    for program in PROGRAMS:
        for stage, opset in (("lowered", 23), ("rewritten", 18), ("rewritten", 23)):
            seen.update(export(program, None, stage, opset)[1])
    looked_for = {op_type for rule in plugin.rewrites for op_type in rule.op_types}
    for folder in (Path(j2o_core.rewrite.__file__).parent, Path(j2o_plugins_jax.__file__).parent / "fusions"):
        for path in folder.rglob("*.py"):
            looked_for |= {node.value for node in ast.walk(ast.parse(path.read_text())) if _is_operator(node)}
    assert looked_for - seen == MADE


def _is_operator(node):
    return isinstance(node, ast.Constant) and node.value in _ONNX
