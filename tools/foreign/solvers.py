"""Optimisation and transport: jaxopt, optax, ott-jax, evosax."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


def _objective(x: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.sum((x - target) ** 2) + 0.1 * jnp.sum(jnp.cos(x))


def _jaxopt(name: str) -> Made:
    import jaxopt

    solver = getattr(jaxopt, name)(_objective, maxiter=10)
    return lambda start, target: solver.run(start, target).params, (jnp.zeros(3), jnp.arange(3.0))


for _name in ("GradientDescent", "LBFGS", "NonlinearCG", "BFGS"):
    # Ten iterations carry on the rounding of each.
    program("jaxopt", _name, rtol=1e-3, atol=1e-3)(lambda name=_name: _jaxopt(name))


@program("jaxopt", "ProjectedGradient", rtol=1e-3, atol=1e-3)
def _projected() -> Made:
    import jaxopt

    solver = jaxopt.ProjectedGradient(_objective, jaxopt.projection.projection_simplex, maxiter=10)

    def solve(start: jax.Array, target: jax.Array) -> jax.Array:
        return solver.run(start, hyperparams_proj=1.0, target=target).params

    return solve, (jnp.ones(3) / 3, jnp.arange(3.0))


@program("jaxopt", "projections")
def _projections() -> Made:
    from jaxopt import projection

    return lambda x: (
        projection.projection_simplex(x),
        projection.projection_l1_ball(x),
        projection.projection_l2_sphere(x),
    ), (jnp.array([0.4, -1.0, 2.0]),)


@program("ott-jax", "Sinkhorn", rtol=1e-3, atol=1e-3)
def _sinkhorn() -> Made:
    from ott.geometry import pointcloud
    from ott.solvers import linear

    def transport(x: jax.Array, y: jax.Array) -> object:
        out = linear.solve(pointcloud.PointCloud(x, y, epsilon=0.1), max_iterations=50)
        return out.matrix, out.reg_ot_cost

    return transport, (jnp.linspace(0, 1, 10).reshape(5, 2), jnp.linspace(0.2, 1.5, 8).reshape(4, 2))


@program("ott-jax", "soft sort")
def _soft_sort() -> Made:
    from ott.tools import soft_sort

    return lambda x: soft_sort.sort(x, max_iterations=50), (jnp.array([0.3, -1.0, 2.0, 0.7]),)


def _evosax(name: str) -> Made:
    from evosax import algorithms

    algorithm = getattr(algorithms, name)(population_size=6, solution=jnp.zeros(3))
    parameters = algorithm.default_params
    state = algorithm.init(jax.random.key(0), jnp.zeros(3), parameters)

    def generation(key: jax.Array, state: object, parameters: object) -> object:
        population, state = algorithm.ask(key, state, parameters)
        fitness = jax.vmap(lambda x: _objective(x, jnp.arange(3.0)))(population)
        return algorithm.tell(key, population, fitness, state, parameters)[0]

    return generation, (jax.random.key(1), state, parameters)


for _name in ("CMA_ES", "Open_ES", "SNES", "xNES", "Sep_CMA_ES"):
    program("evosax", f"generation of {_name}")(lambda name=_name: _evosax(name))


@program("optax", "losses")
def _losses() -> Made:
    import optax

    def losses(logits: jax.Array, labels: jax.Array) -> object:
        one_hot = jax.nn.one_hot(labels, 3)
        return (
            optax.softmax_cross_entropy(logits, one_hot),
            optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            optax.sigmoid_focal_loss(logits, one_hot),
            optax.huber_loss(logits, one_hot),
            optax.ctc_loss(logits[:, None], jnp.zeros((4, 1)), labels[:, None], jnp.zeros((4, 1))),
        )

    return losses, (jnp.linspace(-2, 2, 12).reshape(4, 3), jnp.array([0, 1, 2, 1]))


def _optax(name: str) -> Made:
    import optax

    optimizer = {
        "adamw": lambda: optax.adamw(1e-2),
        "lion": lambda: optax.lion(1e-2),
        "adafactor": lambda: optax.adafactor(1e-2),
        "lbfgs": lambda: optax.lbfgs(),
    }[name]()

    def step(parameters: jax.Array, state: object, target: jax.Array) -> object:
        value, gradient = jax.value_and_grad(_objective)(parameters, target)
        extra = (
            {"value": value, "grad": gradient, "value_fn": lambda p: _objective(p, target)} if name == "lbfgs" else {}
        )
        updates, state = optimizer.update(gradient, state, parameters, **extra)
        return optax.apply_updates(parameters, updates), state, value

    parameters = jnp.linspace(-1, 1, 3)
    return step, (parameters, optimizer.init(parameters), jnp.arange(3.0))


for _name in ("adamw", "lion", "adafactor", "lbfgs"):
    program("optax", f"step of {_name}")(lambda name=_name: _optax(name))
