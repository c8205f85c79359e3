"""The DINOv3 vision transformer for one image; batch it with `jax.vmap`."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._backbone import Transformer
from ._block import Block
from ._config import DinoConfig
from ._patch_embed import PatchEmbed
from ._rope import RotaryEmbedding, Tables


class DinoV3(Transformer):
    """DINOv3 (Siméoni et al., "DINOv3", 2025): patches, a class token and registers, positions as rotations.

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

    def _tokens(self, patches: Array, grid: tuple[int, int]) -> Array:
        del grid
        return jnp.concatenate([self.cls_token, self.storage_tokens, patches])

    def _rotary(self, grid: tuple[int, int]) -> Tables:
        return self.rope_embed.tables(*grid, prefix=self.config.prefix)
