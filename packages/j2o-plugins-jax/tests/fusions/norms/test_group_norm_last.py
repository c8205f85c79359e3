"""Group norm and instance norm of channels that come last as InstanceNormalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

WEIGHT, BIAS = np.array([1, -2, 3, 0.5, 2, 7], np.float32), np.array([0, 1, -1, 2, 3, -4], np.float32)


def groups_of(x, groups=2):
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    return grouped, (*range(1, x.ndim - 1), x.ndim)


def with_var(x, groups=2):
    grouped, axes = groups_of(x, groups)
    normal = (grouped - grouped.mean(axes, keepdims=True)) * lax.rsqrt(grouped.var(axes, keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * WEIGHT + BIAS


def divided(x):
    grouped, axes = groups_of(x)
    centred = grouped - jnp.mean(grouped, axes, keepdims=True)
    return (centred / jnp.sqrt(jnp.mean(centred**2, axes, keepdims=True) + 1e-5)).reshape(x.shape) * WEIGHT + BIAS


def written_out(x):
    """As Flax does it: the numbers of a group, from squares, for each of its channels."""
    grouped, axes = groups_of(x)
    mean, square = grouped.mean(axes), (grouped * grouped).mean(axes)
    variance = jnp.maximum(0.0, square - mean * mean)

    def each(value):
        value = jnp.broadcast_to(value[..., None], (*value.shape, x.shape[-1] // 2)).reshape(x.shape[0], -1)
        return value.reshape(x.shape[0], *[1] * (x.ndim - 2), -1)

    return (x - each(mean)) * (lax.rsqrt(each(variance) + 1e-6) * WEIGHT) + BIAS


def instance(x):
    axes = tuple(range(1, x.ndim - 1))
    return (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5) * WEIGHT + BIAS


SPELLINGS = {
    "var": with_var,
    "divided": divided,
    "written out": written_out,
    "jit": jax.jit(with_var),
}


def kinds(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("batch", ["B", 3])
def test_group_norm(spelling, batch):
    found = kinds(check(SPELLINGS[spelling], Spec((batch, 4, 5, 6))))
    assert found == ["Transpose", "Reshape", "InstanceNormalization", "Reshape", "Mul", "Add", "Transpose"]


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4, 6), (1, 1, 6)])
def test_any_number_of_axes(shape):
    check(with_var, Spec(("B", *shape)), contains=["InstanceNormalization"], absent=["ReduceMean"])


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_number_of_groups(groups):
    check(lambda x: with_var(x, groups), Spec(("B", 4, 5, 6)), absent=["ReduceMean"])


def test_vmap():
    norm = jax.vmap(lambda x: with_var(x[None])[0])
    check(norm, Spec(("B", 4, 5, 6)), contains=["InstanceNormalization"], absent=["ReduceMean"])


def test_of_one_image():
    check(lambda x: with_var(x[None])[0], Spec((4, 5, 6)), contains=["InstanceNormalization"], absent=["ReduceMean"])


@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 4, 6)])
def test_instance_norm(shape):
    assert kinds(check(instance, Spec(("B", *shape)))) == ["Transpose", "InstanceNormalization", "Transpose"]


def test_transposes_cancel_with_those_of_convolutions():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 6, 6)).astype(np.float32)

    def conv(x):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    program = check(lambda x: conv(jax.nn.relu(written_out(conv(x)))), Spec(("B", 4, 5, 6)))
    assert kinds(program).count("Transpose") == 2


def test_nan_infinity_and_numbers_far_from_zero():
    x = np.random.default_rng(0).standard_normal((5, 3, 4, 6)).astype(np.float32)
    x[1, 1, 1, 1], x[2, 0, 0, 4], x[3, 2], x[4, :, :, 2] = np.nan, np.inf, -np.inf, 1e3
    check(with_var, x, contains=["InstanceNormalization"], atol=1e-4)  # of 1e3, float32 has seven digits


@pytest.mark.parametrize("shape", [(0, 4, 5, 6), (2, 0, 5, 6)])
def test_empty(shape):
    check(instance, Spec(shape), opsets=(21,))


def test_primal_of_a_gradient():
    check(jax.value_and_grad(lambda x: with_var(x)[..., 1].sum()), Spec((2, 4, 5, 6)), atol=1e-4)


def test_float64_is_left_to_exact_operators():
    with jax.enable_x64(True):
        check(with_var, Spec((2, 4, 5, 6), np.float64), absent=["InstanceNormalization"])


OTHERS = {
    "groups of channels that are apart": lambda x: _normal(x.reshape(2, 4, 5, 3, 2), (1, 2, 3)),
    "all channels": lambda x: _normal(x.reshape(2, 4, 5, 2, 3), (1, 2, 3, 4)),
    "one axis too few": lambda x: _normal(x.reshape(2, 4, 5, 2, 3), (2, 4)),
    "the batch too": lambda x: _normal(x.reshape(2, 4, 5, 2, 3), (0, 1, 2, 4)),
    "other means": lambda x: _normal(x.reshape(2, 4, 5, 2, 3), (1, 2, 4), mean_axes=(1, 2)),
    "another array": lambda x: _normal(x.reshape(2, 4, 5, 2, 3), (1, 2, 4), of=lambda x: x[::-1]),
    "another order of groups": lambda x: (
        (x - jnp.tile(x.reshape(2, 4, 5, 2, 3).mean((1, 2, 4)), (1, 3)).reshape(2, 1, 1, 6)) * written_out(x)
    ),
    "one axis": lambda x: _normal(x, (1,)),
}


def _normal(x, axes, mean_axes=None, of=lambda x: x):
    mean = of(x).mean(mean_axes or axes, keepdims=True)
    return ((x - mean) * lax.rsqrt(of(x).var(axes, keepdims=True) + 1e-5)).reshape(2, 4, 5, 6)


@pytest.mark.parametrize("other", OTHERS)
def test_other_norms(other):
    check(OTHERS[other], Spec((2, 4, 5, 6)), opsets=(21,), atol=1e-5)


@pytest.mark.parametrize("squares", [True, False])
def test_declines_numbers_of_groups_for_channels_that_are_apart(squares):
    """As many groups as each has channels: the shapes are those of groups whose channels lie side by side."""

    def fn(x):
        grouped, axes = groups_of(x)
        mean = grouped.mean(axes)
        centred = grouped - grouped.mean(axes, keepdims=True)
        variance = (grouped**2).mean(axes) - mean**2 if squares else (centred**2).mean(axes)

        def each(value):
            return jnp.broadcast_to(value[:, None, :], (2, 2, 2)).reshape(2, 1, 1, 4)

        return (x - each(mean)) / jnp.sqrt(each(variance) + 1e-5)

    check(fn, Spec((2, 5, 7, 4)), absent=["InstanceNormalization"], opsets=(21,), atol=1e-4)


@pytest.mark.parametrize("other", ["other means", "another array", "one axis"])
def test_declines(other):
    check(OTHERS[other], Spec((2, 4, 5, 6)), absent=["InstanceNormalization"], opsets=(21,), atol=1e-5)


def test_declines_symbolic_images():
    check(with_var, Spec(("B", "H", "W", 6)), absent=["InstanceNormalization"], opsets=(21,))
