"""Whole programs: control flow, derivatives, layers, images and attention."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import Spec, check

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
WEIGHTS = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4, 4)), jnp.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("mapped", [False, True])
def test_switch_with_any_number_of_branches(count: int, mapped: bool) -> None:
    """One, two, five: with an index out of range as well, and one index per row."""
    branches = [lambda x, k=k: jnp.sin(x) * k + k for k in range(count)]
    fn = lambda i, x: lax.switch(i, branches, x)  # noqa: E731
    if mapped:
        index = np.array([-1, 0, count - 1, count, 99], np.int32)
        check(jax.vmap(fn), index, np.linspace(0, 1, 15, dtype=np.float32).reshape(5, 3), opsets=(21,))
    else:
        runs = [(np.int32(i), X[0]) for i in (-5, *range(count + 1))]
        check(fn, Spec((), np.int32), (3,), args=runs, opsets=(18,))


@jax.custom_jvp
def clipped(x: jax.Array) -> jax.Array:
    return jnp.clip(x, -0.5, 0.5)


clipped.defjvp(lambda primals, tangents: (clipped(*primals), 2 * tangents[0]))


@jax.custom_vjp
def reversed_gradient(x: jax.Array) -> jax.Array:
    return jnp.sin(x)


reversed_gradient.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))


def solved(x: jax.Array) -> jax.Array:
    matrix = jnp.eye(3) * 4 + x[:, None] * x
    return lax.custom_linear_solve(
        lambda v: matrix @ v, x, lambda _, b: jnp.linalg.solve(matrix, b), lambda _, b: jnp.linalg.solve(matrix.T, b)
    )


def rooted(x: jax.Array) -> jax.Array:
    return lax.custom_root(
        lambda y: y**2 - x**2 - 1,
        jnp.ones(3),
        lambda f, y: lax.fori_loop(0, 6, lambda _, y: y - f(y) / (2 * y), y),
        lambda g, y: y / g(jnp.ones(3)),
    )


@jax.jit
def nested(x: jax.Array) -> jax.Array:
    inner = jax.jit(lambda y: jnp.tanh(y) * x.sum())
    return jax.jit(lambda y: inner(inner(y)))(x)


FLOW: dict[str, Callable[[jax.Array], object]] = {
    "cond": lambda x: lax.cond(x.sum() > 0.1, lambda x: (x * 2, 1), lambda x: (x - 1, 0), x),
    "while": lambda x: lax.while_loop(
        lambda s: s[1].max() < 5, lambda s: (s[0] + 1, s[1] * 1.5), (0, jnp.abs(x) + 0.1)
    ),
    "fori": lambda x: lax.fori_loop(0, 5, lambda i, s: s * 0.9 + i, x),
    "fori from values": lambda x: lax.fori_loop(
        jnp.int32(x[0] * 0), jnp.int32(4 + x[0] * 0), lambda i, s: s * 0.9 + i, x
    ),
    "scan": lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), jnp.zeros(()), x),
    "scan in reverse": lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), jnp.zeros(()), x, reverse=True),
    "scan without carry": lambda x: lax.scan(lambda c, v: (None, v * 2), None, x)[1],
    "scan without inputs": lambda x: lax.scan(lambda c, _: (c * 0.5, c), x, None, length=4),
    "scan over weights": lambda x: lax.scan(lambda h, w: (jnp.tanh(h @ w), h), jnp.tile(x[:1], 4), WEIGHTS),
    "associative scan": lambda x: lax.associative_scan(jnp.multiply, x + 2),
    "associative scan in reverse": lambda x: lax.associative_scan(lambda a, b: a * 0.5 + b, x, reverse=True),
    "map": lambda x: lax.map(lambda v: jnp.sin(v) * v, x),
    "map in batches": lambda x: lax.map(lambda v: jnp.sin(v) * v, x, batch_size=2),
    "custom_jvp": clipped,
    "custom_vjp": reversed_gradient,
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)) * x),
    "custom_linear_solve": solved,
    "custom_root": rooted,
    "nested jit": nested,
    "loop in a branch in a loop": lambda x: lax.fori_loop(
        0, 3, lambda i, s: lax.cond(i > 1, lambda s: lax.fori_loop(0, 2, lambda j, t: t + j, s), lambda s: s * 2, s), x
    ),
}
LOOPS_WITHOUT_GRADIENT = {"while", "fori from values"}


@pytest.mark.parametrize("name", FLOW)
def test_control_flow(name: str) -> None:
    """Each kind of control flow, as it is."""
    check(FLOW[name], (3,), opsets=(18, 26))


@pytest.mark.parametrize("name", FLOW)
def test_derivatives_and_batches_of_control_flow(name: str) -> None:
    """`vmap`, `jvp` and, where JAX has it, `value_and_grad` of each kind, a batch of any size."""
    fn = FLOW[name]

    def total(x: jax.Array) -> jax.Array:
        return sum(leaf.sum() for leaf in jax.tree.leaves(fn(x)) if jnp.issubdtype(leaf.dtype, jnp.floating))

    def derivatives(x: jax.Array) -> object:
        if name == "custom_vjp":
            return jax.vmap(jax.value_and_grad(total))(x)
        forward = jax.vmap(lambda x: jax.jvp(total, (x,), (jnp.cos(x),)))(x)
        if name in LOOPS_WITHOUT_GRADIENT:
            return forward
        return forward, jax.vmap(jax.value_and_grad(total))(x)

    check(derivatives, ("B", 3), sizes=(1, 4), opsets=(21,))


@pytest.mark.parametrize("transform", ["grad", "value_and_grad", "jvp", "vjp", "hessian", "jacfwd", "vmap of grad"])
def test_derivatives_of_convolution_and_pooling(transform: str) -> None:
    """A small network with convolution, max and average pooling and a norm."""
    kernel = jnp.asarray(np.random.default_rng(1).standard_normal((2, 1, 3, 3)), jnp.float32)

    def net(x: jax.Array) -> jax.Array:
        x = lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME")
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        x = lax.reduce_window(jnp.tanh(x), 0.0, lax.add, (1, 1, 2, 2), (1, 1, 1, 1), "SAME")
        return jnp.sum(x**2)

    functions = {
        "grad": jax.grad(net),
        "value_and_grad": jax.value_and_grad(net),
        "jvp": lambda x: jax.jvp(net, (x,), (jnp.ones_like(x),)),
        "vjp": lambda x: jax.vjp(net, x)[1](jnp.float32(2)),
        "hessian": jax.hessian(net),
        "jacfwd": jax.jacfwd(net),
        "vmap of grad": jax.vmap(jax.grad(net)),
    }
    shape = (1, 4, 4) if transform != "vmap of grad" else ("B", 1, 4, 4)
    check(functions[transform], shape, opsets=(21,))


def test_a_training_loop_runs_in_onnx_runtime() -> None:
    """Adam in plain JAX, twenty steps, each fed with the results of the one before: the losses are JAX's."""
    model = eqx.nn.MLP(2, 1, 8, 1, activation=jnp.tanh, key=jax.random.key(0))
    weights, static = eqx.partition(model, eqx.is_array)

    def step(weights: object, mean: object, var: object, count: jax.Array, x: jax.Array, y: jax.Array) -> object:
        def loss(weights: object) -> jax.Array:
            return jnp.mean((jax.vmap(eqx.combine(weights, static))(x) - y) ** 2)

        value, gradient = jax.value_and_grad(loss)(weights)
        count = count + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        var = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, var, gradient)
        rate = 0.01 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, mean, var)
        return weights, mean, var, count, value

    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [weights, zeros, zeros, np.float32(0)]
    program = j2o_core.to_onnx(step, [*state, ("B", 2), ("B", 1)])
    compiled = jax.jit(step)
    mine, theirs = state, state
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal((16, 2)).astype(np.float32)
        y = x[:, :1] * x[:, 1:]
        *mine, loss = program(*mine, x, y)
        *theirs, wanted = compiled(*theirs, x, y)
        np.testing.assert_allclose(loss, wanted, rtol=1e-4)


