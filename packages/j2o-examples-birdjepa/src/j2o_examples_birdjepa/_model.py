"""The BirdJEPA encoder: patches, class tokens and registers through pre-norm blocks."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from ._block import Block
from ._config import TransformerConfig, require
from ._patches import patchify
from ._rope import rope_tables


class EncoderOutput(NamedTuple):
    """Tokens of a batch behind the final LayerNorm.

    Attributes:
        cls: `[batch, n_cls_tokens, embed_dim]`.
        patches: `[batch, tokens, embed_dim]`, in the order of the patches that were given.
        reg: `[batch, n_reg_tokens, embed_dim]`, or None without registers.
    """

    cls: Array
    patches: Array
    reg: Array | None


class PatchEmbed(eqx.Module):
    """A linear projection of each patch."""

    proj: eqx.nn.Linear

    def __init__(self, patch_size: int, dim: int, *, key: Array):
        self.proj = eqx.nn.Linear(patch_size, dim, key=key)

    def __call__(self, patches: Array) -> Array:
        """Map `[..., patch_size]` to `[..., dim]`.

        Log energies are far from zero, so that the product is taken at the highest precision that a device offers.
        """
        projected = jnp.matmul(patches, self.proj.weight.T, precision=lax.Precision.HIGHEST)
        assert self.proj.bias is not None
        return projected + self.proj.bias


def token_init(key: Array, shape: tuple[int, ...]) -> Array:
    """Initial values of learned tokens: a normal distribution cut at two standard deviations, times 0.02."""
    return 0.02 * jax.random.truncated_normal(key, -2, 2, shape)


class Transformer(eqx.Module):
    """The encoder of BirdJEPA.

    Attributes:
        patch_embed: Patch projection.
        cls_tokens: `[1, n_cls_tokens, embed_dim]`.
        reg_tokens: `[1, n_reg_tokens, embed_dim]`, or None without registers.
        pos_embed_hw: `[1, n_patches_h, n_patches_w, embed_dim]`, or None with rotary positions.
        blocks: The blocks: a tuple, or with `use_scan` one block whose leaves have a leading axis of `depth`.
        norm: Final LayerNorm.
        config: The hyperparameters.
    """

    patch_embed: PatchEmbed
    cls_tokens: Array
    reg_tokens: Array | None
    pos_embed_hw: Array | None
    blocks: tuple[Block, ...] | Block
    norm: eqx.nn.LayerNorm
    config: TransformerConfig = eqx.field(static=True)

    def __init__(self, config: TransformerConfig, *, key: Array):
        """Build a model with random weights; equal keys give equal weights, stacked or not."""
        patch_key, cls_key, reg_key, pos_key, block_key = jax.random.split(key, 5)
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config.patch_size, dim, key=patch_key)
        self.cls_tokens = token_init(cls_key, (1, config.n_cls_tokens, dim))
        # An array without elements could not be serialised.
        self.reg_tokens = token_init(reg_key, (1, config.n_reg_tokens, dim)) if config.n_reg_tokens else None
        place = (1, config.n_patches_h, config.n_patches_w, dim)
        self.pos_embed_hw = None if config.use_rope else token_init(pos_key, place)
        self.norm = eqx.nn.LayerNorm(dim)
        self.config = config

        def make(key: Array) -> Block:
            return Block(
                dim,
                config.n_heads,
                config.hidden,
                gelu=config.gelu,
                swiglu=config.use_swiglu,
                qk_norm=config.use_qk_norm,
                layerscale_init=config.layerscale_init if config.use_layerscale else None,
                dropout=config.dropout,
                key=key,
            )

        keys = jax.random.split(block_key, config.depth)
        self.blocks = eqx.filter_vmap(make)(keys) if config.use_scan else tuple(make(k) for k in keys)

    def __call__(self, patches: Array, grid: Array, *, key: Array | None = None) -> EncoderOutput:
        """Encode patches: all of a spectrogram, or any of them.

        Args:
            patches: `[batch, tokens, patch_h * patch_w]`, as `patchify` gives them.
            grid: `[batch, tokens, 2]` row and column of each patch.
            key: PRNG key of the dropout, or None for no dropout.

        Raises:
            ConfigError: If the shapes do not fit the configuration.
        """
        config = self.config
        require(
            patches.ndim == 3 and patches.shape[2] == config.patch_size,
            f"Transformer: patches must be [batch, tokens, {config.patch_size}], but they are {patches.shape}.",
        )
        require(
            grid.shape == (*patches.shape[:2], 2),
            f"Transformer: the grid of patches {patches.shape} must be {(*patches.shape[:2], 2)}, but is {grid.shape}.",
        )
        if key is None:
            return jax.vmap(self._encode)(patches, grid)
        return jax.vmap(self._encode)(patches, grid, jax.random.split(key, patches.shape[0]))

    def encode(self, spectrogram: Array, *, key: Array | None = None) -> EncoderOutput:
        """Encode whole spectrograms `[batch, input_h, input_w]`."""
        config = self.config
        require(
            spectrogram.shape[1:] == (config.input_h, config.input_w),
            f"Transformer: spectrograms must be [batch, {config.input_h}, {config.input_w}], "
            f"but they are {spectrogram.shape}.",
        )
        return self(*patchify(spectrogram, config.patch_h, config.patch_w), key=key)

    def _encode(self, patches: Array, grid: Array, key: Array | None = None) -> EncoderOutput:
        config = self.config
        before, after = config.n_cls_tokens, config.n_reg_tokens
        x = self.patch_embed(patches)
        if self.pos_embed_hw is not None:
            x = x + self.pos_embed_hw[0, grid[:, 0], grid[:, 1]]
        tokens = [self.cls_tokens[0], x] + ([] if self.reg_tokens is None else [self.reg_tokens[0]])
        x = jnp.concatenate(tokens)
        rope = None
        if config.use_rope:
            rope = rope_tables(grid, config.head_dim, config.rope_base, before=before, after=after)
        x = jax.vmap(self.norm)(self._apply_blocks(x, rope, key))
        end = before + patches.shape[0]
        return EncoderOutput(x[:before], x[before:end], x[end:] if after else None)

    def _apply_blocks(self, x: Array, rope: tuple[Array, Array] | None, key: Array | None) -> Array:
        def apply(block: Block, x: Array, index: Array | int) -> Array:
            return block(x, rope, key=None if key is None else jax.random.fold_in(key, index))

        if self.config.grad_ckpt:
            apply = eqx.filter_checkpoint(apply)
        if isinstance(self.blocks, tuple):
            for index, block in enumerate(self.blocks):
                x = apply(block, x, index)
            return x
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)

        def step(x: Array, layer: tuple[Block, Array]) -> tuple[Array, None]:
            return apply(eqx.combine(layer[0], rest), x, layer[1]), None

        return lax.scan(step, x, (arrays, jnp.arange(self.config.depth)))[0]


def stack(model: Transformer) -> Transformer:
    """The same model with its blocks stacked for `jax.lax.scan`; a model that is so already comes back as it is."""
    if not isinstance(model.blocks, tuple):
        return model
    blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *model.blocks)
    return _with_blocks(model, blocks, use_scan=True)


def unstack(model: Transformer) -> Transformer:
    """The same model with its blocks as a tuple; a model that is so already comes back as it is."""
    stacked = model.blocks
    if isinstance(stacked, tuple):
        return model

    def block(index: int) -> Block:
        taken: Block = jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, stacked)
        return taken

    return _with_blocks(model, tuple(block(index) for index in range(model.config.depth)), use_scan=False)


def _with_blocks(model: Transformer, blocks: tuple[Block, ...] | Block, *, use_scan: bool) -> Transformer:
    config = dataclasses.replace(model.config, use_scan=use_scan)
    structure = jax.tree.structure(eqx.filter_eval_shape(Transformer, config, key=jax.random.key(0)))
    around = (model.patch_embed, model.cls_tokens, model.reg_tokens, model.pos_embed_hw)
    changed: Transformer = jax.tree.unflatten(structure, jax.tree.leaves((*around, blocks, model.norm)))
    return changed
