"""Numbers for each channel behind a product go into its weights."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import to_onnx
from j2o_core.testing import Spec, check, expect_graph


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


W, B, G = normal(6, 4), normal(4, seed=1), normal(4, seed=2)


def test_layer_scale_is_in_weight_and_bias():
    program = check(lambda x: x + (jnp.tanh(x) @ normal(4, 4) + B) * G, Spec(("B", 3, 4)), opsets=(21,))
    expect_graph(program, "x:f32[B,3,4] -> Tanh -> MatMul(f32[4,4]) -> Add(B[scaled]) -> Add(x, _) -> output")


@pytest.mark.parametrize(
    "fn", [lambda x: (x @ W) * G, lambda x: G[None] * (B + x @ W), lambda x: (x @ W + B) / (1 + G * G)]
)
def test_is_a_product_with_at_most_a_bias(fn):
    check(fn, Spec(("B", 3, 6)), absent=["Mul", "Div"])


def test_double_precision(x64):
    w, g = W.astype(np.float64), G.astype(np.float64)
    check(lambda x: (x @ w) * g, Spec((3, 6), np.float64), absent=["Mul"], opsets=(21,))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: ((y := x @ W) * G, y),
        lambda x: ((y := x @ W + B) * G) + y,
        lambda x: (x @ W) * G + jnp.tanh(x) @ W,
        lambda x: (x @ W) * normal(3, 4),
        lambda x: (x @ W) * normal(3, 1),
        lambda x: (x @ W[:, :3]) * normal(3, 1),
        lambda x: (x @ W[:, :3] + B[:3]) * normal(3, 1),
        lambda x: (x @ W[:, 0]) * normal(3),
        lambda x: (x @ W) * 0.5,
        lambda x: (x @ W) * (G * 1e-37),
        lambda x: (x @ W) * np.array([1, 2, np.inf, 0], np.float32),
        lambda x: (((y := x @ W) + B) * G, y),
    ],
    ids=[
        *("result", "reader", "weight", "rows too", "rows", "as many rows", "as many rows of a sum", "vector"),
        *("one number", "underflow", "infinite", "product"),
    ],
)
def test_declines(fn):
    check(fn, Spec((3, 6)), contains=["Mul"], opsets=(21,))


def test_declines_integers():
    weight, scale = np.arange(24, dtype=np.int32).reshape(6, 4), np.arange(1, 5, dtype=np.int32)
    for fn in (lambda x: (x @ weight) * scale, lambda x: x * scale[0] // scale[:3, None] * scale[1:, None]):
        check(fn, Spec((3, 6), np.int32), contains=["Mul"], opsets=(21,))


def test_declines_half_precision():
    w, g = W.astype(np.float16), G.astype(np.float16)
    check(lambda x: (x @ w) * g, Spec((3, 6), np.float16), contains=["Mul"], opsets=(21,))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_constants_that_are_rounded_at_export_are_rounded_once(dtype):
    def fn(x):
        return ((x @ W + B) * G) / (1 + B * B) @ normal(4, 3) + 1

    program = to_onnx(fn, [(3, 6)], dtype=dtype)
    program.verify()
    exact = {"MatMul": (W * (G / (1 + B * B))), "Add": B * (G / (1 + B * B))}
    nodes = {}
    for node in program.model.graph:
        nodes.setdefault(node.op_type, node)
    assert not {"Mul", "Div"} & nodes.keys()
    for op_type, want in exact.items():
        tensor = next(one.const_value for one in nodes[op_type].inputs if one.const_value is not None)
        half_a_unit = float(jnp.finfo(dtype).eps) / 2
        np.testing.assert_allclose(
            tensor.numpy().astype(np.float32).reshape(want.shape), want, rtol=1.001 * half_a_unit
        )


def _columns(*factors):
    return lambda x: jnp.tanh((x @ (3 * W)) * np.array(factors, np.float32)) @ normal(4, 3)


def _kernel(*factors):
    scale = np.array(factors, np.float32)[:, None, None]
    return lambda x: lax.conv(jnp.tanh(lax.conv(x, normal(4, 3, 1, 1), (1, 1), "SAME") * scale), K, (1, 1), "SAME")


K = normal(2, 4, 1, 1)
SHIFT = np.array([6e4, 5e4, 4e4, 3e4], np.float32)[:, None, None]


@pytest.mark.parametrize(
    ("fn", "shape", "op_type"),
    [
        (_columns(1, 2, 3, 6e4), (3, 6), "Mul"),
        (_columns(1, 2, 3, 1e-6), (3, 6), "Mul"),
        (_kernel(1, 2, 3, 6e4), (1, 3, 4, 4), "Mul"),
        (_kernel(1, 2, 3, 1e-6), (1, 3, 4, 4), "Mul"),
        (
            lambda x: lax.conv(
                jnp.tanh(lax.conv(x, normal(4, 3, 1, 1), (1, 1), "SAME") + SHIFT + SHIFT), K, (1, 1), "SAME"
            ),
            (1, 3, 4, 4),
            "Add",
        ),
        (lambda x: jnp.tanh(x @ W + SHIFT.reshape(-1) + SHIFT.reshape(-1)) @ normal(4, 3), (3, 6), "Add"),
    ],
    ids=["overflow", "underflow", "kernel overflow", "kernel underflow", "shift", "bias"],
)
def test_declines_where_half_precision_has_no_such_number(fn, shape, op_type):
    program = to_onnx(fn, [shape], dtype="float16", target=None)
    first = next(index for index, node in enumerate(program.model.graph) if node.op_type in ("MatMul", "Conv"))
    assert op_type in [node.op_type for node in program.model.graph][first : first + 3]
    constants = [one.const_value.numpy() for one in program.model.graph.initializers.values()]
    assert all(np.isfinite(array.astype(np.float32)).all() for array in constants)


def test_small_numbers_of_a_channel_may_be_subnormal_in_half_precision():
    weight = W * np.array([1e-7, 1, 1, 1, 1, 1], np.float32)[:, None]
    fn = lambda x: jnp.tanh((x @ weight) * G) @ normal(4, 3)  # noqa: E731
    program = to_onnx(fn, [(3, 6)], dtype="float16", target=None)
    assert "Mul" not in {node.op_type for node in program.model.graph}
    program.verify()


def test_a_small_number_of_a_bias_may_be_subnormal_in_half_precision():
    bias = B * np.array([1e-6, 1, 1, 1], np.float32)
    program = to_onnx(lambda x: jnp.tanh((x @ W + bias) * G) @ normal(4, 3), [(3, 6)], dtype="float16", target=None)
    assert "Mul" not in {node.op_type for node in program.model.graph}
    program.verify()


def batch_norm(y, mean, variance, weight, bias):
    shape = (-1, *[1] * (y.ndim - 2))
    scale = weight / np.sqrt(variance + 1e-5)
    return (y - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_batch_norm_is_in_the_convolution_in_half_precision(dtype, with_bias):
    statistics = normal(6, seed=1), normal(6, seed=2) ** 2 + 0.1, normal(6, seed=3), normal(6, seed=4)
    kernel, bias, last = normal(6, 4, 3, 3), normal(6, 1, 1), normal(2, 6, 1, 1)

    def fn(x):
        y = lax.conv(x, kernel, (1, 1), "SAME")
        y = batch_norm(y + bias if with_bias else y, *statistics)
        return lax.conv(jnp.tanh(y), last, (1, 1), "SAME")

    program = to_onnx(fn, [("B", 4, 5, 5)], dtype=dtype, target=None)
    assert {node.op_type for node in program.model.graph} == {"Cast", "Conv", "Tanh"}
    mean, variance, weight, shift = statistics
    scale = weight / np.sqrt(variance + 1e-5)
    shift = shift + (with_bias * bias.reshape(-1) - mean) * scale
    wanted = {(6, 4, 3, 3): kernel * scale[:, None, None, None], (6,): shift, (2, 6, 1, 1): last}
    for one in program.model.graph.initializers.values():
        array = one.const_value.numpy()
        half_a_unit = float(jnp.finfo(dtype).eps) / 2
        np.testing.assert_allclose(array.astype(np.float32), wanted[array.shape], 1.001 * half_a_unit, 1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("with_bias", [False, True])
def test_batch_norm_is_in_the_convolution(groups, with_bias):
    kernel = normal(6, 4 // groups, 3, 3)
    statistics = normal(6, seed=1), normal(6, seed=2) ** 2, normal(6, seed=3), normal(6, seed=4)

    def fn(x):
        y = lax.conv(x, kernel, (1, 1), "SAME") if groups == 1 else grouped(x)
        return jnp.maximum(batch_norm(y + B6 if with_bias else y, *statistics), 0)

    B6 = normal(6, 1, 1, seed=5)

    def grouped(x):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=groups)

    program = check(fn, Spec(("B", 4, 5, 5)), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Conv", "Relu"]


def channels_last(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


CHANNELS_LAST = {
    "flax": lambda y, mean, variance, weight, bias: (y - mean) * (lax.rsqrt(variance + 1e-5) * weight) + bias,
    "haiku": lambda y, mean, variance, weight, bias: (
        (y - mean.reshape(1, 1, 1, 6)) * (weight * lax.rsqrt(variance + 1e-5)).reshape(1, 1, 1, 6) + bias
    ),
    "divided": lambda y, mean, variance, weight, bias: weight * (y - mean) / jnp.sqrt(variance + 1e-5) + bias,
    "with a bias": lambda y, mean, variance, weight, bias: (y + bias - mean) * (weight / jnp.sqrt(variance + 1e-5)),
}


@pytest.mark.parametrize("spelling", CHANNELS_LAST)
@pytest.mark.parametrize("batch", [1, 2, "B"])
def test_batch_norm_with_channels_last_is_in_the_convolution(spelling, batch):
    kernel = normal(3, 3, 4, 6)
    statistics = normal(6, seed=1), normal(6, seed=2) ** 2, normal(6, seed=3), normal(6, seed=4)
    program = check(
        lambda x: CHANNELS_LAST[spelling](channels_last(x, kernel), *statistics),
        Spec((batch, 5, 5, 4)),
        contains=["Conv"],
        opsets=(18, 23),
    )
    assert {node.op_type for node in program.model.graph} <= {"Transpose", "Reshape", "Conv"}


@pytest.mark.parametrize(
    "change",
    [
        lambda y: (y * G6, y),
        lambda y: y * normal(5, 1),
        lambda y: y * normal(5, 5, 1),
        lambda y: y * normal(5, 6),
        lambda y: y * np.array([1, 2, np.inf, 0, 1, 3], np.float32),
        lambda y: y / np.array([1, 2, 0, 0, 1, 3], np.float32),
        lambda y: G6 / y,
        lambda y: G6 - y,
    ],
    ids=["read elsewhere", "along rows", "along the image", "rows too", "infinite", "by zero", "divisor", "taken off"],
)
def test_what_is_not_for_each_channel_stays_behind_the_transpose(change):
    program = check(lambda x: change(channels_last(x, normal(3, 3, 4, 6))), Spec((2, 5, 5, 4)), opsets=(21,))
    names = [node.op_type for node in program.model.graph]
    assert names[: names.index("Transpose", names.index("Conv"))][-1] == "Conv"


G6 = normal(6, seed=5)


def test_transposed_convolution():
    kernel, scale = normal(3, 3, 4, 6), normal(6, 1, 1, seed=1)
    numbers = ("NCHW", "HWIO", "NCHW")

    def fn(x):
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers) * scale

    check(fn, Spec((2, 4, 5, 5)), absent=["Mul"], opsets=(21,))


@pytest.mark.parametrize("out", [2, 6])
def test_a_transposed_convolution_in_groups_stays(out):
    scale = normal(out, 1, 1, seed=1)

    def fn(x):
        y = lax.conv_general_dilated(
            x, normal(out, 2, 3, 3), (1, 1), [(1, 1)] * 2, lhs_dilation=(2, 2), feature_group_count=2
        )
        return y * scale

    check(fn, Spec((2, 4, 5, 5)), contains=["ConvTranspose", "Mul"], opsets=(21,))


def test_a_convolution_stays_that_broadcasts_to_more_channels():
    check(lambda x: lax.conv(x, K[:1], (1, 1), "SAME") * normal(6, 1, 1), Spec((1, 4, 3, 3)), contains=["Mul"])


def test_a_bias_that_the_scale_makes_infinite_stays():
    bias, scale = normal(2, 1, 1) * np.float32(1e25), normal(2, 1, 1, seed=1) * np.float32(1e25)
    fn = lambda x: (lax.conv(x, K, (1, 1), "SAME") + bias) * scale  # noqa: E731
    check(fn, Spec((1, 4, 3, 3)), contains=["Mul"], opsets=(21,))


def test_a_convolution_that_is_read_elsewhere_stays():
    kernel, scale = normal(6, 4, 3, 3), normal(6, 1, 1, seed=1)

    def fn(x):
        y = lax.conv(x, kernel, (1, 1), "SAME")
        return y * scale, y + 1 / scale

    check(fn, Spec((2, 4, 5, 5)), contains=["Mul", "Add"], opsets=(21,))


def test_gradient_of_layer_scale():
    def loss(x, g):
        return jnp.sum(((x @ W) * g) ** 2)

    check(jax.grad(loss, (0, 1)), Spec((3, 6)), Spec((4,)), opsets=(21,))


def trained_batch_norm(mode, channels=6):
    """A batch norm of Equinox in inference mode, its state (a constant of the program) after one batch."""
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(channels, "batch", mode=mode)
    norm = eqx.tree_at(lambda n: (n.weight, n.bias), norm, (normal(channels, seed=6), normal(channels, seed=7)))
    batch = 3 * normal(8, channels, 4, 4, seed=8) + 1
    _, state = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(batch, state)
    return eqx.nn.inference_mode(norm), state


CONVOLUTIONS = {
    "Conv1d": (functools.partial(eqx.nn.Conv1d, 4, 6, 3), (4, 7)),
    "Conv2d": (functools.partial(eqx.nn.Conv2d, 4, 6, 3, padding=1), (4, 7, 5)),
    "Conv2d without bias": (functools.partial(eqx.nn.Conv2d, 4, 6, 3, use_bias=False), (4, 7, 5)),
    "Conv2d in groups": (functools.partial(eqx.nn.Conv2d, 6, 6, 3, groups=6), (6, 7, 5)),
    "Conv3d": (functools.partial(eqx.nn.Conv3d, 4, 6, 2), (4, 3, 4, 5)),
    "ConvTranspose2d": (functools.partial(eqx.nn.ConvTranspose2d, 4, 6, 3), (4, 7, 5)),
}


@pytest.mark.parametrize("mode", ["ema", "batch"])
@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_batch_norm_of_equinox_is_in_the_convolution(layer, mode):
    make, shape = CONVOLUTIONS[layer]
    conv = make(key=jax.random.key(0))
    norm, state = trained_batch_norm(mode)

    def block(x):
        return norm(conv(x), state)[0]

    program = check(jax.vmap(block, axis_name="batch"), Spec(("B", *shape)))
    assert [node.op_type for node in program.model.graph] == ["Conv"]
    program = check(jax.jit(block), Spec(shape))
    assert [node.op_type for node in program.model.graph] == ["Reshape", "Conv", "Reshape"]


@pytest.mark.parametrize("shape", [("B",), (), ("A", "B")])
def test_batch_norm_of_equinox_is_in_the_linear_layer(shape):
    linear = eqx.nn.Linear(4, 6, key=jax.random.key(0))
    norm, state = trained_batch_norm("ema")

    def block(x):
        return norm(linear(x), state)[0]

    for _ in shape:
        block = jax.vmap(block)
    program = check(block, Spec((*shape, 4)), absent=["Sub", "Div", "Mul"])
    assert [node.op_type for node in program.model.graph] == ["MatMul", "Add"]


def test_batch_norm_alone_has_one_scale():
    norm, state = trained_batch_norm("ema")
    program = check(jax.vmap(lambda x: norm(x, state)[0]), Spec(("B", 6, 4, 4)))
    assert [node.op_type for node in program.model.graph] == ["Sub", "Mul", "Add"]


def test_batch_norm_in_training_stays():
    kernel = normal(6, 4, 3, 3)

    def block(x):
        y = lax.conv(x, kernel, (1, 1), "SAME")
        centred = y - y.mean((0, 2, 3), keepdims=True)
        return centred / jnp.sqrt(y.var((0, 2, 3), keepdims=True) + 1e-5)

    check(block, Spec((3, 4, 7, 5)), contains=["Conv", "Sub", "Div"], opsets=(21,))


@pytest.mark.parametrize(
    "scales",
    [
        lambda x: x * G * B,
        lambda x: G * (x / B),
        lambda x: x / G / B,
        lambda x: x * normal(3, 4, seed=5) / G,
        jax.jit(jax.vmap(lambda x: (x * G) * B)),
    ],
    ids=["mul mul", "div mul", "div div", "rows too", "vmap"],
)
def test_two_scales_are_one(scales):
    program = check(scales, Spec((3, 4)))
    assert [node.op_type for node in program.model.graph] == ["Mul"]


@pytest.mark.parametrize(
    "scales",
    [
        lambda x: x * G * (B * 1e-38),
        lambda x: x * G / np.array([1, 2, 0, 4], np.float32),
        lambda x: (2 * x) * G,
        lambda x: (x * G) * 2,
        lambda x: G / (x * B),
        lambda x: (y := x * G) * B + y,
        lambda x: x * G * normal(3, 1, seed=5),
        lambda x: (x[0] * G) * normal(3, 4, seed=5),
    ],
    ids=["underflow", "zero", "one number", "one number behind", "inverse", "reader", "rows and columns", "larger"],
)
def test_two_scales_stay(scales):
    program = check(scales, Spec((3, 4)), opsets=(21,))
    assert len([node for node in program.model.graph if node.op_type in ("Mul", "Div")]) == 2


@pytest.mark.parametrize("shapes", [((300, 300), (300,)), ((300,), (300, 300))])
def test_tables_are_not_multiplied(shapes):
    first, second = (normal(*shape) for shape in shapes)
    program = check(lambda x: (x * first) * second, Spec((300, 300)), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Mul", "Mul"]


def test_shifts_behind_a_bias_are_one():
    check(lambda x: x @ W + B - G, Spec(("B", 3, 6)), absent=["Sub"])
    check(lambda x: G[None] + (B + x @ W), Spec((3, 6)), absent=["Sub"])
    program = check(lambda x: x @ W + normal(3, 4) + G, Spec((3, 6)))
    assert [node.op_type for node in program.model.graph] == ["MatMul", "Add"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (y := x @ W + B) - G + jnp.tanh(y),
        lambda x: x @ W + B - normal(3, 4),
        lambda x: G - (x @ W + B),
        lambda x: x @ W + B - 0.5,
    ],
    ids=["reader", "rows too", "negated", "one number"],
)
def test_shifts_that_stay(fn):
    check(fn, Spec((3, 6)), contains=["Sub"], opsets=(21,))


def test_what_is_no_channel_stays_behind_the_reshape():
    conv = eqx.nn.Conv2d(4, 6, 3, padding=1, key=jax.random.key(0))
    check(lambda x: conv(x) + normal(7, 1), Spec((4, 7, 5)), contains=["Add"], opsets=(21,))
    check(lambda x: conv(x) * normal(2, 6, 1, 1), Spec((4, 7, 5)), contains=["Mul"], opsets=(21,))
    # Rows of images whose channels were split are as many as the channels were.
    split = lambda x: conv(x).reshape(2, 6, 2, 9) * normal(6, 1, 1)  # noqa: E731
    check(split, Spec((4, 4, 9)), contains=["Mul"], opsets=(21,))
    check(lambda x: (conv(x).reshape(6, -1), conv(x).reshape(-1, 5) + 1), Spec((4, 7, 5)), opsets=(21,))
