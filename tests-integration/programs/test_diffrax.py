"""Differential equations solved by diffrax: fixed and adaptive steps, stiff solvers, gradients through the solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import check

diffrax = pytest.importorskip("diffrax")

pytestmark = pytest.mark.filterwarnings("ignore:The run-time check")


def spiral(t: jax.Array, y: jax.Array, rate: jax.Array) -> jax.Array:
    return rate * jnp.tanh(jnp.array([[-0.1, 2.0], [-2.0, -0.1]]) @ y) + 0.1 * jnp.sin(t)


@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.Tsit5(), diffrax.Dopri8()], ids=lambda s: type(s).__name__)
def test_fixed_steps(solver: object) -> None:
    def solve(y0: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(spiral),
            solver,
            t0=0.0,
            t1=2.0,
            dt0=0.1,
            y0=y0,
            args=rate,
            saveat=diffrax.SaveAt(ts=jnp.linspace(0.0, 2.0, 5)),
            stepsize_controller=diffrax.ConstantStepSize(),
        )
        return solution.ys, solution.stats["num_steps"]

    check(solve, (2,), (), opsets=(21,))


@pytest.mark.parametrize("solver", [diffrax.Tsit5(), diffrax.Kvaerno3()], ids=lambda s: type(s).__name__)
def test_adaptive_steps(solver: object) -> None:
    """As many steps as JAX takes, for an explicit solver and for one that solves equations in each step."""

    def solve(y0: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(spiral),
            solver,
            t0=0.0,
            t1=2.0,
            dt0=None,
            y0=y0,
            args=rate,
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-4),
            max_steps=256,
        )
        return solution.ys, solution.stats["num_accepted_steps"]

    # In float32 the errors of the first small steps are rounding, and the next step's size follows from them.
    with jax.enable_x64(True):
        start = jnp.array([1.0, 0.3], jnp.float64), jnp.float64(1.3)
        check(solve, *start, opsets=(21,))


class Field(eqx.Module):
    layers: eqx.nn.MLP

    def __call__(self, t: jax.Array, y: jax.Array, args: None) -> jax.Array:
        return self.layers(y)


def neural_equation() -> tuple[object, object]:
    field = Field(eqx.nn.MLP(2, 2, 8, 1, activation=jax.nn.softplus, key=jax.random.key(0)))

    def solve(field: Field, y0: jax.Array) -> jax.Array:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Heun(),
            t0=0.0,
            t1=1.0,
            dt0=0.25,
            y0=y0,
            saveat=diffrax.SaveAt(ts=jnp.linspace(0.0, 1.0, 4)),
            max_steps=16,
        ).ys

    return field, solve


def test_a_neural_equation_on_a_batch() -> None:
    field, solve = neural_equation()
    check(jax.vmap(lambda y0: solve(field, y0)), ("B", 2), opsets=(21,))


def test_the_gradient_of_a_neural_equation() -> None:
    field, solve = neural_equation()
    weights, static = eqx.partition(field, eqx.is_array)

    def gradient(y0: jax.Array, target: jax.Array) -> object:
        return jax.grad(lambda w: jnp.mean((solve(eqx.combine(w, static), y0) - target) ** 2))(weights)

    check(gradient, (2,), (4, 2), opsets=(21,))


def test_a_stochastic_equation_follows_its_key() -> None:
    def solve(key: jax.Array, y0: jax.Array) -> jax.Array:
        motion = diffrax.VirtualBrownianTree(0.0, 1.0, tol=0.01, shape=(2,), key=key)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, y, args: -y), diffrax.ControlTerm(lambda t, y, args: 0.3 * jnp.eye(2), motion)
        )
        return diffrax.diffeqsolve(terms, diffrax.Euler(), t0=0.0, t1=1.0, dt0=0.125, y0=y0, max_steps=16).ys

    with jax.debug_key_reuse(False):  # diffrax selects one of two halves of a key, which the checker takes for reuse
        check(solve, jax.random.key(3), (2,), opsets=(21,), args=(jax.random.key(5), jnp.array([1.0, -1.0])))
