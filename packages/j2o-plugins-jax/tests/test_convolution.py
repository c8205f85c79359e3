"""Convolution against JAX: layouts, groups, dilation, padding, element types, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import DTYPES, Spec, check

SPATIAL = {1: (7,), 2: (7, 6), 3: (5, 4, 6)}
WINDOW = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}


def _conv(**params):
    def fn(x, w):
        rank = x.ndim - 2
        strides = params.get("window_strides", (1,) * rank)
        rest = {key: value for key, value in params.items() if key not in ("window_strides", "padding")}
        return lax.conv_general_dilated(x, w, strides, params.get("padding", "VALID"), **rest)

    return fn


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_plain_convolution_is_one_conv(rank):
    check(
        _conv(padding="SAME", window_strides=(2,) * rank),
        Spec(("B", 4, *SPATIAL[rank])),
        Spec((5, 4, *WINDOW[rank])),
        contains=["Conv"],
        absent=["Transpose", "Pad", "Reshape"],
    )


@pytest.mark.parametrize("dtype", [*DTYPES.floats, np.int8, np.int32, np.uint8])
def test_element_types(dtype):
    check(_conv(padding=[(1, 2), (0, 1)]), Spec((2, 3, 5, 4), dtype), Spec((4, 3, 2, 3), dtype), opsets=(18, 21))


def test_booleans():
    """Or of ands, as in a product of matrices."""
    check(_conv(padding=[(1, 2), (0, 1)]), Spec((2, 3, 5, 4), np.bool_), Spec((4, 3, 2, 3), np.bool_), opsets=(18, 21))


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("groups", [1, 2])
def test_wide_element_types(dtype, groups):
    with jax.enable_x64(True):
        check(
            _conv(padding=[(1, 2), (0, 1)], feature_group_count=groups, lhs_dilation=(2, 1)),
            Spec(("B", 4, 5, 4), dtype),
            Spec((4, 4 // groups, 2, 3), dtype),
            opsets=(21,),
        )


@pytest.mark.parametrize("numbers", [("NHWC", "HWIO", "NHWC"), ("CHWN", "OIHW", "NCHW"), ("NHWC", "OHWI", "HWNC")])
def test_layouts(numbers):
    sizes = {"N": "B", "C": 4, "H": 6, "W": 5}
    window = {"O": 6, "I": 4, "H": 3, "W": 2}
    check(
        _conv(padding="SAME", dimension_numbers=numbers),
        Spec(tuple(sizes[axis] for axis in numbers[0])),
        Spec(tuple(window[axis] for axis in numbers[1])),
        opsets=(21,),
        contains=["Conv"],
    )


@pytest.mark.parametrize("padding", [[(0, 0), (0, 0)], [(2, 1), (0, 3)], [(-1, 2), (3, -2)], [(5, 6), (0, 1)]])
@pytest.mark.parametrize(
    ("strides", "base", "dilation"),
    [((1, 1), (1, 1), (2, 1)), ((2, 3), (1, 1), (1, 1)), ((1, 1), (2, 3), (1, 2)), ((2, 1), (2, 2), (1, 1))],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_strides_dilation_and_padding(strides, base, dilation, padding, groups):
    params = {"window_strides": strides, "lhs_dilation": base, "rhs_dilation": dilation, "padding": padding}
    check(
        _conv(**params, feature_group_count=groups),
        Spec((2, 4, 7, 6)),
        Spec((6, 4 // groups, 3, 2)),
        opsets=(21,),
        absent=["MatMul"],
    )


def test_transposed_convolution_multiplies_no_zeros():
    check(
        lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
        Spec(("B", 3, 5, 4)),
        np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32),
        args=[
            (
                np.random.default_rng(1).standard_normal((2, 3, 5, 4)).astype(np.float32),
                np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32),
            )
        ],
        contains=["ConvTranspose"],
        absent=["Pad"],
    )


def test_batch_groups():
    check(_conv(batch_group_count=2, padding="SAME"), Spec((6, 3, 5, 4)), Spec((8, 3, 3, 2)), opsets=(18, 21))


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1)]])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_symbolic_length(padding, stride, dtype):
    check(
        _conv(padding=padding, window_strides=(stride,)),
        Spec(("B", 2, "T"), dtype),
        Spec((4, 2, 3), dtype),
        opsets=(21,),
        sizes=(3, 4, 9),
        constraints=["T >= 3"],
    )


@pytest.mark.parametrize(
    "shapes", [((0, 3, 5), (2, 3, 2)), ((2, 3, 1), (2, 3, 2)), ((2, 0, 5), (2, 0, 2)), ((2, 3, 1), (1, 3, 1))]
)
def test_empty_and_size_one(shapes):
    check(_conv(), Spec(shapes[0]), Spec(shapes[1]))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_filters_of_symbolic_length(padding):
    def fn(x):
        series = x.reshape(1, 1, -1)
        return lax.conv(series, series[..., 1:], (3,), padding)

    check(fn, Spec(("T", 2)))


def test_no_spatial_axis():
    check(_conv(window_strides=(), padding=()), Spec(("B", 3)), Spec((4, 3)), opsets=(21,))


def test_wider_result():
    check(
        _conv(preferred_element_type=np.float32), Spec((2, 3, 5), np.float16), Spec((4, 3, 2), np.float16), opsets=(21,)
    )
    check(_conv(preferred_element_type=np.int32), Spec((2, 3, 5), np.int8), Spec((4, 3, 2), np.int8), opsets=(21,))


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients(groups):
    def loss(x, w):
        y = lax.conv_general_dilated(x, w, (2, 1), "SAME", rhs_dilation=(1, 2), feature_group_count=groups)
        return jnp.sum(y * jnp.sin(y))

    check(jax.grad(loss, argnums=(0, 1)), Spec((2, 4, 7, 6)), Spec((6, 4 // groups, 3, 2)), opsets=(21,))


def _weight_gradient(shape, **params):
    """The gradient with respect to filters of a shape, by the images and the gradient of the result."""

    def fn(x, dy):
        conv = lambda w: lax.conv_general_dilated(x, w, **params)  # noqa: E731
        return jax.vjp(conv, jnp.zeros(shape, x.dtype))[1](dy)[0]

    return fn


NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("dtype", DTYPES.floats)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_of_filters_are_one_product(rank, dtype):
    """As a convolution with filters of the images' size, ONNX Runtime takes twice as long."""
    x, w = (2, 4, *(3 * size for size in SPATIAL[rank])), (5, 4, *WINDOW[rank])
    y = (2, 5, *(3 * size for size in SPATIAL[rank]))
    fn = _weight_gradient(w, window_strides=(1,) * rank, padding="SAME")
    check(fn, Spec(x, dtype), Spec(y, dtype), contains=["MatMul"], absent=["Conv"])


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1), (0, 3)], [(-1, 2), (1, -2)]])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("window", [(3, 2), (1, 1), (1, 4)])
def test_gradients_of_filters(strides, padding, dilation, window):
    params = {"window_strides": strides, "padding": padding, "rhs_dilation": dilation, "dimension_numbers": NHWC}
    x, shape = Spec((3, 13, 14, 2)), (*window, 2, 4)
    y = jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(x, w, **params),
        *(jax.ShapeDtypeStruct(s, np.float32) for s in ((3, 13, 14, 2), shape)),
    )
    check(_weight_gradient(shape, **params), x, Spec(y.shape), opsets=(21,), absent=["Conv"])


