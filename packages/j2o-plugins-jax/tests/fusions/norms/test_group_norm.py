"""Group norm and instance norm as InstanceNormalization, by Equinox and by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

WEIGHT, BIAS = np.array([1, -2, 3, 0.5], np.float32), np.array([0, 1, -1, 2], np.float32)
GROUPED = ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]


def layer(groups, **options):
    norm = eqx.nn.GroupNorm(groups, 4, **options)
    if options:
        return norm
    return eqx.tree_at(lambda norm: (norm.weight, norm.bias), norm, (jnp.asarray(WEIGHT), jnp.asarray(BIAS)))


def by_hand(x, groups=2, root=jnp.sqrt):
    grouped = x.reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(-1, keepdims=True)
    normal = centred / root(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * WEIGHT.astype(x.dtype)[:, None, None] + BIAS.astype(x.dtype)[:, None, None]


def with_var(x):
    grouped = x.reshape(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:])
    axes = tuple(range(2, grouped.ndim))
    normal = (grouped - grouped.mean(axes, keepdims=True)) * jax.lax.rsqrt(grouped.var(axes, keepdims=True) + 1e-5)
    return WEIGHT.reshape(1, 4, 1, 1) * normal.reshape(x.shape) + BIAS.reshape(1, 4, 1, 1)


def instance_norm(x):
    axes = tuple(range(2, x.ndim))
    shape = (4, *[1] * len(axes))
    normal = (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return normal * WEIGHT.reshape(shape) + BIAS.reshape(shape)


def kinds(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize(
    "norm", [jax.vmap(layer(2)), by_hand, with_var, jax.jit(by_hand)], ids=["equinox", "by hand", "var", "jit"]
)
def test_group_norm(norm):
    assert kinds(check(norm, Spec(("B", 4, 5, 6)))) == GROUPED


@pytest.mark.parametrize("shape", [(4, 7), (4, 5, 6), (4, 2, 3, 4), (4, 1, 1)])
def test_any_number_of_axes(shape):
    assert kinds(check(jax.vmap(layer(2)), Spec(("B", *shape)))) == GROUPED
    check(layer(2), Spec(shape), contains=["InstanceNormalization"], absent=["LayerNormalization"])


def test_one_group():
    assert kinds(check(jax.vmap(layer(1)), Spec(("B", 4, 5, 6)))) == GROUPED


@pytest.mark.parametrize("norm", [jax.vmap(layer(4)), instance_norm], ids=["equinox", "by hand"])
@pytest.mark.parametrize("shape", [(7,), (4, 4), (2, 3, 4)])
def test_instance_norm_is_one_operator(norm, shape):
    assert kinds(check(norm, Spec(("B", 4, *shape)))) == ["InstanceNormalization"]
    assert kinds(check(norm, Spec((4, 4, *shape)))) == ["InstanceNormalization"]


def test_without_weights():
    check(jax.vmap(layer(2, channelwise_affine=False)), Spec(("B", 4, 5, 6)), contains=["InstanceNormalization"])
    program = check(jax.vmap(layer(4, channelwise_affine=False)), Spec(("B", 4, 5, 6)))
    assert kinds(program) == ["InstanceNormalization"]


def test_default_weights_are_stored_once_for_each_channel():
    program = check(jax.vmap(eqx.nn.GroupNorm(2, 4)), Spec(("B", 4, 9, 9)))
    assert max(int(np.prod(list(value.shape))) for value in program.model.graph.initializers.values()) <= 4


def test_weights_that_are_inputs():
    def norm(x, weight, bias):
        normal = (x - x.mean((2, 3), keepdims=True)) / jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
        return normal * weight[:, None, None] + bias[:, None, None]

    program = check(norm, Spec(("B", 4, 5, 6)), Spec((4,)), Spec((4,)))
    assert kinds(program) == ["InstanceNormalization"]


def test_nan_infinity_and_numbers_far_from_zero():
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)
    check(jax.vmap(layer(2)), x + 30, contains=["InstanceNormalization"])
    x[0, 0, 0, 0], x[1, 3, 2, 2] = np.nan, np.inf
    check(jax.vmap(layer(2)), x, contains=["InstanceNormalization"])
    check(jax.vmap(layer(4)), x, contains=["InstanceNormalization"])


@pytest.mark.parametrize("shape", [(0, 4, 5, 6), (2, 4, 1, 1)])
def test_empty_and_size_one(shape):
    check(jax.vmap(layer(2)), Spec(shape))
    check(jax.vmap(layer(4)), Spec(shape))


def test_half_precision():
    check(jax.vmap(layer(2)), Spec(("B", 4, 5, 6), np.float16), contains=["InstanceNormalization"])


def test_primal_of_a_gradient():
    def loss(x):
        return (jax.vmap(layer(2))(x) ** 2).sum()

    check(jax.value_and_grad(loss), Spec((2, 4, 5, 6)), opsets=(21,))


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        absent = ["InstanceNormalization", "LayerNormalization"]
        check(by_hand, Spec(("B", 4, 5, 6), np.float64), absent=absent)
        small = np.random.default_rng(0).standard_normal((2, 4, 5, 6)) * 1e-3
        check(by_hand, small, absent=absent)


def test_two_symbolic_batches_stay_a_layer_norm():
    check(jax.vmap(jax.vmap(layer(2))), Spec(("A", "B", 4, 3, 3)), contains=["LayerNormalization"], absent=["Shape"])
    check(jax.vmap(jax.vmap(layer(2))), Spec(("A", 2, 4, 3, 3)), contains=["InstanceNormalization"])


def heads(x):
    split = x.reshape(*x.shape[:-1], 4, -1)
    normal = (split - split.mean(-1, keepdims=True)) / jnp.sqrt(split.var(-1, keepdims=True) + 1e-5)
    return normal.reshape(x.shape)


def merged(x):
    rows = x.reshape(-1, 5)
    normal = (rows - rows.mean(-1, keepdims=True)) / jnp.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    return normal.reshape(x.shape)


@pytest.mark.parametrize("norm", [heads, merged], ids=["heads", "rows"])
def test_declines_parts_of_the_last_axis(norm):
    check(norm, Spec((2, 3, 20)), contains=["LayerNormalization"], absent=["InstanceNormalization"])


@pytest.mark.parametrize(
    "weight", [(4, 4), (4, 1), (1, 4), (4, 4, 4), (4, 1, 1, 1)], ids=["matrix", "rows", "columns", "all", "batch"]
)
def test_declines_weights_that_vary_along_other_axes(weight):
    numbers = np.arange(1, 1 + np.prod(weight), dtype=np.float32).reshape(weight)

    def scaled(x):
        return (x - x.mean((2, 3), keepdims=True)) / jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5) * numbers

    def shifted(x):
        return instance_norm(x) + numbers

    check(scaled, Spec((4, 4, 4, 4)), contains=["LayerNormalization"], absent=["InstanceNormalization"])
    check(shifted, Spec((4, 4, 4, 4)), contains=["InstanceNormalization", "Add"])


def test_declines_infinite_weights():
    weight = np.where(np.arange(4) == 2, np.float32(np.inf), WEIGHT)

    def scaled(x):
        normal = (x - x.mean((2, 3), keepdims=True)) / jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
        return normal * weight[:, None, None]

    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
    check(scaled, x, absent=["InstanceNormalization"])


def test_declines_where_the_normalised_value_is_read_elsewhere():
    def both(x):
        normal = (x - x.mean((2, 3), keepdims=True)) / jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
        return normal * WEIGHT[:, None, None], normal

    check(both, Spec((2, 4, 5, 6)), contains=["LayerNormalization"], absent=["InstanceNormalization"])


def test_declines_a_second_weight_and_bias():
    def twice(x):
        return instance_norm(x) * WEIGHT[:, None, None] + BIAS[:, None, None]

    assert kinds(check(twice, Spec((2, 4, 5, 6)))) == ["InstanceNormalization", "Mul", "Add"]
