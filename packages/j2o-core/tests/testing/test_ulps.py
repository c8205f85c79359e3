"""`check` compares what is no sum in units in the last place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import VerifyError

SMALL = np.logspace(-12, 1, 40, dtype=np.float32)


def lowered(plugin, primitive, rule):
    plugin.lowerings.pop(primitive, None)
    plugin.lowering(primitive, ignores=("accuracy",))(rule)


def test_exp_less_one_is_not_expm1(plugin, check):
    lowered(plugin, "expm1", lambda ctx, x: ctx.op.Sub(ctx.op.Exp(x), ctx.const(1, x)))
    check(jnp.expm1, SMALL, opsets=[21], ulps=None)
    with pytest.raises(VerifyError, match="units in the last place"):
        check(jnp.expm1, SMALL, opsets=[21])


def test_small_numbers_are_not_flushed_to_zero(plugin, check):
    def flushed(ctx, x):
        result = ctx.op.Sin(x)
        return ctx.op.Where(ctx.op.Less(ctx.op.Abs(result), ctx.const(1e-5, x)), ctx.const(0, x), result)

    lowered(plugin, "sin", flushed)
    check(jnp.sin, SMALL, opsets=[21], ulps=None)
    with pytest.raises(VerifyError, match=r"up to 1.67e\+07 units"):
        check(jnp.sin, SMALL, opsets=[21])


def test_a_product_by_a_number_a_little_off(plugin, check):
    lowered(plugin, "neg", lambda ctx, x: ctx.op.Mul(x, ctx.const(np.float32(-1 - 6e-7), x)))
    with pytest.raises(VerifyError, match=r"expected within 4"):
        check(jax.lax.neg, SMALL, opsets=[21])
    check(jax.lax.neg, SMALL, opsets=[21], ulps=12)


@pytest.mark.parametrize(
    "fn",
    [
        jnp.sin,  # right rules
        lambda x: jnp.sin(x * 1000),  # changes as much as its operand, a thousand times
        lambda x: 1.0 - x,  # cancels near 1
        lambda x: jnp.cos(x) - 1,
        lambda x: x.astype(np.float16) * 3,
        lambda x: x * x - x,  # a sum of two computed numbers is not looked at
    ],
)
def test_what_is_right_passes(check, fn):
    check(fn, SMALL, opsets=[21])


def test_where_jax_itself_cancels_a_better_graph_passes(plugin, check):
    """1 - cos(x) is 0 below 1e-4 in float32; twice the square of a sine is right."""

    @plugin.rewrite("Sub")
    def _better(rw, node):
        cosine = rw.producer(node.inputs[1], "Cos")
        half = rw.op.Sin(rw.op.Mul(cosine.inputs[0], rw.const(0.5, node.outputs[0])))
        return rw.op.Mul(rw.op.Mul(half, half), rw.const(2, node.outputs[0]))

    check(lambda x: 1 - jnp.cos(x), SMALL[SMALL > 1e-4], opsets=[21])
