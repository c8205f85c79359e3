"""Operators of rules and fusions depend on what the target runs: standard ONNX gets the natural operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import check

PROGRAMS = {
    "Conv": (lambda x, w: lax.conv(x, w, (1, 1), "SAME"), [(1, 2, 8, 8), (3, 2, 3, 3)]),
    "Erf": (jax.scipy.special.erf, [(5,)]),
    "ReduceProd": (jnp.prod, [(5,)], jnp.int64),
    "MaxPool": (lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"), [(1, 2, 8, 8)]),
}
# For tails of Gelu, where JAX's own 1 + erf(x) cancels, see the tests of activations.
NATURAL = PROGRAMS | {"Gelu": (lambda x: jax.nn.gelu(x, approximate=False), [(5,)], jnp.float32)}


@pytest.mark.parametrize("op_type", NATURAL)
def test_standard_onnx_gets_the_natural_operator(op_type):
    fn, shapes, *dtype = NATURAL[op_type]
    with jax.enable_x64(True):
        specs = [jax.ShapeDtypeStruct(shape, *dtype or [jnp.float64]) for shape in shapes]
        program = to_onnx(fn, specs, target=None, opset=23)
    assert op_type in [node.op_type for node in program.model.graph]
    assert len(program.model.graph) <= 3


@pytest.mark.parametrize("op_type", PROGRAMS)
def test_the_runtime_gets_what_it_runs(op_type):
    fn, shapes, *dtype = PROGRAMS[op_type]
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        arrays = [(rng.standard_normal(shape) * 9).astype(*dtype or [jnp.float64]) for shape in shapes]
        check(fn, *arrays, opsets=(18, 23))


def counts(x):
    return lax.fori_loop(0, 4, lambda turn, carry: carry.at[turn % x.shape[0]].set(turn), x)


def climbs(x):
    return lax.while_loop(lambda carry: carry.sum() < 99, lambda carry: carry + 1, x)


@pytest.mark.parametrize("fn", [counts, climbs])
def test_loops_of_standard_onnx_run_in_the_reference_implementation(fn):
    program = to_onnx(fn, [("T", 1)], target=None, opset=23)
    assert "Loop" in [node.op_type for node in program.model.graph]
    assert program.verify().runs