def test_gradients_of_filters_in_a_symbolic_batch():
    fn = _weight_gradient((3, 3, 2, 4), window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    check(fn, Spec(("B", 8, 9, 2)), Spec(("B", 8, 9, 4)), absent=["Conv"])
    check(jax.vmap(fn), Spec(("N", 2, 8, 9, 2)), Spec(("N", 2, 8, 9, 4)), opsets=(21,))


def test_infinities_in_images_reach_the_gradients_that_they_reach_in_jax():
    x = np.ones((2, 7, 8, 2), np.float32)
    x[0, 0, 3, 1], x[1, 6, 7, 0], x[0, 5, 0, 0] = np.inf, -np.inf, np.nan
    dy = np.random.default_rng(0).standard_normal((2, 7, 8, 3)).astype(np.float32)
    dy[1, 0, 0, 2] = 0
    fn = _weight_gradient((3, 3, 2, 3), window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
    check(fn, x, dy, nonfinite="exact", absent=["Conv"])


def test_other_convolutions_with_wide_filters_stay_convolutions():
    """Constant filters, filters for each feature, many windows, windows side by side."""
    kernel = np.ones((5, 4, 6, 6), np.float32)
    conv = _conv()
    check(lambda x: conv(x, kernel), Spec((2, 4, 7, 7)), contains=["Conv"], opsets=(21,))
    check(_conv(feature_group_count=2), Spec((2, 4, 7, 7)), Spec((6, 2, 6, 6)), contains=["Conv"], opsets=(21,))
    check(_conv(), Spec((2, 4, 9, 9)), Spec((5, 4, 5, 5)), contains=["Conv"], opsets=(21,))
    check(_conv(window_strides=(4, 4)), Spec((2, 3, 8, 8)), Spec((5, 3, 4, 4)), contains=["Conv"], opsets=(21,))
    check(_conv(), Spec((2, 1, 133)), Spec((1, 1, 100)), contains=["Conv"], opsets=(21,))


@pytest.mark.parametrize("axes", [(0, None), (None, 1), (1, 0)])
def test_vmap(axes):
    shapes = {None: ((2, 4, 5), (6, 4, 3)), 0: ((3, 2, 4, 5), (3, 6, 4, 3)), 1: ((2, 3, 4, 5), (6, 3, 4, 3))}
    x, w = shapes[axes[0]][0], shapes[axes[1]][1]
    check(jax.vmap(_conv(padding="SAME"), axes), Spec(x), Spec(w), opsets=(21,))


@pytest.mark.parametrize("scale", [np.inf, 3e38, 1e-42, 0, 2.5])
@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_scales_behind_a_convolution(scale, size):
    """ONNX Runtime merges them into the weights, which then may be infinite, or nothing."""
    scales = np.array([scale, -1, 2, 3], np.float32)[:, None, None]
    kernel = (size * np.random.default_rng(0).standard_normal((4, 3, 2, 2))).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)
    check(lambda x: lax.conv(x, kernel, (1, 1), "VALID") * scales, x, opsets=(18, 26))
    check(lambda x: scales * (lax.conv(x, kernel, (1, 1), "VALID") - scales / 8), x, opsets=(21,))
