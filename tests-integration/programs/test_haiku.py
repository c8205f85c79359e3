"""Models of haiku."""

import jax
import jax.numpy as jnp
import pytest

from j2o_core.testing import check

hk = pytest.importorskip("haiku")


def test_layers_with_state_and_a_batch_of_any_size() -> None:
    def forward(x: jax.Array, is_training: bool) -> jax.Array:
        x = hk.Conv2D(6, 3, stride=2)(x)
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training))
        x = hk.LayerNorm(-1, True, True)(hk.MaxPool((2, 2, 1), (2, 2, 1), "SAME")(x))
        return hk.nets.MLP([16, 3])(hk.Flatten()(x))

    model = hk.without_apply_rng(hk.transform_with_state(forward))
    parameters, state = model.init(jax.random.key(0), jnp.zeros((2, 9, 9, 3)), True)
    check(lambda x: model.apply(parameters, state, x, False)[0], ("B", 9, 9, 3), opsets=(21,))
    check(
        lambda parameters, state, x: model.apply(parameters, state, x, True),
        parameters,
        state,
        (3, 9, 9, 3),
        opsets=(21,),
    )


def test_recurrent_network_and_attention() -> None:
    def forward(x: jax.Array) -> jax.Array:
        core = hk.LSTM(8)
        x, _ = hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]), time_major=True)
        x = hk.MultiHeadAttention(2, 4, w_init=hk.initializers.TruncatedNormal(0.5))(x, x, x)
        return hk.Linear(2)(x)

    model = hk.without_apply_rng(hk.transform(forward))
    parameters = model.init(jax.random.key(0), jnp.zeros((5, 2, 3)))
    check(lambda x: model.apply(parameters, x), (5, 2, 3), opsets=(21,))


@pytest.mark.parametrize("core", ["LSTM", "GRU"])
def test_recurrent_cores_are_operators(core: str) -> None:
    def forward(x: jax.Array) -> object:
        cell = getattr(hk, core)(8)
        return hk.dynamic_unroll(cell, x, cell.initial_state(x.shape[1]))

    model = hk.without_apply_rng(hk.transform(forward))
    parameters = model.init(jax.random.key(0), jnp.zeros((40, 2, 3)))
    check(lambda x: model.apply(parameters, x), (40, "B", 3), opsets=(21,), contains=[core], absent=["Scan"])


def test_dropout_follows_its_key() -> None:
    model = hk.transform(lambda x: hk.dropout(hk.next_rng_key(), 0.4, hk.Linear(7)(x)))
    parameters = model.init(jax.random.key(0), jnp.zeros((2, 3)))
    check(lambda key, x: model.apply(parameters, key, x), jax.random.key(1), (2, 3), opsets=(21,))
