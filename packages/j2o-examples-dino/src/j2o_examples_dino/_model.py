"""The DINOv3 vision transformer for one image; batch it with `jax.vmap`."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._block import Block
from ._config import DinoConfig, variant
from ._errors import ConfigError
from ._patch_embed import PatchEmbed
from ._rope import RotaryEmbedding


class DinoV3(eqx.Module):
    """DINOv3 (Siméoni et al., "DINOv3", 2025): patches, a class token and registers through pre-norm blocks.

    The fields bear the names of the published state dicts, so that a leaf's path is its key there
    (`blocks.3.attn.qkv.weight`).

    Attributes:
        patch_embed: Patch projection.
        cls_token: `[1, dim]`.
        storage_tokens: `[registers, dim]`.
        mask_token: `[1, dim]`, stands in for masked patches in training.
        rope_embed: Rotary position embedding.
        blocks: The transformer blocks.
        norm: Final LayerNorm.
        local_cls_norm: A LayerNorm used in training only; kept so that a checkpoint survives a round trip.
        config: The hyperparameters.
    """

    patch_embed: PatchEmbed
    cls_token: Array
    storage_tokens: Array
    mask_token: Array
    rope_embed: RotaryEmbedding
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    local_cls_norm: eqx.nn.LayerNorm | None
    config: DinoConfig = eqx.field(static=True)

    def __init__(self, config: DinoConfig, *, key: Array):
        """Build a model with random weights.

        Args:
            config: Hyperparameters, for instance `variant("vits16")`.
            key: PRNG key; equal keys give equal weights.
        """
        patch_key, cls_key, storage_key, *block_keys = jax.random.split(key, 3 + config.depth)
        self.patch_embed = PatchEmbed(config, key=patch_key)
        self.cls_token = 0.02 * jax.random.normal(cls_key, (1, config.dim))
        self.storage_tokens = 0.02 * jax.random.normal(storage_key, (config.registers, config.dim))
        self.mask_token = jnp.zeros((1, config.dim))
        self.rope_embed = RotaryEmbedding(config)
        self.blocks = tuple(Block(config, key=block_key) for block_key in block_keys)
        self.norm = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.local_cls_norm = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps) if config.local_cls_norm else None
        self.config = config

    def _prepare(self, image: Array, mask: Array | None) -> tuple[Array, tuple[int, int]]:
        patches, grid = self.patch_embed(image)
        if mask is not None:
            patches = jnp.where(mask.reshape(-1, 1), self.mask_token.astype(patches.dtype), patches)
        return jnp.concatenate([self.cls_token, self.storage_tokens, patches]), grid

    def _block_outputs(self, image: Array, mask: Array | None = None) -> tuple[list[Array], tuple[int, int]]:
        x, grid = self._prepare(image, mask)
        cos, sin = self.rope_embed.tables(*grid, prefix=self.config.prefix)
        outputs = []
        for block in self.blocks:
            x = block(x, cos, sin)
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
        prefix = self.config.prefix
        return {
            "x_norm_clstoken": normed[0],
            "x_storage_tokens": normed[1:prefix],
            "x_norm_patchtokens": normed[prefix:],
            "x_prenorm": x,
            "masks": mask,
        }

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
        """Features after some of the blocks.

        Args:
            image: `[channels, height, width]`.
            n: How many of the last blocks, or which blocks, counted from 0.
            reshape: Whether patches come as `[dim, rows, columns]` instead of `[patches, dim]`.
            return_class_token: Whether the class token `[dim]` comes with the patches.
            return_extra_tokens: Whether the register tokens `[registers, dim]` come with the patches.
            norm: Whether the final LayerNorm is applied to each block's output.

        Returns:
            One entry a block, in the order of the blocks: the patches, or if more was asked for a tuple of the
            patches, the class token and the register tokens, without what was not asked for.

        Raises:
            ConfigError: If a block is asked for that the model does not have.
        """
        depth = len(self.blocks)
        indices = range(depth - n, depth) if isinstance(n, int) else sorted(set(n))
        if not indices or not 0 <= min(indices) <= max(indices) < depth:
            raise ConfigError(
                f"get_intermediate_layers: n={n!r} asks for blocks that are not there; blocks 0 to {depth - 1} are."
            )
        outputs, (rows, columns) = self._block_outputs(image)
        prefix = self.config.prefix
        layers: list[Any] = []
        for index in indices:
            x = jax.vmap(self.norm)(outputs[index]) if norm else outputs[index]
            patches = x[prefix:]
            if reshape:
                patches = jnp.transpose(patches).reshape(self.config.dim, rows, columns)
            extras = ([x[0]] if return_class_token else []) + ([x[1:prefix]] if return_extra_tokens else [])
            layers.append((patches, *extras) if extras else patches)
        return tuple(layers)


def create(name: str, *, key: Array) -> DinoV3:
    """Build a published variant with random weights.

    Args:
        name: One of the keys of `VARIANTS`, for instance `"vits16"`.
        key: PRNG key; equal keys give equal weights.

    Raises:
        ConfigError: If there is no variant of that name.
    """
    return DinoV3(variant(name), key=key)
