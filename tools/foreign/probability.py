"""Probability: distrax, flowjax, dynamax, numpyro, blackjax, tinygp."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


@program("distrax", "mixture: log density and samples")
def _mixture() -> Made:
    import distrax

    def evaluate(key: jax.Array, x: jax.Array) -> object:
        mixture = distrax.MixtureSameFamily(
            distrax.Categorical(logits=jnp.array([0.1, 0.5])),
            distrax.Normal(jnp.array([-1.0, 1.0]), jnp.array([0.5, 2.0])),
        )
        return mixture.log_prob(x), mixture.sample(seed=key, sample_shape=(4,))

    return evaluate, (jax.random.key(0), jnp.linspace(-2, 2, 5))


@program("distrax", "chain of bijectors")
def _bijectors() -> Made:
    import distrax

    def transform(x: jax.Array) -> object:
        chain = distrax.Chain([distrax.Tanh(), distrax.ScalarAffine(0.5, 2.0)])
        return chain.forward_and_log_det(x)

    return transform, (jnp.linspace(-1, 1, 6),)


@program("distrax", "rational quadratic spline")
def _spline() -> Made:
    import distrax

    def transform(x: jax.Array, parameters: jax.Array) -> object:
        spline = distrax.RationalQuadraticSpline(parameters, range_min=-2.0, range_max=2.0)
        y, log_det = spline.forward_and_log_det(x)
        return y, log_det, spline.inverse(y)

    return transform, (jnp.linspace(-1.5, 1.5, 5), jnp.linspace(-1, 1, 5 * 13).reshape(5, 13))


@program("flowjax", "coupling flow")
def _flow() -> Made:
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    flow = coupling_flow(jax.random.key(0), base_dist=Normal(jnp.zeros(3)), flow_layers=2, nn_width=8)
    return lambda x, key: (flow.log_prob(x), flow.sample(key, (2,))), (
        jnp.linspace(-1, 1, 6).reshape(2, 3),
        jax.random.key(1),
    )


@program("flowjax", "masked autoregressive flow")
def _autoregressive() -> Made:
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow

    flow = masked_autoregressive_flow(jax.random.key(0), base_dist=Normal(jnp.zeros(3)), flow_layers=2, nn_width=8)
    return flow.log_prob, (jnp.linspace(-1, 1, 6).reshape(2, 3),)


@program("dynamax", "Kalman smoother", rtol=1e-3, atol=1e-4)
def _smoother() -> Made:
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM

    model = LinearGaussianSSM(2, 2)
    parameters, _ = model.initialize(jax.random.key(0))
    return model.smoother, (parameters, jnp.sin(jnp.arange(20.0)).reshape(10, 2))


@program("dynamax", "hidden Markov model: filter and most likely states")
def _hidden() -> Made:
    from dynamax.hidden_markov_model import GaussianHMM

    model = GaussianHMM(3, 2)
    parameters, _ = model.initialize(jax.random.key(0))

    def infer(parameters: object, emissions: jax.Array) -> object:
        posterior = model.filter(parameters, emissions)
        return posterior.marginal_loglik, posterior.filtered_probs, model.most_likely_states(parameters, emissions)

    return infer, (parameters, jnp.sin(jnp.arange(20.0)).reshape(10, 2))


@program("numpyro", "log density of a regression")
def _regression() -> Made:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.util import log_density

    def model(x: jax.Array, y: jax.Array) -> None:
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        scale = numpyro.sample("scale", dist.HalfCauchy(1))
        numpyro.sample("y", dist.StudentT(3, slope * x, scale), obs=y)

    def density(x: jax.Array, y: jax.Array, slope: jax.Array, scale: jax.Array) -> jax.Array:
        return log_density(model, (x, y), {}, {"slope": slope, "scale": scale})[0]

    return density, (jnp.arange(5.0), jnp.arange(5.0) * 2, jnp.float32(1.5), jnp.float32(0.7))


@program("numpyro", "predictive samples")
def _predictive() -> Made:
    import numpyro
    import numpyro.distributions as dist
    from numpyro import handlers

    def model(x: jax.Array) -> jax.Array:
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        return numpyro.sample("y", dist.Poisson(jnp.exp(slope * x)))

    return lambda key, x: handlers.seed(model, key)(x), (jax.random.key(0), jnp.linspace(-1, 1, 5))


def _target(x: jax.Array) -> jax.Array:
    return -0.5 * jnp.sum(x**2 / jnp.array([1.0, 2.0]))


def _kernel(name: str) -> Made:
    import blackjax

    made = {
        "hmc": lambda: blackjax.hmc(_target, 0.3, jnp.ones(2), 4),
        "nuts": lambda: blackjax.nuts(_target, 0.3, jnp.ones(2)),
        "mala": lambda: blackjax.mala(_target, 0.2),
        "elliptical_slice": lambda: blackjax.elliptical_slice(_target, mean=jnp.zeros(2), cov=jnp.eye(2)),
        "barker": lambda: blackjax.barker_proposal(_target, 0.5),
    }[name]()
    return made.step, (jax.random.key(0), made.init(jnp.array([0.5, -0.3])))


for _name in ("hmc", "nuts", "mala", "elliptical_slice", "barker"):
    program("blackjax", f"step of {_name}")(lambda name=_name: _kernel(name))


@program("tinygp", "regression", rtol=1e-3, atol=1e-4)
def _process() -> Made:
    from tinygp import GaussianProcess, kernels

    def predict(x: jax.Array, y: jax.Array, test: jax.Array) -> object:
        process = GaussianProcess(1.5 * kernels.Matern52(0.7), x, diag=0.1)
        conditioned = process.condition(y, test)
        return conditioned.log_probability, conditioned.gp.mean, conditioned.gp.variance

    return predict, (jnp.linspace(0, 3, 8), jnp.sin(jnp.linspace(0, 3, 8)), jnp.linspace(0, 3, 5))


@program("tinygp", "quasiseparable kernel", rtol=1e-3, atol=1e-4)
def _quasi() -> Made:
    from tinygp import GaussianProcess
    from tinygp.kernels import quasisep

    def likelihood(x: jax.Array, y: jax.Array) -> jax.Array:
        return GaussianProcess(quasisep.Matern32(0.7), x, diag=0.1).log_probability(y)

    return likelihood, (jnp.linspace(0, 3, 8), jnp.sin(jnp.linspace(0, 3, 8)))
