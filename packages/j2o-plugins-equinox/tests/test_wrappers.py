"""Equinox's wrappers of functions and its bounded and checkpointed loops: each exports, and agrees with JAX."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core

X = np.array([0.3, -0.2, 0.5], np.float32)
W = np.linspace(-0.5, 0.5, 9, dtype=np.float32).reshape(3, 3)
MLP = eqx.nn.MLP(3, 3, 8, 1, key=jax.random.key(0))


def while_loop(kind, **options):
    def fn(x):
        return eqxi.while_loop(
            lambda carry: carry[0] < 5,
            lambda carry: (carry[0] + 1, jnp.tanh(carry[1] @ W) + x),
            (0, x),
            kind=kind,
            **options,
        )[1]

    return fn


def scan(kind, **options):
    rows = jnp.arange(6.0)[:, None] * jnp.ones(3)
    return lambda x: eqxi.scan(lambda c, y: (jnp.tanh(c @ W) + y, c.sum()), x, rows, kind=kind, **options)


def gradient(fn):
    return jax.grad(lambda x: jnp.sum(fn(x)))


def buffers(x):
    def body(carry):
        step, rows = carry
        return step + 1, rows.at[step].set(x[step])

    start = (0, jnp.zeros(3))
    return eqxi.while_loop(lambda c: c[0] < 3, body, start, kind="checkpointed", max_steps=3, buffers=lambda c: c[1])[1]


@eqx.filter_custom_vjp
def custom(x):
    return jnp.sin(x)


custom.def_fwd(lambda perturbed, x: (jnp.sin(x), x))
custom.def_bwd(lambda residual, cotangent, perturbed, x: 2 * cotangent * jnp.cos(residual))

LOOPS = {
    "lax": while_loop("lax"),
    "bounded": while_loop("bounded", max_steps=8),
    "checkpointed": while_loop("checkpointed", max_steps=8),
    "checkpointed without a bound": while_loop("checkpointed", checkpoints=4),
    "buffers": buffers,
    "gradient of bounded": gradient(while_loop("bounded", max_steps=8)),
    "gradient of checkpointed": gradient(while_loop("checkpointed", max_steps=8)),
    "scan": scan("lax"),
    "checkpointed scan": scan("checkpointed", checkpoints=3),
    "gradient of a checkpointed scan": gradient(lambda x: scan("checkpointed", checkpoints=3)(x)[0]),
}
WRAPPERS = {
    "filter_jit": eqx.filter_jit(MLP),
    "filter_grad": eqx.filter_grad(lambda x: MLP(x).sum()),
    "filter_value_and_grad": lambda x: eqx.filter_value_and_grad(lambda mlp: mlp(x).sum())(MLP),
    "filter_checkpoint": gradient(eqx.filter_checkpoint(MLP)),
    "filter_closure_convert": lambda x: eqx.filter_closure_convert(MLP, x)(x),
    "filter_custom_vjp": gradient(custom),
    "filter_jvp": lambda x: eqx.filter_jvp(MLP, (x,), (x,)),
    "filter_vjp": lambda x: eqx.filter_vjp(MLP, x)[1](x),
    "filter_hessian": eqx.filter_hessian(lambda x: MLP(x).sum()),
    "filter_jacfwd": eqx.filter_jacfwd(MLP),
    "filter_jacrev": eqx.filter_jacrev(MLP),
    "filter_vmap": lambda x: eqx.filter_vmap(MLP)(jnp.stack([x, 2 * x])),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name):
    j2o_core.to_onnx(LOOPS[name], [(3,)]).verify(X)


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers(name):
    j2o_core.to_onnx(WRAPPERS[name], [(3,)]).verify(X)
