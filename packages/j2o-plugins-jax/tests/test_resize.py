"""`jax.image.resize`: one Resize where sizes are known, its body otherwise, and the same numbers everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core


def _check(function, spec, *arrays, whole=True, opset=18, tolerance=2e-5):
    program = j2o_core.to_onnx(function, [spec], opset=opset)
    present = [node.op_type for node in program.model.graph.all_nodes()]
    assert present.count("Resize") == int(whole)
    assert ("MatMul" in present) is not whole
    for array in arrays:
        expected = np.asarray(function(array))
        actual = program(array)
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def _image(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


SIZES = [(8, 8), (16, 20), (20, 9), (3, 5), (12, 17), (1, 1), (24, 17), (12, 34)]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("size", SIZES)
def test_two_axes(size, method, antialias):
    image = _image(12, 17, 3)
    whole = size != (12, 17)

    def function(x):
        return jax.image.resize(x, (*size, 3), method, antialias=antialias)

    if whole:
        _check(function, image.shape, image)
    else:
        assert "Resize" not in [node.op_type for node in j2o_core.to_onnx(function, [image.shape]).model.graph]


@pytest.mark.parametrize("nonfinite", ["exact", None])
@pytest.mark.parametrize("factor", [2, 3, 7, 10])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (0,), (2,)])
def test_nearest_neighbours_of_multiples_are_copies(axes, factor, nonfinite):
    image = _image(6, 5, 3)
    image[0, 0, 0], image[2, 1, 2], image[1, 1, 1] = np.nan, np.inf, -0.0
    target = [size * (factor if axis in axes else 1) for axis, size in enumerate(image.shape)]
    options = {"nonfinite": nonfinite} if nonfinite else {}
    program = j2o_core.to_onnx(lambda x: jax.image.resize(x, target, "nearest"), [image], **options)
    operators = [node.op_type for node in program.model.graph]
    assert operators.count("Resize") == 1
    assert "Gather" not in operators
    expected = np.asarray(jax.image.resize(image, target, "nearest"))
    assert program(image).tobytes() == expected.tobytes()


def test_nearest_neighbours_between_convolutions_are_copies_with_channels_first():
    def fn(x, k):
        def conv(x):
            return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        y = conv(x)
        return conv(jax.image.resize(y + jnp.tanh(y), (2, 8, 12, 16), "nearest"))

    image, kernel = _image(2, 4, 4, 16), _image(3, 3, 16, 16)
    program = j2o_core.to_onnx(fn, [image, kernel])
    operators = [node.op_type for node in program.model.graph]
    assert operators.count("Resize") == 2
    assert "Gather" not in operators
    assert operators.count("Transpose") == 3  # of the image, of the kernel, of the result
    assert program.verify(image, kernel).relative < 1e-6


@pytest.mark.parametrize("target", [(9, 5, 3), (3, 5, 3), (12, 6, 3), (12, 10, 6), (12, 10, 16)])
def test_nearest_neighbours_of_other_sizes_and_of_many_channels_are_gathered(target):
    image = _image(6, 5, 16 if target[-1] == 16 else 3)
    program = j2o_core.to_onnx(lambda x: jax.image.resize(x, target, "nearest"), [image])
    assert "Resize" not in [node.op_type for node in program.model.graph]
    assert program.verify(image).relative == 0


@pytest.mark.parametrize("opset", [18, 19, 23, 26])
@pytest.mark.parametrize(
    ("shape", "target"), [((9, 14), (5, 14)), ((3, 9, 14), (3, 9, 20)), ((2, 8, 9, 3), (2, 4, 12, 3))]
)
def test_other_ranks(shape, target, opset):
    _check(lambda x: jax.image.resize(x, target, "bilinear"), shape, _image(*shape), opset=opset)


@pytest.mark.parametrize("method", [jax.image.ResizeMethod.CUBIC, "bilinear"])
def test_batches(method):
    def function(x):
        return jax.vmap(lambda image: jax.image.resize(image, (6, 5, 3), method))(x)

    _check(function, ("B", 12, 17, 3), _image(2, 12, 17, 3), _image(5, 12, 17, 3))


def test_under_jit():
    function = jax.jit(lambda x: jax.image.resize(x, (6, 5), "linear") * 2)
    _check(function, (12, 17), _image(12, 17))


@pytest.mark.parametrize(
    ("function", "spec"),
    [
        (lambda x: jax.image.resize(x, (6, 5, 3), "lanczos3"), (12, 17, 3)),
        (lambda x: jax.image.resize(x, (6, 5, 2), "linear"), (12, 17, 3)),
        (lambda x: jax.image.resize(x, (6,), "linear"), (12,)),
        (lambda x: jax.image.resize(x, (6, x.shape[1], 3), "linear"), (12, "W", 3)),
        (lambda x: jax.image.resize(x, (2 * x.shape[0], 5, 3), "linear"), ("H", 17, 3)),
    ],
    ids=["lanczos", "three axes", "one axis", "symbolic and kept", "symbolic"],
)
def test_what_the_operator_does_not_do(function, spec):
    shape = tuple(size if isinstance(size, int) else {"W": 17, "H": 12}[size] for size in spec)
    program = j2o_core.to_onnx(function, [spec], opset=18)
    np.testing.assert_allclose(program(_image(*shape)), function(_image(*shape)), atol=2e-5)


def test_integers_and_gradients():
    photo = np.random.default_rng(1).integers(0, 255, (12, 17, 3), dtype=np.uint8)
    program = j2o_core.to_onnx(
        lambda x: jax.image.resize(x / 255, (6, 5, 3), "linear"), [jax.ShapeDtypeStruct(photo.shape, np.uint8)]
    )
    assert "Resize" in [node.op_type for node in program.model.graph]
    np.testing.assert_allclose(
        program(photo), jax.image.resize(photo / np.float32(255), (6, 5, 3), "linear"), atol=2e-5
    )

    gradient = jax.grad(lambda x: jnp.sum(jax.image.resize(x, (6, 5), "cubic") ** 2))
    exported = j2o_core.to_onnx(gradient, [(12, 17)])
    np.testing.assert_allclose(exported(_image(12, 17)), gradient(_image(12, 17)), atol=2e-5)
