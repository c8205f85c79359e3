"""How alike the patches of a picture are, in the eyes of a model."""

import numpy as np


def similarities(tokens: np.ndarray) -> np.ndarray:
    """The cosine between every two patches, of what tells them from the mean of all.

    Without the mean, which all tokens share, colours would differ by little.

    Args:
        tokens: `[patches, dim]`.

    Returns:
        `[patches, patches]` float64 in [-1, 1]; 0 for patches that are like the mean.
    """
    centred = np.asarray(tokens, np.float64)
    centred = centred - centred.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    cosines: np.ndarray = np.clip(unit @ unit.T, -1, 1)
    return cosines


# From dark blue over green to yellow, even steps of lightness.
STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64)


def heat(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Numbers `[rows * columns]` as colours, from their least to their greatest.

    Returns:
        `[rows, columns, 3]` uint8.
    """
    span = values.max() - values.min()
    unit = (values - values.min()) / (span if span > 0 else 1)
    places = np.linspace(0, 1, len(STOPS))
    channels = [np.interp(unit, places, STOPS[:, channel]) for channel in range(3)]
    coloured: np.ndarray = np.round(np.stack(channels, axis=-1)).astype(np.uint8).reshape(*grid, 3)
    return coloured


def patch_at(place: tuple[float, float], grid: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the patch at a place of the picture.

    Args:
        place: From left to right and from top to bottom, in [0, 1].
        grid: Rows and columns of patches.
    """
    across, down = place
    rows, columns = grid
    return min(int(down * rows), rows - 1), min(int(across * columns), columns - 1)
