"""Chains of transpose, reshape, broadcast and cast, of parts and of what they were cut from, are as short as can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

# Each with the operators that are left, besides those that compute symbolic sizes.
CHAINS = {
    "transposes": (lambda x: x.transpose(0, 2, 1).transpose(0, 2, 1) * 2, ["Mul"]),
    "of all axes": (lambda x: x.transpose(1, 2, 0).transpose(2, 0, 1) * 2, ["Mul"]),
    "reshapes": (lambda x: x.reshape(-1, 2, 2, 6).reshape(x.shape[0], 24).reshape(x.shape) * 2, ["Mul"]),
    "transposes of rows": (lambda x: x.reshape(x.shape[0], 24).T.T.reshape(x.shape) * 2, ["Mul"]),
    "axes of size 1": (lambda x: jnp.swapaxes(x[..., None], 1, 2)[..., 0].swapaxes(1, 2) * 2, ["Mul"]),
    "transpose and reshape": (
        lambda x: x.transpose(0, 2, 1).reshape(x.shape[0], 3, 2, 4).transpose(0, 3, 1, 2).reshape(x.shape) * 2,
        ["Mul"],
    ),
    "broadcast and sum": (lambda x: jnp.broadcast_to(x[:, :1, :1], x.shape) + x, ["Slice", "Add"]),
    "transposes around a gate": (
        lambda x: jax.nn.silu(x.transpose(0, 2, 1) * 2).transpose(0, 2, 1),
        ["Mul", "Sigmoid", "Mul"],
    ),
    "transposes of both operands": (
        lambda x: ((x * 2).transpose(0, 2, 1) + jnp.sin(x).transpose(0, 2, 1)).transpose(0, 2, 1),
        ["Mul", "Sin", "Add"],
    ),
    "transposes of a choice": (
        lambda x: jnp.where(*((y.transpose(0, 2, 1)) for y in (x > 0, x * 2, jnp.sin(x)))).transpose(0, 2, 1),
        ["Greater", "Mul", "Sin", "Where"],
    ),
    "reshapes around a gate": (lambda x: jax.nn.silu(x.reshape(-1, 6)).reshape(x.shape), ["Sigmoid", "Mul"]),
    "casts to the same": (lambda x: x.astype(jnp.float32) * 2, ["Mul"]),
    "casts": (lambda x: x.astype(jnp.float16).astype(jnp.float32).astype(jnp.float16), ["Cast"]),
    "casts between layouts": (
        lambda x: jnp.expand_dims(x.astype(jnp.float16), 1).astype(jnp.float32).squeeze(1).astype(jnp.float16),
        ["Cast"],
    ),
    "transposes around a cast": (lambda x: x.transpose(0, 2, 1).astype(jnp.float16).transpose(0, 2, 1), ["Cast"]),
    "parts put together": (lambda x: jnp.concatenate(jnp.split(x, 3, -1), -1) * 2, ["Mul"]),
    "some parts put together": (lambda x: jnp.concatenate(jnp.split(x, 3, -1)[1:], -1) * 2, ["Slice", "Mul"]),
    "part of what was put together": (lambda x: jnp.concatenate([x, x * 2], -1)[..., 6:], ["Mul"]),
    "piece of a part": (lambda x: jnp.concatenate([x, x * 2], -1)[..., 8:10], ["Mul", "Slice"]),
    "stacked and taken apart": (lambda x: (lambda y: y[..., 0] + y[..., 1])(jnp.stack([x, x * 2], -1)), ["Mul", "Add"]),
    "taken apart and stacked": (
        lambda x: jnp.stack([*jnp.moveaxis(x.reshape(*x.shape[:-1], 3, 2), -1, 0)], -1).reshape(x.shape) * 2,
        ["Mul"],
    ),
}


@pytest.mark.parametrize("batch", [3, "B"])
@pytest.mark.parametrize("name", CHAINS)
def test_chains(name, batch):
    fn, operators = CHAINS[name]
    program = check(fn, Spec((batch, 4, 6)), opsets=(18, 23))
    assert [node.op_type for node in program.model.graph] == operators
    check(fn, Spec((0, 4, 6)), opsets=(21,))


def test_a_gate_of_another_value_keeps_its_layout():
    check(lambda x: x.transpose(0, 2, 1) * jax.nn.sigmoid(x.reshape(x.shape[0], 6, 4)), Spec(("B", 4, 6)))
    check(lambda x: (y := x.transpose(0, 2, 1)) * jax.nn.sigmoid(y) - y, Spec(("B", 4, 6)))
    check(lambda x: ((y := x.transpose(0, 2, 1)) * (z := jax.nn.sigmoid(y)), z), Spec(("B", 4, 6)))


BROADCASTS = {
    "inside": lambda x: jnp.broadcast_to(jnp.broadcast_to(x[:, :1], x.shape)[:, None], (x.shape[0], 2, 4, 6)),
    "in front": lambda x: jnp.broadcast_to(jnp.broadcast_to(x[:, :1], x.shape), (5, *x.shape)),
    "around a cast": lambda x: jnp.broadcast_to(jnp.broadcast_to(x[:, :1], x.shape).astype(jnp.float16), (2, *x.shape)),
    "transposed": lambda x: jnp.broadcast_to(jnp.broadcast_to(x[:, :1], x.shape)[None], (2, *x.shape)).swapaxes(0, 1),
}


@pytest.mark.parametrize("batch", [1, 3, "B"])
@pytest.mark.parametrize("name", BROADCASTS)
def test_broadcasts_are_one(name, batch):
    program = check(BROADCASTS[name], Spec((batch, 4, 6)), contains=["Expand"], opsets=(18, 23))
    assert sum(node.op_type == "Expand" for node in program.model.graph) == 1


def test_a_broadcast_that_is_read_on_the_way_gives_its_own_size():
    def fn(x):
        y = jnp.broadcast_to(x[:, :1], x.shape)
        return y, y.astype(jnp.float16), jnp.broadcast_to(y, (2, *x.shape))

    for batch in (0, 1, 3, "B"):
        check(fn, Spec((batch, 4, 6)), opsets=(21,))


def test_a_broadcast_whose_axes_are_merged_stays():
    def fn(x):
        return jnp.broadcast_to(jnp.broadcast_to(x[:, :1], x.shape).reshape(x.shape[0], 24, 1), (x.shape[0], 24, 2))

    check(fn, Spec(("B", 4, 6)), contains=["Expand"], opsets=(21,))


@pytest.mark.parametrize(
    ("fn", "operator"),
    [
        (lambda x: jnp.concatenate(jnp.split(x, 3, -1)[::-1], -1), "Concat"),
        (lambda x: jnp.concatenate(jnp.split(x, 3, -1)[::2], -1), "Concat"),
        (lambda x: jnp.concatenate([x[..., :3], x[..., 2:]], -1), "Concat"),
        (lambda x: jnp.concatenate([x[..., :3], (2 * x)[..., 3:]], -1), "Concat"),
        (lambda x: jnp.concatenate([x[:, :2, :3], x[:, :2, 3:]], 1), "Concat"),
        (lambda x: jnp.concatenate([x, x * 2], -1)[..., 5:8], "Slice"),
        (lambda x: jnp.concatenate([x, x * 2], 1)[..., 2:], "Slice"),
        (lambda x: x.transpose(0, 2, 1).astype(jnp.float16).transpose(1, 0, 2), "Transpose"),
        (lambda x: x.astype(jnp.float16).astype(jnp.float32), "Cast"),
    ],
    ids=["turned", "gap", "overlap", "two", "other axis", "across", "slice of another axis", "order", "rounds"],
)
def test_declines_what_changes_something(fn, operator):
    check(fn, Spec(("B", 4, 6)), contains=[operator], opsets=(21,))


def test_a_chain_that_is_read_on_the_way_stays():
    def fn(x):
        y = x.transpose(0, 2, 1).astype(jnp.float16)
        return y, y.transpose(0, 2, 1)

    check(fn, Spec(("B", 4, 6)), contains=["Transpose"], opsets=(21,))


def test_special_numbers_go_through_casts_as_they_are():
    x = np.float32([[[np.nan, np.inf, -np.inf, -0.0, 1e-40, 65519.0]]])
    check(CHAINS["casts between layouts"][0], x)


def test_cross_products_of_numbers_that_are_not_finite():
    def crossed(a, b, c):
        return jnp.cross(a, b), jnp.cross(a, c) * 2, jnp.cross(jnp.cross(a, b), c)

    numbers = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e9, -1e-9, 3], np.float32)
    arrays = [np.random.default_rng(seed).choice(numbers, (20, 3)) for seed in range(3)]
    check(crossed, *arrays, contains=["Gather"])
    check(crossed, *(Spec((4, 3), np.int32),) * 3, contains=["Gather"])
