"""Distributions of numpyro: samples bit for bit by key, log densities by value."""

import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import check

dist = pytest.importorskip("numpyro.distributions")

FAMILIES = {
    "student": lambda a, b: dist.StudentT(5.0, a, jnp.exp(b)),
    "gamma": lambda a, b: dist.Gamma(1 + jnp.exp(a), jnp.exp(b)),
    "poisson": lambda a, b: dist.Poisson(jnp.exp(a) + jnp.abs(b)),
    "categorical": lambda a, b: dist.Categorical(logits=jnp.stack([a, b, a * b], -1)),
    "multivariate": lambda a, b: dist.MultivariateNormal(a, jnp.eye(3) + 0.1 * jnp.outer(b, b)),
    "dirichlet": lambda a, b: dist.Dirichlet(1 + jnp.exp(a)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_and_densities(family: str) -> None:
    def run(key: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        distribution = FAMILIES[family](a, b)
        sample = distribution.sample(key, (4,))
        return sample, distribution.log_prob(sample)

    check(run, jax.random.key(0), (3,), (3,), opsets=(21,))
