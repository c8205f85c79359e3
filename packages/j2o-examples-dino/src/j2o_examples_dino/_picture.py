"""Seeing features: their first three principal components as colours, beside the photo."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ._similarity import heat, patch_at, similarities

_PANEL_HEIGHT = 384
_MARGIN = 16
_CAPTION_HEIGHT = 34
_INK = (32, 32, 32)
_MARK = (178, 34, 51)
_PAPER = (255, 255, 255)


class ColourMap(NamedTuple):
    """How a patch token becomes a colour.

    Attributes:
        mean: `[dim]` token in the middle of the colours.
        components: `[dim, 3]` directions, one a colour channel.
        low: `[3]` value along each direction that is black.
        high: `[3]` value along each direction that is full colour.
    """

    mean: np.ndarray
    components: np.ndarray
    low: np.ndarray
    high: np.ndarray


def colour_map(tokens: np.ndarray) -> ColourMap:
    """The first three principal components of patch tokens `[patches, dim]`, scaled to what these tokens span.

    A component's sign is arbitrary; the one is taken whose largest weight is positive.
    """
    wide = np.asarray(tokens, np.float64)
    mean = wide.mean(axis=0)
    _, _, directions = np.linalg.svd(wide - mean, full_matrices=False)
    components = np.zeros((wide.shape[1], 3))
    found = directions[:3].T
    components[:, : found.shape[1]] = found
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    components *= np.where(largest < 0, -1, 1)
    projected = (wide - mean) @ components
    return ColourMap(mean, components, projected.min(axis=0), projected.max(axis=0))


def colours(tokens: np.ndarray, mapping: ColourMap, grid: tuple[int, int]) -> np.ndarray:
    """Colour patch tokens `[rows * columns, dim]`.

    Returns:
        `[rows, columns, 3]` uint8.
    """
    projected = (np.asarray(tokens, np.float64) - mapping.mean) @ mapping.components
    span = np.where(mapping.high > mapping.low, mapping.high - mapping.low, 1)
    unit = np.clip((projected - mapping.low) / span, 0, 1)
    image: np.ndarray = np.round(unit * 255).astype(np.uint8).reshape(*grid, 3)
    return image


def side_by_side(
    photo: np.ndarray,
    features: Mapping[str, np.ndarray],
    grid: tuple[int, int],
    title: str,
    place: tuple[float, float] = (0.5, 0.5),
) -> Image.Image:
    """The photo beside a map of each set of features, and a map of how alike the patches are to one of them.

    All maps are coloured by the components of the first, so that equal colours mean equal features. The patch is
    marked in the photo and in the last map, which shows the last set of features.

    Args:
        photo: `[height, width, 3]` uint8.
        features: Patch tokens `[rows * columns, dim]` by the caption of their panel.
        grid: Rows and columns of patches.
        title: A line above the panels.
        place: Where the patch is, from left to right and from top to bottom, in [0, 1].

    Returns:
        A picture of captioned panels, each with the photo's aspect.
    """
    height = _PANEL_HEIGHT
    # A panel is never so narrow that its caption cannot be read, nor wider than a screen.
    width = int(np.clip(height * photo.shape[1] / photo.shape[0], height // 2, 2 * height))
    mapping = colour_map(next(iter(features.values())))
    panels = {"photo": Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS)}
    for caption, tokens in features.items():
        patches = Image.fromarray(colours(tokens, mapping, grid))
        panels[caption] = patches.resize((width, height), Image.Resampling.NEAREST)
    row, column = patch_at(place, grid)
    cosines = similarities(tokens)[row * grid[1] + column]
    similarity = Image.fromarray(heat(cosines, grid)).resize((width, height), Image.Resampling.NEAREST)
    panels["similarity to the marked patch"] = similarity
    for marked in (panels["photo"], similarity):
        box = [column * width / grid[1], row * height / grid[0], (column + 1) * width / grid[1]]
        box.append((row + 1) * height / grid[0])
        ImageDraw.Draw(marked).rectangle(box, outline=_PAPER, width=4)
        ImageDraw.Draw(marked).rectangle(box, outline=_MARK, width=2)

    font = ImageFont.load_default(size=16)
    sheet_width = max(len(panels) * (width + _MARGIN) + _MARGIN, math.ceil(font.getlength(title)) + 2 * _MARGIN)
    sheet = Image.new("RGB", (sheet_width, height + 2 * _CAPTION_HEIGHT + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _CAPTION_HEIGHT // 2), title, fill=_INK, font=font, anchor="lm")
    for index, (caption, panel) in enumerate(panels.items()):
        left = _MARGIN + index * (width + _MARGIN)
        draw.text((left, _CAPTION_HEIGHT * 3 // 2), caption, fill=_INK, font=font, anchor="lm")
        sheet.paste(panel, (left, 2 * _CAPTION_HEIGHT))
    return sheet
