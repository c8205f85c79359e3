"""`lax.select` by one truth value is an If in ONNX Runtime, with the numbers of JAX, whatever is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

STATE = (
    np.array([1.5, -0.0, np.nan, np.inf], np.float32),
    np.array([3, -(2**31), 2**31 - 1], np.int32),
    np.array([True, False]),
    np.array(7, np.uint32),
)


def fresh(state):
    x, n, flags, seed = state
    return (
        jnp.tanh(jnp.exp(jnp.sin(x))) / x,
        lax.rem(n * 3, 5) - n,
        ~flags & (x[0] > 1),
        jax.random.bits(jax.random.wrap_key_data(jnp.stack([seed, seed + 1]))),
    )


def reset(done, state):
    return jax.tree.map(lambda new, old: lax.select(done, new, old), fresh(state), state)


def operators(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("opset", [18, 21, 25])
@pytest.mark.parametrize("target", ["onnxruntime", "onnxruntime-1.31"])
def test_a_state_that_may_be_reset(done, opset, target):
    program = check(reset, np.array(done), STATE, opsets=(opset,), target=target)
    assert set(operators(program)) <= {"If", "Greater", "Cast"}


@pytest.mark.parametrize("done", [True, False])
def test_signs_of_zeros_are_kept(done):
    """Of both operands: the runtime's Where loses that of a negative zero of the first one."""
    x, y = np.array([0.0, -0.0, 1.0], np.float32), np.array([-0.0, -0.0, 0.0], np.float32)

    def fn(done, x, y):
        chosen = [lax.select(done, x, y), lax.select(done, y, x), lax.select(done, -x, -y)]
        return [jnp.signbit(one) for one in chosen]

    assert "If" in operators(check(fn, np.array(done), x, y, opsets=(21,)))


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("unroll", [True, False])
def test_in_a_scan(length, unroll):
    def turn(carry, item):
        state = reset(item > 0, carry)
        return state, state[0]

    check(lambda xs: lax.scan(turn, STATE, xs), np.linspace(-1, 1, length, dtype=np.float32), unroll=unroll)


def test_in_a_while_loop():
    def turn(state):
        count, x, y = state
        stop = count % 3 == 0
        new = jnp.sin(jnp.exp(x)) + y, jnp.cos(y * 2) - x
        return count + 1, lax.select(stop, new[0], x), lax.select(stop, new[1], y)

    x = np.arange(3, dtype=np.float32)
    check(lambda n, x: lax.while_loop(lambda state: state[0] < n, turn, (0, x, -x)), np.int32(7), x)


@pytest.mark.parametrize("done", [True, False])
def test_symbolic_sizes(done):
    def fn(done, x, y):
        padded = jnp.pad(x, ((0, 1), (0, 0)))
        return lax.select(done, jnp.exp(jnp.sin(x)) * x.shape[0], y), lax.select(done, padded[1:], y), padded.shape[0]

    check(fn, np.array(done), Spec(("N", 2)), Spec(("N", 2)))


@pytest.mark.parametrize("done", [True, False])
def test_gradients(done):
    def loss(x, done):
        y = lax.select(done, jnp.sin(jnp.exp(x)) * x, jnp.cos(x))
        return jnp.sum(lax.select(done, y * y, jnp.tanh(y)))

    check(jax.grad(loss), np.array([0.5, -1.0, 2.0], np.float32), np.array(done))


def test_several_truth_values_stay_choices():
    done = np.array([True, False, True])
    states = tuple(np.stack([part] * 3) for part in STATE)
    assert "If" not in operators(check(jax.vmap(reset), done, states, opsets=(21,)))


@pytest.mark.parametrize("index", [0, 5, -9])
def test_an_element_outside_that_is_not_chosen(index):
    """An index is clamped or filled as JAX does it, in the branch as well."""

    def fn(x, i):
        outside = (i < 0) | (i >= x.shape[0])
        taken = x.at[i].get(mode="fill", fill_value=-1)
        return lax.select(outside, jnp.sin(x) + jnp.exp(x), x * taken), lax.select(outside, x, jnp.roll(x, 1))

    check(fn, np.arange(4, dtype=np.float32), np.int32(index))
