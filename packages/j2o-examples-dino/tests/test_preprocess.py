import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from j2o_examples_dino import LVD, SAT, ImageError, ImageStatistics, preprocess, statistics_for


def _with_pillow(image: np.ndarray, size: tuple[int, int], statistics: ImageStatistics) -> np.ndarray:
    """The same by Pillow, whose bilinear resize of float images is antialiased, and NumPy."""
    height, width = size
    channels = []
    for channel, mean, std in zip(np.moveaxis(image, -1, 0), *statistics, strict=True):
        unit = Image.fromarray(channel.astype(np.float32) / 255)
        resized = np.asarray(unit.resize((width, height), Image.Resampling.BILINEAR))
        channels.append((resized - mean) / std)
    return np.stack(channels)


@pytest.mark.parametrize("statistics", [LVD, SAT], ids=["lvd", "sat"])
@pytest.mark.parametrize("size", [256, 224, 32, (48, 640)])
@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_photographs(name, size, statistics):
    photo = getattr(skimage.data, name)()
    result = preprocess(photo, size, statistics)
    pair = (size, size) if isinstance(size, int) else size
    assert result.shape == (3, *pair)
    assert result.dtype == jnp.float32
    # jax.image.resize places its samples in float32, which at a width of 512 is good to 3e-5 of a pixel; next to an
    # edge as high as 1 / std = 7 that is 2e-4. Where the ratio of the sizes is a power of two nothing is rounded.
    exact = all(float(np.log2(full / part)).is_integer() for full, part in zip(photo.shape, pair, strict=False))
    np.testing.assert_allclose(result, _with_pillow(photo, pair, statistics), atol=2e-6 if exact else 2e-4)


def test_same_size_is_not_blurred():
    photo = skimage.data.astronaut()
    result = np.moveaxis(np.asarray(preprocess(photo, 512)), 0, -1)
    np.testing.assert_allclose(result, (photo / 255 - LVD.mean) / LVD.std, atol=2e-6)


def test_constant_image_stays_constant_up_to_the_border():
    result = preprocess(np.full((37, 53, 3), 200, np.uint8), 24)
    expected = (200 / 255 - np.array(LVD.mean)) / LVD.std
    np.testing.assert_allclose(result, np.broadcast_to(expected[:, None, None], (3, 24, 24)), atol=2e-6)


def test_floats_and_bytes_are_the_same():
    photo = skimage.data.chelsea()
    np.testing.assert_array_equal(preprocess(photo, 64), preprocess(photo.astype(np.float32), 64))


def test_under_jit_and_vmap():
    photo = skimage.data.chelsea()
    expected = preprocess(photo, 64)
    batch = jax.jit(jax.vmap(lambda image: preprocess(image, 64)))(np.stack([photo, photo[::-1]]))
    # Values up to 2.7, so 3e-6 is a dozen float32 steps: a compiled batch sums hundreds of pixels in another order.
    np.testing.assert_allclose(batch[0], expected, atol=3e-6)


@pytest.mark.parametrize("shape", [(32, 32), (3, 32, 32), (2, 32, 32, 3), (32, 0, 3), (32, 32, 4)])
def test_what_is_not_an_rgb_image_is_refused(shape):
    with pytest.raises(ImageError, match=r"\[height, width, 3\]"):
        preprocess(np.zeros(shape, np.uint8))


def test_empty_size_is_refused():
    with pytest.raises(ImageError, match="size must be positive"):
        preprocess(np.zeros((8, 8, 3), np.uint8), 0)


def test_statistics_for():
    assert statistics_for("vits16") is LVD
    assert statistics_for("vitl16_sat493m") is SAT
