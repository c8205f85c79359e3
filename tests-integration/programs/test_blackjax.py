"""Samplers of blackjax: the chain depends on nothing but its key, so it can be compared sample by sample."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from j2o_core.testing import check

blackjax = pytest.importorskip("blackjax")


def log_density(x: jax.Array) -> jax.Array:
    return -0.5 * jnp.sum(x**2 / jnp.array([1.0, 2.0])) - 0.1 * x[0] * x[1]


KERNELS = {
    "random_walk": lambda: blackjax.additive_step_random_walk(log_density, blackjax.mcmc.random_walk.normal(0.4)),
    "hamiltonian": lambda: blackjax.hmc(log_density, 0.3, jnp.ones(2), 4),
    "langevin": lambda: blackjax.mala(log_density, 0.2),
    "no_u_turn": lambda: blackjax.nuts(log_density, 0.3, jnp.ones(2)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_chain(name: str) -> None:
    kernel = KERNELS[name]()

    def chain(key: jax.Array, start: jax.Array) -> jax.Array:
        def turn(state: object, key: jax.Array) -> tuple[object, jax.Array]:
            state, _ = kernel.step(key, state)
            return state, state.position

        return lax.scan(turn, kernel.init(start), jax.random.split(key, 6))[1]

    # A chain carries the rounding of each step into the next.
    check(chain, jax.random.key(0), (2,), opsets=(21,), rtol=1e-3, atol=1e-4)
