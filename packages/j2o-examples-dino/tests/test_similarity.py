import numpy as np
import pytest

from j2o_examples_dino._similarity import heat, patch_at, similarities


def test_similarities_are_cosines_without_the_mean():
    tokens = np.array([[1, 0, 5], [2, 0, 5], [-1, 0, 5], [-2, 0, 5], [0, 3, 5], [0, -3, 5], [0, 0, 5]], float)
    cosines = similarities(tokens + 100)
    np.testing.assert_allclose(cosines[0], [1, 1, -1, -1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(cosines[6], 0, atol=1e-12)
    np.testing.assert_array_equal(cosines, cosines.T)


def test_heat_runs_from_dark_to_yellow():
    coloured = heat(np.array([-1.0, 0.0, 1.0, 0.5]), (2, 2))
    assert coloured.shape == (2, 2, 3)
    np.testing.assert_array_equal(coloured[0, 0], [68, 1, 84])
    np.testing.assert_array_equal(coloured[1, 0], [253, 231, 37])
    assert len({tuple(pixel) for pixel in coloured.reshape(-1, 3)}) == 4
    np.testing.assert_array_equal(heat(np.ones(4), (2, 2)), heat(np.zeros(4), (2, 2)))


@pytest.mark.parametrize(("place", "patch"), [((0, 0), (0, 0)), ((1, 1), (2, 3)), ((0.5, 0.5), (1, 2))])
def test_patch_at(place, patch):
    assert patch_at(place, (3, 4)) == patch