def test_layers_of_equinox_in_inference_and_with_state() -> None:
    """Attention with rotary heads, any batch and length; a norm with state; a check that is dropped with a warning.

    Every layer has a test of its own in j2o-plugins-equinox.
    """
    attention = eqx.nn.MultiheadAttention(2, 8, key=jax.random.key(0))
    rope = eqx.nn.RotaryPositionalEmbedding(4)

    def heads(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jax.vmap(rope, 1, 1)(q), jax.vmap(rope, 1, 1)(k), v

    def attend(x: jax.Array) -> jax.Array:
        return attention(x, x, x, process_heads=heads)

    check(jax.vmap(attend), ("B", 5, 8), opsets=(21, 23))
    check(jax.vmap(lambda x: attention(x, x, x)), ("B", "T", 8), opsets=(21, 23))

    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="ema")
    leaves = len(jax.tree.leaves(eqx.filter(state, eqx.is_array)))
    arrays, rest = eqx.partition(state, eqx.is_array)

    def run(arrays: object, x: jax.Array) -> object:
        y, new = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, eqx.combine(arrays, rest))
        return y, eqx.filter(new, eqx.is_array)

    program = check(run, arrays, (4, 3), opsets=(21,))
    assert len(program.input_names) == leaves + 1
    assert len(program.output_names) == leaves + 1
    with pytest.warns(UserWarning, match="never below zero"):
        j2o_core.to_onnx(lambda x: eqx.error_if(x, (x < 0).any(), "never below zero") + 1, [(3,)])


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize(method: str, antialias: bool) -> None:
    """Every method, up and down, any axes, a batch of any size, and under `vmap`."""
    resize = lambda x, *sizes: jax.image.resize(x, (*x.shape[:-3], *sizes), method, antialias=antialias)  # noqa: E731
    check(lambda x: (resize(x, 9, 3, 2), resize(x, 2, 6, 2), resize(x, 4, 6, 5)), ("B", 4, 6, 2), opsets=(21,))
    check(jax.vmap(lambda x: resize(x, 7, 2, 3)), ("B", 4, 6, 2), opsets=(18,))


