"""The picture that a demonstration looks at: a file, or one that is drawn here."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from ._errors import ImageError
from ._preprocess import preprocess, statistics_for
from ._variants import AnyConfig


def read_photo(path: Path) -> np.ndarray:
    """Read a picture as `[height, width, 3]` uint8, turned as its camera says.

    Raises:
        ImageError: If the file is missing or is not a picture.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a picture in a format that Pillow reads.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ImageError(f"The picture {path} cannot be read: {reason}.") from error


# A place on the house in the picture that is drawn, from left to right and from top to bottom.
ON_THE_HOUSE = (0.3, 0.78)


def draw_photo(size: int = 448) -> np.ndarray:
    """Draw a landscape: a sky that brightens downwards, a sun, hills, and a house.

    Returns:
        `[size, size, 3]` uint8, the same every time.
    """
    rows = np.linspace(0, 1, size)[:, None, None]
    sky = np.array([60, 110, 190]) * (1 - rows) + np.array([235, 205, 160]) * rows
    canvas = Image.fromarray(np.broadcast_to(sky, (size, size, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)

    def scaled(*numbers: float) -> list[float]:
        return [number * size for number in numbers]

    draw.ellipse(scaled(0.68, 0.10, 0.88, 0.30), fill=(255, 236, 140))
    for centre, radius, colour in (
        (0.15, 0.55, (92, 128, 92)),
        (0.85, 0.50, (74, 112, 78)),
        (0.50, 0.42, (58, 98, 58)),
    ):
        draw.ellipse(scaled(centre - radius, 1.12 - radius, centre + radius, 1.12 + radius), fill=colour)
    draw.rectangle(scaled(0.24, 0.62, 0.48, 0.84), fill=(196, 84, 64))
    draw.polygon(scaled(0.20, 0.62, 0.52, 0.62, 0.36, 0.46), fill=(96, 52, 44))
    draw.rectangle(scaled(0.33, 0.72, 0.39, 0.84), fill=(60, 40, 36))
    for left in (0.27, 0.42):
        draw.rectangle(scaled(left, 0.67, left + 0.04, 0.72), fill=(250, 240, 190))
    return np.asarray(canvas)


def photo_as_images(path: Path | None, size: int, config: AnyConfig | None, variant_name: str | None) -> np.ndarray:
    """A batch of one: a photo, or the drawn one, as a model takes it.

    Args:
        path: The photo, or None for the one that is drawn.
        size: Side of the image in pixels.
        config: The model, where it is known.
        variant_name: Its name, where it is known, for the statistics of its images.

    Returns:
        `[1, 3, size, size]` float32.

    Raises:
        ImageError: If the photo cannot be read, or the size is no multiple of the patch size.
    """
    patch = config.patch_size if config is not None else 1
    if size < 1 or size % patch:
        raise ImageError(f"The size must be a multiple of the patch size {patch}, but it is {size}.")
    photo = draw_photo() if path is None else read_photo(path)
    image = preprocess(photo, size, statistics_for(variant_name or ""))
    return np.asarray(image)[None]
