"""From an image to patch tokens: one strided convolution."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ._config import TransformerConfig
from ._errors import ImageError


def check_image(image: Array, *, channels: int, smallest: int) -> None:
    """Refuse what is not one normalised image `[channels, height, width]` of some size.

    Raises:
        ImageError: If the image has another rank or number of channels, is smaller, or holds integers.
    """
    if image.ndim != 3 or image.shape[0] != channels or image.shape[1] < smallest or image.shape[2] < smallest:
        raise ImageError(
            f"DINO takes one image [{channels}, height, width] of at least {smallest} x {smallest} pixels, but got "
            f"shape {tuple(image.shape)}. For a batch, use jax.vmap(model)."
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ImageError(f"DINO takes normalised floats, but got {image.dtype}. Use preprocess(image) first.")


class PatchEmbed(eqx.Module):
    """A linear projection of every patch, written as a convolution whose stride is its kernel."""

    proj: eqx.nn.Conv2d

    def __init__(self, config: TransformerConfig, *, key: Array):
        self.proj = eqx.nn.Conv2d(config.channels, config.dim, config.patch_size, stride=config.patch_size, key=key)

    def __call__(self, image: Array) -> tuple[Array, tuple[int, int]]:
        """Embed the patches of one image.

        Args:
            image: `[channels, height, width]` floats. Rows and columns that do not fill a patch are left out.

        Returns:
            The tokens `[rows * columns, dim]`, row by row, and the grid `(rows, columns)`.

        Raises:
            ImageError: If the image has another rank or number of channels, is smaller than a patch, or holds integers.
        """
        patch = self.proj.kernel_size[0]
        check_image(image, channels=self.proj.in_channels, smallest=patch)
        x = self.proj(image.astype(self.proj.weight.dtype))
        dim, rows, columns = x.shape
        return jnp.transpose(x.reshape(dim, rows * columns)), (rows, columns)