ATTENTION: dict[str, dict[str, object]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
    "window": {"local_window_size": (1, 2)},
    "causal window": {"is_causal": True, "local_window_size": (2, 0)},
    "lengths": {"query_seq_lengths": np.array([3, 5], np.int32), "key_value_seq_lengths": np.array([2, 5], np.int32)},
    "mask": {"mask": np.random.default_rng(0).random((2, 1, 5, 5)) > 0.3},
    "bias": {"bias": np.random.default_rng(0).standard_normal((1, 4, 5, 5)).astype(np.float32)},
}


@pytest.mark.parametrize("case", ATTENTION)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_attention(case: str, key_heads: int) -> None:
    """Masks, bias, windows and lengths, with as many, with grouped and with single heads for keys and values."""
    attend = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, **ATTENTION[case])  # noqa: E731
    check(attend, (2, 5, 4, 8), (2, 5, key_heads, 8), (2, 5, key_heads, 8), opsets=(21, 23))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_operator_from_opset_23_on(causal: bool) -> None:
    """With a symbolic batch and length, and under `vmap`."""
    attend = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=causal)  # noqa: E731
    program = check(attend, *[("B", "T", 4, 8)] * 3, opsets=(21, 23))
    assert [node.op_type for node in program.model.graph].count("Attention") == 1
    mapped = check(jax.vmap(attend), *[("B", 2, 5, 4, 8)] * 3, opsets=(23,))
    assert [node.op_type for node in mapped.model.graph].count("Attention") == 1
