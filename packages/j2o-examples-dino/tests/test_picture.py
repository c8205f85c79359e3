import numpy as np
import pytest

from j2o_examples_dino._photo import draw_photo
from j2o_examples_dino._picture import colour_map, colours, side_by_side


@pytest.fixture
def tokens():
    rng = np.random.default_rng(0)
    return rng.standard_normal((12, 3)) @ rng.standard_normal((3, 20)) + 5


def test_components_are_orthonormal_and_span_the_tokens(tokens):
    mapping = colour_map(tokens)
    np.testing.assert_allclose(mapping.components.T @ mapping.components, np.eye(3), atol=1e-12)
    centred = tokens - tokens.mean(axis=0)
    np.testing.assert_allclose(centred @ mapping.components @ mapping.components.T, centred, atol=1e-12)
    variances = np.var(centred @ mapping.components, axis=0)
    assert variances[0] > variances[1] > variances[2]


def test_colours_use_the_whole_range(tokens):
    image = colours(tokens, colour_map(tokens), (3, 4))
    assert image.shape == (3, 4, 3)
    np.testing.assert_array_equal(image.min(axis=(0, 1)), 0)
    np.testing.assert_array_equal(image.max(axis=(0, 1)), 255)


def test_colours_do_not_depend_on_the_order_of_tokens(tokens):
    again = colour_map(tokens[::-1])
    np.testing.assert_allclose(again.components, colour_map(tokens).components, atol=1e-10)


@pytest.mark.parametrize("patches", [1, 2, 12])
def test_equal_or_few_tokens(patches):
    image = colours(np.ones((patches, 20)), colour_map(np.ones((patches, 20))), (1, patches))
    np.testing.assert_array_equal(image, np.broadcast_to(image[0, 0], image.shape))


@pytest.mark.parametrize("shape", [(64, 64), (64, 20), (10, 200)])
def test_equal_features_look_equal_and_others_do_not(tokens, shape):
    photo = np.resize(draw_photo(64), (*shape, 3))
    sheet = side_by_side(photo, {"a": tokens, "b": tokens, "c": tokens[::-1]}, (3, 4), "title")
    pixels = np.asarray(sheet)
    panel = (pixels.shape[1] - 16) // 5
    _, first, second, third, similar = (pixels[68:-16, 16 + i * panel : (i + 1) * panel] for i in range(5))
    assert first.shape[0] == 384
    np.testing.assert_array_equal(first, second)
    assert np.mean(first != third) > 0.5
    # The patch in the middle is most like itself, and marked.
    height, width, _ = similar.shape
    np.testing.assert_array_equal(similar[height // 2 + 20, width * 5 // 8], [253, 231, 37])
    np.testing.assert_array_equal(similar[height // 3 + 1, width * 5 // 8], [178, 34, 51])
    # Patches lie row by row: the corner patch of the map is the first token's colour.
    np.testing.assert_array_equal(first[5, 5], colours(tokens, colour_map(tokens), (3, 4))[0, 0])


def test_long_title_fits(tokens):
    narrow = side_by_side(np.zeros((64, 20, 3), np.uint8), {"a": tokens}, (3, 4), "a title " * 40)
    wide = side_by_side(np.zeros((64, 20, 3), np.uint8), {"a": tokens}, (3, 4), "a title " * 80)
    assert wide.width > 1.9 * narrow.width
