"""Windowed reductions against JAX: pooling, its gradients, dilation, padding, NaN and infinities, any reducer."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

INIT = {lax.add: 0, lax.max: -np.inf, lax.min: np.inf, lax.mul: 1}


def _pool(op, **params):
    def fn(x):
        dtype = x.dtype
        init = INIT[op]
        if np.isinf(init) and jnp.issubdtype(dtype, jnp.integer):
            init = jnp.iinfo(dtype).max if init > 0 else jnp.iinfo(dtype).min
        return lax.reduce_window(x, np.array(init, dtype), op, **params)

    return fn


IMAGE = {"window_dimensions": (1, 1, 3, 2), "window_strides": (1, 1, 2, 2)}


@pytest.mark.parametrize("op", [lax.add, lax.max, lax.min])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
def test_pooling(op, dtype):
    check(_pool(op, **IMAGE, padding="SAME"), Spec(("B", 3, 7, 6), dtype))


@pytest.mark.parametrize("op", [lax.add, lax.max])
@pytest.mark.parametrize("dtype", [*DTYPES.integers, DTYPES.floats[2]])
def test_element_types(op, dtype):
    check(_pool(op, **IMAGE, padding="VALID"), Spec((2, 3, 7, 6), dtype), opsets=(21,))


@pytest.mark.parametrize("op", [lax.add, lax.max, lax.min])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_wide_types(op, dtype):
    with jax.enable_x64(True):
        check(_pool(op, **IMAGE, padding="SAME"), Spec((2, 3, 7, 6), dtype), opsets=(21,))


def test_operators():
    check(_pool(lax.max, **IMAGE, padding="SAME"), Spec((1, 3, 8, 8)), contains=["MaxPool"], absent=["Gather"])
    check(_pool(lax.add, **IMAGE, padding="SAME"), Spec((1, 3, 8, 8)), contains=["AveragePool"], absent=["Gather"])


@pytest.mark.parametrize("window", [(1, 3, 2, 1), (2, 3), (4,), (2, 1, 2, 1, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("op", [lax.add, lax.max])
def test_any_axes(op, window):
    shape = (5, 6, 4, 5, 3)[: len(window)]
    check(
        _pool(op, window_dimensions=window, window_strides=(2,) * len(window), padding="SAME"),
        Spec(shape),
        opsets=(21,),
    )


@pytest.mark.parametrize("op", [lax.add, lax.max, lax.min, lax.mul])
@pytest.mark.parametrize("padding", [((0, 0), (1, 1)), ((4, 1), (0, 5)), ((-1, 2), (1, -2))])
@pytest.mark.parametrize("base", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
def test_padding_and_dilation(op, padding, base, dilation):
    params = {"window_dimensions": (3, 2), "window_strides": (2, 1), "padding": padding}
    check(_pool(op, **params, base_dilation=base, window_dilation=dilation), Spec((6, 7)), opsets=(18,))


@pytest.mark.parametrize(("op", "operator"), [(lax.max, "MaxPool"), (lax.add, "AveragePool")])
def test_padding_that_no_window_reaches_is_left_out(op, operator):
    params = {"window_dimensions": (1, 1, 3, 3), "window_strides": (1, 1, 2, 2)}
    pool = _pool(op, **params, padding=((0, 0), (0, 0), (1, 3), (0, 1)))
    check(pool, Spec((2, 3, 8, 9)), contains=[operator], absent=["Gather", "Pad"])
    check(jax.grad(lambda x: (pool(x) ** 2).sum()), Spec((2, 3, 8, 9)), opsets=(21,))


@pytest.mark.parametrize("op", [lax.max, lax.min, lax.add])
def test_nan_and_infinity(op):
    x = np.random.default_rng(0).standard_normal((1, 1, 12, 12)).astype(np.float32)
    x[..., 1, 1] = np.nan
    x[..., 7:, 7:] = -np.inf
    x[..., :4, 8:] = np.inf
    x[..., 10, 2] = np.finfo(np.float32).min
    check(_pool(op, **IMAGE, padding="SAME"), x, nonfinite="exact")


@pytest.mark.parametrize("op", [lax.max, lax.min])
def test_one_operator_by_default_and_a_note(op):
    program = check(
        _pool(op, **IMAGE, padding="SAME"), Spec((1, 3, 8, 8)), contains=["MaxPool"], absent=["Where", "Div"]
    )
    assert "MaxPool: NaN in a window is lost" in program.report()
    exact = check(_pool(op, **IMAGE, padding="SAME"), Spec((1, 3, 8, 8)), nonfinite="exact")
    assert "NaN in a window" not in exact.report()


@pytest.mark.parametrize("op", [lax.add, lax.max, lax.min])
def test_symbolic_axes(op):
    params = {"window_dimensions": (1, 2, 3), "window_strides": (1, 1, 2), "padding": "SAME"}
    check(_pool(op, **params), Spec(("B", "T", 5)), opsets=(21,))
    check(_pool(op, **params), Spec(("B", "T", 5), np.int32), opsets=(21,))


@pytest.mark.parametrize("shape", [(0, 4), (2, 1), (1, 1), (3, 0)])
def test_empty_and_size_one(shape):
    check(_pool(lax.max, window_dimensions=(1, 2), window_strides=(1, 1), padding="SAME"), Spec(shape), opsets=(21,))
    check(_pool(lax.add, window_dimensions=(1, 2), window_strides=(1, 1), padding="VALID"), Spec(shape), opsets=(21,))


def test_windows_of_minus_infinity_at_padding():
    all_minus = np.full((1, 1, 7, 6), -np.inf, np.float32)
    check(_pool(lax.max, **IMAGE, padding="SAME"), all_minus, opsets=(21,), nonfinite="exact")
    check(_pool(lax.min, **IMAGE, padding="SAME"), -all_minus, opsets=(21,), nonfinite="exact")


def test_any_reducer():
    def both(x, y):
        larger = lambda a, b: (jnp.where(a[0] >= b[0], a[0], b[0]), jnp.where(a[0] >= b[0], a[1], b[1]))  # noqa: E731
        inits = (np.float32(-9), np.int32(-1))
        return lax.reduce_window((x, y), inits, larger, (2, 3), (1, 2), "VALID")

    check(both, Spec((5, 8)), Spec((5, 8), np.int32), opsets=(21,))
    check(_pool(lax.mul, window_dimensions=(1, 5), window_strides=(1, 1), padding="SAME"), Spec((2, 9)), opsets=(21,))


@pytest.mark.parametrize("op", [lax.max, lax.min, lax.add])
def test_gradients(op):
    pool = _pool(op, **IMAGE, padding="SAME")
    check(jax.grad(lambda x: (pool(x) ** 2).sum()), Spec((2, 3, 7, 6)), opsets=(21,))


def test_gradient_with_ties_goes_to_the_first():
    x = np.array([[1, 1, 1, 0, 2, 2, 0, 0]], np.float32)
    pool = _pool(lax.max, window_dimensions=(1, 3), window_strides=(1, 2), padding="SAME")
    check(jax.grad(lambda x: pool(x).sum()), x, opsets=(18, 21))


@pytest.mark.parametrize("op", [lax.max, lax.min])
@pytest.mark.parametrize("padding", ["VALID", "SAME", [(0, 0), (2, 1), (0, 1), (0, 0)]])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (2, 3), (3, 1)])
def test_gradients_of_images(op, padding, window, stride):
    """Channels last, from ties, of a known and of a symbolic batch; elements go to windows as rows of channels."""
    sizes = {"window_dimensions": (1, window, window, 1), "window_strides": (1, stride, stride, 1)}
    pool = _pool(op, **sizes, padding=padding)
    whole = lambda x: pool(jnp.round(x))  # noqa: E731
    gradient = lambda x, dy: jax.vjp(whole, x)[1](dy)[0]  # noqa: E731
    y = jax.eval_shape(pool, jax.ShapeDtypeStruct((2, 7, 8, 3), np.float32)).shape
    check(gradient, Spec((2, 7, 8, 3)), Spec(y), opsets=(21,))
    check(gradient, Spec(("B", 7, 8, 3)), Spec(("B", *y[1:])), opsets=(18,))


def test_gradient_along_symbolic_axes():
    pool = _pool(lax.max, window_dimensions=(1, 2, 3), window_strides=(1, 1, 2), padding="SAME")
    check(jax.grad(lambda x: (pool(x) ** 2).sum()), Spec(("B", "T", 5)), opsets=(21,))


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_gradients_at_infinities(value):
    """Windows of one of them, and windows full of them."""
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 2)).astype(np.float32)
    x[0, 1, 1, 0] = x[0, 4:6, 4:6] = value
    pool = _pool(lax.max, window_dimensions=(1, 2, 2, 1), window_strides=(1, 2, 2, 1), padding="VALID")
    check(jax.grad(lambda x: pool(x)[:, 2:].sum()), x, opsets=(21,), nonfinite="exact")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("op", [lax.max, lax.min])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 1, [(1, 1)]), (2, 2, [(1, 0)]), (3, 2, [(2, 2)]), (4, 4, "VALID")],
    ids=["overlapping", "padded in front", "padded", "whole"],
)
def test_derivatives_where_there_is_nan(size, stride, padding, op, dtype):
    """All rows of four of these numbers: NaN starts the search in a window again."""
    x = np.array(list(itertools.product([np.nan, -np.inf, np.inf, 0, 1], repeat=4))).astype(dtype)
    pool = _pool(op, window_dimensions=(size,), window_strides=(stride,), padding=padding)
    weights = jnp.arange(1, 6, dtype=dtype)
    gradient = jax.grad(lambda x: (pool(x) * weights[: pool(x).shape[0]]).sum())
    options = {"opsets": (21,), "nonfinite": "exact"}
    check(jax.vmap(gradient), x, **options)
    check(jax.vmap(lambda x: jax.jvp(pool, (x,), (weights[:4],))[1]), x, **options)


def test_derivatives_of_images_where_there_is_nan():
    x = np.random.default_rng(0).choice([np.nan, -np.inf, np.inf, 0, 1], (2, 6, 7, 3)).astype(np.float32)
    pool = _pool(lax.max, window_dimensions=(1, 2, 3, 1), window_strides=(1, 1, 2, 1), padding="SAME")
    t = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    options = {"opsets": (21,), "nonfinite": "exact"}
    check(lambda x, dy: jax.vjp(pool, x)[1](dy)[0], x, t[:, :, :4], **options)
    check(lambda x, t: jax.jvp(pool, (x,), (t,))[1], x, t, **options)


@pytest.mark.parametrize("op", [lax.max, lax.min])
def test_forward_mode(op):
    pool = _pool(op, window_dimensions=(1, 3), window_strides=(1, 2), padding="SAME", window_dilation=(1, 2))
    check(lambda x, t: jax.jvp(pool, (x,), (t,)), Spec((2, 9)), Spec((2, 9)), opsets=(21,))


def test_vmap():
    pool = _pool(lax.max, **IMAGE, padding="SAME")
    check(jax.vmap(pool, 1), Spec((2, 4, 3, 7, 6)), opsets=(21,))
    check(jax.vmap(jax.grad(lambda x: pool(x).sum())), Spec((4, 2, 3, 7, 6)), opsets=(21,))


def test_a_scalar_stays_as_it_is():
    check(lambda x, i: lax.reduce_window(x, i, lax.max, (), (), "SAME"), np.float32(1), np.float32(4))


@pytest.mark.parametrize("init", [0.0, 2.0])
@pytest.mark.parametrize(
    "reducer", [lax.add, lax.mul, lambda a, b: a + b - a * b], ids=["add", "multiply", "of the user's own"]
)
@pytest.mark.parametrize(
    ("padding", "base"), [((4, 0), 1), ((0, 0), 2), ((-1, 4), 2), ((0, 0), 1)], ids=["pad", "holes", "both", "none"]
)
def test_what_pads_is_not_reduced(reducer, init, padding, base):
    """The initial value counts once, however much of a window lies outside."""

    def fn(x):
        return lax.reduce_window(x, np.float32(init), reducer, (1, 3), (1, 1), [(0, 0), padding], (1, base))

    check(fn, Spec(("B", 5)), opsets=(18, 26))
    check(jax.vmap(fn), Spec((2, 2, 5)), opsets=(21,))
