"""The DINOv2 vision transformer for one image; batch it with `jax.vmap`."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._backbone import Transformer
from ._block import Block
from ._config import DinoV2Config
from ._patch_embed import PatchEmbed
from ._positions import positions


class DinoV2(Transformer):
    """DINOv2 (Oquab et al., 2023; registers: Darcet et al., "Vision Transformers Need Registers", 2023).

    Positions are learned vectors that are added to the tokens. The fields bear the names of the published state dicts.

    Attributes:
        patch_embed: Patch projection.
        cls_token: `[1, dim]`.
        pos_embed: `[prefix_positions + side * side, dim]` learned positions.
        register_tokens: `[registers, dim]`.
        mask_token: `[1, dim]`, stands in for masked patches in training.
        blocks: The transformer blocks.
        norm: Final LayerNorm.
        config: The hyperparameters.
    """

    patch_embed: PatchEmbed
    cls_token: Array
    pos_embed: Array
    register_tokens: Array
    mask_token: Array
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    config: DinoV2Config = eqx.field(static=True)

    def __init__(self, config: DinoV2Config, *, key: Array):
        """Build a model with random weights.

        Args:
            config: Hyperparameters, for instance `variant("dinov2_vits14")`.
            key: PRNG key; equal keys give equal weights.
        """
        patch_key, cls_key, position_key, register_key, *block_keys = jax.random.split(key, 4 + config.depth)
        self.patch_embed = PatchEmbed(config, key=patch_key)
        self.cls_token = 0.02 * jax.random.normal(cls_key, (1, config.dim))
        places = config.prefix_positions + config.side**2
        self.pos_embed = 0.02 * jax.random.normal(position_key, (places, config.dim))
        self.register_tokens = 0.02 * jax.random.normal(register_key, (config.registers, config.dim))
        self.mask_token = jnp.zeros((1, config.dim))
        self.blocks = tuple(Block(config, key=block_key) for block_key in block_keys)
        self.norm = eqx.nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.config = config

    def _tokens(self, patches: Array, grid: tuple[int, int]) -> Array:
        """Tokens with their positions; tokens without one are joined after the others got theirs."""
        places = positions(self.pos_embed, self.config, grid)
        if not self.config.class_position:
            return jnp.concatenate([self.cls_token, self.register_tokens, patches + places])
        if self.config.register_positions:
            return jnp.concatenate([self.cls_token, self.register_tokens, patches]) + places
        return jnp.concatenate([self.cls_token + places[:1], self.register_tokens, patches + places[1:]])
