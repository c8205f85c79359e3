"""The ConvNeXt of the DINOv3 release for one image; batch it with `jax.vmap`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._backbone import Backbone
from ._config import ConvNextConfig
from ._errors import ConfigError
from ._patch_embed import check_image


def _over_channels(norm: eqx.nn.LayerNorm, x: Array) -> Array:
    """Apply a LayerNorm of the channels at each place of `[channels, rows, columns]`."""
    return jax.vmap(jax.vmap(norm, in_axes=1, out_axes=1), in_axes=2, out_axes=2)(x)


class ConvNextBlock(eqx.Module):
    """A depthwise 7 x 7 convolution and an MLP at each place, as a residual branch (Liu et al., 2022)."""

    dwconv: eqx.nn.Conv2d
    norm: eqx.nn.LayerNorm
    pwconv1: eqx.nn.Linear
    pwconv2: eqx.nn.Linear
    gamma: Array

    def __init__(self, dim: int, config: ConvNextConfig, *, key: Array):
        conv_key, key1, key2 = jax.random.split(key, 3)
        self.dwconv = eqx.nn.Conv2d(dim, dim, 7, padding=3, groups=dim, key=conv_key)
        self.norm = eqx.nn.LayerNorm(dim, eps=config.norm_eps)
        self.pwconv1 = eqx.nn.Linear(dim, 4 * dim, key=key1)
        self.pwconv2 = eqx.nn.Linear(4 * dim, dim, key=key2)
        self.gamma = jnp.full((dim,), config.layer_scale_init)

    def __call__(self, x: Array) -> Array:
        """Map `[dim, rows, columns]` to the same shape."""

        def at_each_place(channels: Array) -> Array:
            hidden = jax.nn.gelu(self.pwconv1(self.norm(channels)), approximate=False)
            return self.gamma * self.pwconv2(hidden)

        last = jnp.moveaxis(self.dwconv(x), 0, 2)
        return x + jnp.moveaxis(jax.vmap(jax.vmap(at_each_place))(last), 2, 0)


class ConvNext(Backbone):
    """ConvNeXt as DINOv3 distills it: the class token is the mean of the last stage's patches.

    The fields bear the names of the published state dicts.

    Attributes:
        downsample_layers: For each stage what comes before it: first a convolution and a norm, later a norm and a
            convolution.
        stages: The blocks of each stage.
        norm: Final LayerNorm, over the class token and the patches alike.
        config: The hyperparameters.
    """

    downsample_layers: tuple[tuple[eqx.nn.Conv2d | eqx.nn.LayerNorm, ...], ...]
    stages: tuple[tuple[ConvNextBlock, ...], ...]
    norm: eqx.nn.LayerNorm
    config: ConvNextConfig = eqx.field(static=True)

    def __init__(self, config: ConvNextConfig, *, key: Array):
        """Build a model with random weights.

        Args:
            config: Hyperparameters, for instance `variant("convnext_tiny")`.
            key: PRNG key; equal keys give equal weights.
        """
        stage_keys = jax.random.split(key, config.depth)
        before: list[tuple[eqx.nn.Conv2d | eqx.nn.LayerNorm, ...]] = []
        stages = []
        width = config.channels
        for stage_key, dim, depth in zip(stage_keys, config.dims, config.depths, strict=True):
            conv_key, *block_keys = jax.random.split(stage_key, 1 + depth)
            kernel = 2 if before else 4
            norm = eqx.nn.LayerNorm(width if before else dim, eps=config.norm_eps)
            conv = eqx.nn.Conv2d(width, dim, kernel, stride=kernel, key=conv_key)
            before.append((norm, conv) if before else (conv, norm))
            stages.append(tuple(ConvNextBlock(dim, config, key=block_key) for block_key in block_keys))
            width = dim
        self.downsample_layers = tuple(before)
        self.stages = tuple(stages)
        self.norm = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.config = config

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches: the class token."""
        return self.config.prefix

    def layer_norm(self, index: int) -> eqx.nn.LayerNorm | eqx.nn.Identity:
        """The final LayerNorm after the last stage; the others, of other widths, have none."""
        return self.norm if index == len(self.stages) - 1 else eqx.nn.Identity()

    def layer_outputs(self, image: Array) -> tuple[list[Array], list[tuple[int, int]]]:
        """The mean of all patches and the patches `[1 + patches, dim]` after each stage, and the grid of each."""
        check_image(image, channels=self.config.channels, smallest=self.config.patch_size)
        x = image.astype(self.stages[0][0].gamma.dtype)
        outputs, grids = [], []
        for before, blocks in zip(self.downsample_layers, self.stages, strict=True):
            for layer in before:
                x = layer(x) if isinstance(layer, eqx.nn.Conv2d) else _over_channels(layer, x)
            for block in blocks:
                x = block(x)
            dim, rows, columns = x.shape
            patches = jnp.transpose(x.reshape(dim, rows * columns))
            outputs.append(jnp.concatenate([jnp.mean(patches, axis=0, keepdims=True), patches]))
            grids.append((rows, columns))
        return outputs, grids

    def forward_features(self, image: Array, mask: Array | None = None) -> dict[str, Any]:
        """Features of all tokens, under the key names of the published model.

        Args:
            image: `[channels, height, width]`, normalised as `preprocess` does.
            mask: None; this family has no mask token.

        Returns:
            As for the vision transformers, with no registers: `x_storage_tokens` is `[0, dim]`.
        """
        if mask is not None:
            raise ConfigError("A ConvNeXt has no mask token, so a mask cannot be used.")
        x = self.layer_outputs(image)[0][-1]
        normed = jax.vmap(self.norm)(x)
        return {
            "x_norm_clstoken": normed[0],
            "x_storage_tokens": normed[1:1],
            "x_norm_patchtokens": normed[1:],
            "x_prenorm": x,
            "masks": None,
        }
