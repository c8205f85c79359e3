"""Games and search: gymnax, pgx, jumanji, mctx."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


def _gymnax(name: str) -> Made:
    import gymnax

    env, parameters = gymnax.make(name)
    _, state = env.reset(jax.random.key(0), parameters)
    action = env.action_space(parameters).sample(jax.random.key(1))
    return env.step, (jax.random.key(2), state, action, parameters)


for _name in (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "Breakout-MinAtar",
    "Asterix-MinAtar",
    "Freeway-MinAtar",
):
    program("gymnax", f"step of {_name}")(lambda name=_name: _gymnax(name))


def _pgx(name: str) -> Made:
    import pgx

    env = pgx.make(name)
    state = env.init(jax.random.key(0))
    action = jnp.argmax(state.legal_action_mask).astype(jnp.int32)
    return env.step, (state, action, jax.random.key(1))


for _name in ("tic_tac_toe", "connect_four", "go_9x9", "chess", "2048", "backgammon", "kuhn_poker", "othello", "hex"):
    program("pgx", f"step of {_name}")(lambda name=_name: _pgx(name))


def _jumanji(name: str) -> Made:
    import jumanji

    env = jumanji.make(name)
    state, _ = env.reset(jax.random.key(0))
    return env.step, (state, env.action_spec.generate_value())


for _name in ("Snake-v1", "Game2048-v1", "Maze-v0", "TSP-v1", "Knapsack-v1", "Minesweeper-v0"):
    program("jumanji", f"step of {_name}")(lambda name=_name: _jumanji(name))


@program("mctx", "Gumbel MuZero")
def _search() -> Made:
    import mctx

    def recurrent(parameters: jax.Array, key: jax.Array, action: jax.Array, embedding: jax.Array) -> object:
        embedding = jnp.tanh(embedding @ parameters + action[:, None])
        output = mctx.RecurrentFnOutput(
            reward=embedding[:, 0],
            discount=0.9 * jnp.ones_like(embedding[:, 0]),
            prior_logits=embedding[:, :3],
            value=embedding[:, 1],
        )
        return output, embedding

    def search(key: jax.Array, embedding: jax.Array) -> object:
        root = mctx.RootFnOutput(prior_logits=embedding[:, :3], value=embedding[:, 0], embedding=embedding)
        parameters = 0.3 * jnp.ones((4, 4)) - jnp.eye(4)
        output = mctx.gumbel_muzero_policy(
            parameters, key, root, recurrent, num_simulations=8, max_num_considered_actions=3
        )
        return output.action, output.action_weights

    return search, (jax.random.key(0), jnp.linspace(-1, 1, 8).reshape(2, 4))


@program("mctx", "MuZero")
def _muzero() -> Made:
    import mctx

    def recurrent(parameters: object, key: jax.Array, action: jax.Array, embedding: jax.Array) -> object:
        embedding = jnp.sin(embedding + action[:, None])
        output = mctx.RecurrentFnOutput(
            reward=embedding[:, 0],
            discount=embedding[:, 1] * 0.9,
            prior_logits=embedding[:, :3],
            value=embedding[:, 2],
        )
        return output, embedding

    def search(key: jax.Array, embedding: jax.Array) -> object:
        root = mctx.RootFnOutput(prior_logits=embedding[:, :3], value=embedding[:, 0], embedding=embedding)
        output = mctx.muzero_policy((), key, root, recurrent, num_simulations=6, dirichlet_fraction=0.0)
        return output.action, output.action_weights

    return search, (jax.random.key(0), jnp.linspace(-1, 1, 8).reshape(2, 4))
