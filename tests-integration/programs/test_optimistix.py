"""Roots, minima, least squares and fixed points found by optimistix."""

import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import check

optimistix = pytest.importorskip("optimistix")

pytestmark = pytest.mark.filterwarnings("ignore:The run-time check")


def test_root_of_a_system() -> None:
    def root(c: jax.Array) -> tuple[jax.Array, jax.Array]:
        def residual(y: jax.Array, c: jax.Array) -> jax.Array:
            return jnp.array([y[0] ** 2 + y[1] - 2 - c[0] ** 2, y[0] - y[1] + jnp.sin(c[1])])

        solver = optimistix.Newton(rtol=1e-5, atol=1e-5)
        solution = optimistix.root_find(residual, solver, jnp.array([1.0, 1.0]), args=c, max_steps=64)
        return solution.value, solution.stats["num_steps"]

    check(root, (2,), opsets=(21,))


def test_root_by_bisection() -> None:
    def root(c: jax.Array) -> jax.Array:
        solver = optimistix.Bisection(rtol=1e-5, atol=1e-5)
        options = {"lower": -4.0, "upper": 4.0}
        return optimistix.root_find(lambda y, c: y**3 + y - c, solver, 0.0, args=c, options=options).value

    check(root, (), opsets=(21,))


def test_minimum() -> None:
    def minimum(start: jax.Array, scale: jax.Array) -> jax.Array:
        def rosenbrock(y: jax.Array, scale: jax.Array) -> jax.Array:
            return (1 - y[0]) ** 2 + (1 + scale**2) * (y[1] - y[0] ** 2) ** 2

        solver = optimistix.BFGS(rtol=1e-5, atol=1e-5)
        return optimistix.minimise(rosenbrock, solver, start, args=scale, max_steps=256, throw=False).value

    # A step of rounding error near the minimum moves it by the root of that error, and stops it earlier or later.
    check(minimum, (2,), (), opsets=(21,), rtol=3e-3, atol=3e-3)


def test_least_squares() -> None:
    def fit(x: jax.Array, noise: jax.Array) -> jax.Array:
        target = 2 * jnp.exp(-0.5 * x) + 0.1 * noise

        def residual(parameters: tuple[jax.Array, jax.Array], args: None) -> jax.Array:
            amplitude, rate = parameters
            return amplitude * jnp.exp(-rate * x) - target

        solver = optimistix.LevenbergMarquardt(rtol=1e-5, atol=1e-5)
        amplitude, rate = optimistix.least_squares(residual, solver, (jnp.float32(1.0), jnp.float32(1.0))).value
        return jnp.stack([amplitude, rate])

    # The solver stops within 1e-5 of the optimum of a noisy objective; steps before differ in their last bits.
    check(fit, (12,), (12,), opsets=(21,), rtol=1e-3, atol=1e-3)


def test_fixed_point_and_its_gradient() -> None:
    def fixed(a: jax.Array) -> jax.Array:
        solver = optimistix.FixedPointIteration(rtol=1e-6, atol=1e-6)
        return optimistix.fixed_point(lambda y, a: jnp.cos(y) * jnp.tanh(a), solver, jnp.zeros(3), args=a).value

    check(fixed, (3,), opsets=(21,))
    check(jax.grad(lambda a: jnp.sum(fixed(a) ** 2)), (3,), opsets=(21,))
