"""Every sampler of `jax.random` gives JAX's numbers from keys that come at run time: integers exactly.

Those that draw from the gamma distribution are thousands of operators each: here some of them stand for all, and
`J2O_EVERY_SAMPLER=1` tries all.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from j2o_core.testing import Spec, check

SHAPE = (4, 3)
KEY = Spec((), jax.eval_shape(lambda: random.key(0)).dtype)
RAW = Spec((2,), np.uint32)

SAMPLERS = {
    "ball": lambda key: random.ball(key, 3, shape=(4,)),
    "bernoulli": lambda key: random.bernoulli(key, 0.3, SHAPE),
    "beta": lambda key: random.beta(key, 2.0, 3.0, SHAPE),
    "binomial": lambda key: random.binomial(key, 20, jnp.array([0.1, 0.5, 0.9]), SHAPE),
    "bits": lambda key: random.bits(key, SHAPE),
    "categorical": lambda key: random.categorical(key, jnp.arange(12.0).reshape(2, 6), shape=(3, 2), replace=False),
    "cauchy": lambda key: random.cauchy(key, SHAPE),
    "chisquare": lambda key: random.chisquare(key, 3.0, SHAPE),
    "choice": lambda key: random.choice(key, jnp.arange(4), (6,), p=jnp.array([0.1, 0.2, 0.3, 0.4])),
    "dirichlet": lambda key: random.dirichlet(key, jnp.array([0.5, 1, 2]), (4,)),
    "double_sided_maxwell": lambda key: random.double_sided_maxwell(key, 1.0, 2.0, SHAPE),
    "exponential": lambda key: random.exponential(key, SHAPE),
    "f": lambda key: random.f(key, 4.0, 5.0, SHAPE),
    "fold_in": lambda key: random.bits(random.fold_in(key, 7), SHAPE),
    "gamma": lambda key: random.gamma(key, jnp.array([0.3, 1.0, 4.0]), SHAPE),
    "generalized_normal": lambda key: random.generalized_normal(key, 2.0, SHAPE),
    "geometric": lambda key: random.geometric(key, 0.3, SHAPE),
    "gumbel": lambda key: random.gumbel(key, SHAPE),
    "laplace": lambda key: random.laplace(key, SHAPE),
    "loggamma": lambda key: random.loggamma(key, jnp.array([0.3, 1.0, 4.0]), SHAPE),
    "logistic": lambda key: random.logistic(key, SHAPE),
    "lognormal": lambda key: random.lognormal(key, 0.5, SHAPE),
    "maxwell": lambda key: random.maxwell(key, SHAPE),
    "multinomial": lambda key: random.multinomial(key, 10, jnp.array([0.2, 0.3, 0.5]), shape=(2, 3)),
    "multivariate_normal": lambda key: random.multivariate_normal(key, jnp.zeros(2), 2 * jnp.eye(2) + 0.5, (4,)),
    "normal": lambda key: (random.normal(key, SHAPE), random.normal(key, SHAPE, np.complex64)),
    "orthogonal": lambda key: random.orthogonal(key, 3, (2,)),
    "pareto": lambda key: random.pareto(key, 2.0, SHAPE),
    "permutation": lambda key: random.permutation(key, jnp.arange(12).reshape(3, 4), axis=1, independent=True),
    "poisson": lambda key: random.poisson(key, jnp.array([0.5, 3.0, 50.0]), SHAPE),
    "rademacher": lambda key: random.rademacher(key, SHAPE),
    "randint": lambda key: random.randint(key, SHAPE, -3, 1000),
    "rayleigh": lambda key: random.rayleigh(key, 2.0, SHAPE),
    "split": lambda key: [random.bits(each, (2,)) for each in random.split(key, 3)],
    "t": lambda key: random.t(key, 4.0, SHAPE),
    "triangular": lambda key: random.triangular(key, -1.0, 0.5, 2.0, SHAPE),
    "truncated_normal": lambda key: random.truncated_normal(key, -1, 2, SHAPE),
    "uniform": lambda key: random.uniform(key, SHAPE, minval=-1),
    "wald": lambda key: random.wald(key, 1.5, SHAPE),
    "weibull_min": lambda key: random.weibull_min(key, 1.0, 2.0, SHAPE),
}
LIKE_GAMMA = {"ball", "beta", "chisquare", "dirichlet", "f", "generalized_normal", "loggamma", "t"}
SAMPLED = [name for name in SAMPLERS if os.environ.get("J2O_EVERY_SAMPLER") or name not in LIKE_GAMMA - {"dirichlet"}]
# Names that are no samplers.
OTHERS = {
    "Key",
    "PRNGKey",
    "clone",
    "key",
    "key_data",
    "key_dtype",
    "key_impl",
    "random_gamma_p",
    "wrap_key_data",
}


@pytest.fixture(autouse=True)
def _keys_may_be_used_twice():
    """Here the same key goes to JAX and to ONNX Runtime."""
    with jax.debug_key_reuse(False):
        yield


def test_no_sampler_is_forgotten():
    assert {name for name in dir(random) if not name.startswith("_")} <= SAMPLERS.keys() | OTHERS


@pytest.mark.parametrize("name", SAMPLED)
def test_typed_and_raw_keys(name):
    draw = SAMPLERS[name]
    check(lambda key, raw: (draw(key), draw(raw)), KEY, RAW, opsets=(21,))
