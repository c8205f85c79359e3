"""The interface of every model here, and the common parts of the vision transformers of both releases."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._block import Block
from ._config import TransformerConfig
from ._errors import ConfigError
from ._patch_embed import PatchEmbed
from ._rope import Tables


class Backbone(eqx.Module):
    """A model that maps one image to a class token and patch tokens; batch it with `jax.vmap`."""

    @abc.abstractmethod
    def forward_features(self, image: Array, mask: Array | None = None) -> dict[str, Any]:
        """Features of all tokens of an image `[channels, height, width]`, under Meta's names.

        Returns:
            `x_norm_clstoken` `[dim]`, `x_storage_tokens` `[registers, dim]` and `x_norm_patchtokens` `[patches, dim]`
            after the final LayerNorm, `x_prenorm` `[1 + registers + patches, dim]` before it, and `masks`, the mask
            that was given.
        """

    @abc.abstractmethod
    def layer_outputs(self, image: Array) -> tuple[list[Array], list[tuple[int, int]]]:
        """All tokens `[1 + registers + patches, dim]` after each layer, and the grid `(rows, columns)` of each."""

    @abc.abstractmethod
    def layer_norm(self, index: int) -> eqx.nn.LayerNorm | eqx.nn.Identity:
        """The norm that is applied to the output of a layer where it is taken as a result."""

    @property
    @abc.abstractmethod
    def prefix(self) -> int:
        """Number of tokens before the patches."""

    def __call__(self, image: Array) -> Array:
        """The normalised class token `[dim]` of an image `[channels, height, width]`."""
        cls: Array = self.forward_features(image)["x_norm_clstoken"]
        return cls

    def patch_features(self, image: Array) -> Array:
        """The normalised patch tokens `[patches, dim]`, row by row, of an image `[channels, height, width]`."""
        patches: Array = self.forward_features(image)["x_norm_patchtokens"]
        return patches

    def get_intermediate_layers(
        self,
        image: Array,
        n: int | Sequence[int] = 1,
        *,
        reshape: bool = False,
        return_class_token: bool = False,
        return_extra_tokens: bool = False,
        norm: bool = True,
    ) -> tuple[Any, ...]:
        """Features after some of the layers: blocks of a vision transformer, stages of a ConvNeXt.

        Args:
            image: `[channels, height, width]`.
            n: How many of the last layers, or which layers, counted from 0.
            reshape: Whether patches come as `[dim, rows, columns]` instead of `[patches, dim]`.
            return_class_token: Whether the class token `[dim]` comes with the patches.
            return_extra_tokens: Whether the register tokens `[registers, dim]` come with the patches.
            norm: Whether the final LayerNorm is applied to each layer's output; in a ConvNeXt, whose stages differ in
                width, to that of the last stage.

        Returns:
            One entry a layer, in the order of the layers: the patches, or if more was asked for a tuple of the
            patches, the class token and the register tokens, without what was not asked for.

        Raises:
            ConfigError: If a layer is asked for that the model does not have.
        """
        outputs, grids = self.layer_outputs(image)
        depth = len(outputs)
        indices = range(depth - n, depth) if isinstance(n, int) else sorted(set(n))
        if not indices or not 0 <= min(indices) <= max(indices) < depth:
            raise ConfigError(
                f"get_intermediate_layers: n={n!r} asks for blocks that are not there; blocks 0 to {depth - 1} are."
            )
        layers: list[Any] = []
        for index in indices:
            x = jax.vmap(self.layer_norm(index))(outputs[index]) if norm else outputs[index]
            patches = x[self.prefix :]
            if reshape:
                patches = jnp.transpose(patches).reshape(x.shape[1], *grids[index])
            extras = ([x[0]] if return_class_token else []) + ([x[1 : self.prefix]] if return_extra_tokens else [])
            layers.append((patches, *extras) if extras else patches)
        return tuple(layers)


class Transformer(Backbone):
    """Patches, a class token and registers through pre-norm blocks.

    What the two releases do differently is where positions come in: `_tokens` may add them, `_rotary` give tables for
    the attention of every block.
    """

    patch_embed: eqx.AbstractVar[PatchEmbed]
    cls_token: eqx.AbstractVar[Array]
    mask_token: eqx.AbstractVar[Array]
    blocks: eqx.AbstractVar[tuple[Block, ...]]
    norm: eqx.AbstractVar[eqx.nn.LayerNorm]
    config: eqx.AbstractVar[TransformerConfig]

    @abc.abstractmethod
    def _tokens(self, patches: Array, grid: tuple[int, int]) -> Array:
        """All tokens, from those of the patches `[rows * columns, dim]`."""

    def _rotary(self, grid: tuple[int, int]) -> Tables | None:
        """Rotary tables for all tokens."""
        del grid
        return None

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches: the class token and the registers."""
        return self.config.prefix

    def layer_norm(self, index: int) -> eqx.nn.LayerNorm:
        """The final LayerNorm, after whichever block."""
        del index
        return self.norm

    def layer_outputs(self, image: Array) -> tuple[list[Array], list[tuple[int, int]]]:
        """All tokens `[1 + registers + patches, dim]` after each block, and the grid `(rows, columns)` of each."""
        outputs, grid = self._block_outputs(image, None)
        return outputs, [grid] * len(outputs)

    def _block_outputs(self, image: Array, mask: Array | None) -> tuple[list[Array], tuple[int, int]]:
        patches, grid = self.patch_embed(image)
        if mask is not None:
            patches = jnp.where(mask.reshape(-1, 1), self.mask_token.astype(patches.dtype), patches)
        x = self._tokens(patches, grid)
        rotary = self._rotary(grid)
        outputs = []
        for block in self.blocks:
            x = block(x, rotary)
            outputs.append(x)
        return outputs, grid

    def forward_features(self, image: Array, mask: Array | None = None) -> dict[str, Any]:
        """Features of all tokens, under the key names of the published model.

        Args:
            image: `[channels, height, width]`, normalised as `preprocess` does.
            mask: `[rows, columns]` or `[patches]` booleans; where true, the patch is replaced by the mask token.

        Returns:
            `x_norm_clstoken` `[dim]`, `x_storage_tokens` `[registers, dim]` and `x_norm_patchtokens` `[patches, dim]`
            after the final LayerNorm, `x_prenorm` `[1 + registers + patches, dim]` before it, and `masks`, the mask
            that was given.
        """
        outputs, _ = self._block_outputs(image, mask)
        x = outputs[-1]
        normed = jax.vmap(self.norm)(x)
        return {
            "x_norm_clstoken": normed[0],
            "x_storage_tokens": normed[1 : self.prefix],
            "x_norm_patchtokens": normed[self.prefix :],
            "x_prenorm": x,
            "masks": mask,
        }
