"""Masked autoencoding of spectrograms."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._attention import per_token
from ._block import Block
from ._config import require
from ._losses import at_least_float32
from ._masks import make_block_mask, visible_patches
from ._model import EncoderOutput, Transformer, token_init
from ._objectives import Batch, Outcome
from ._patches import patchify


@dataclasses.dataclass(frozen=True)
class PixioConfig:
    """Patches that are hidden are predicted from those that are not.

    Attributes:
        mask_ratio: Share of the patches that are hidden.
        block_size: Side in patches of the blocks that are hidden together.
        decoder_depth: Blocks of the decoder.
        decoder_dim: Width of the decoder.
        decoder_heads: Attention heads of the decoder.
        variance: How the patches that are predicted are normalised: `"unbiased"`, divided by n - 1, as in PyTorch, or
            `"biased"`, divided by n.
    """

    mask_ratio: float = 0.75
    block_size: int = 2
    decoder_depth: int = 8
    decoder_dim: int = 512
    decoder_heads: int = 8
    variance: Literal["unbiased", "biased"] = "unbiased"

    def __post_init__(self) -> None:
        require(0 < self.mask_ratio < 1, f"PixioConfig.mask_ratio must lie in (0, 1), but it is {self.mask_ratio}.")
        require(
            self.decoder_dim % self.decoder_heads == 0,
            f"PixioConfig: decoder_dim {self.decoder_dim} is not a multiple of decoder_heads {self.decoder_heads}.",
        )
        require(
            self.variance in ("unbiased", "biased"),
            f"PixioConfig.variance must be 'unbiased' or 'biased': {self.variance!r}.",
        )


class Decoder(eqx.Module):
    """Predicts all patches from class tokens and the tokens of all patches."""

    embed: eqx.nn.Linear
    pos_embed: Array
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, config: PixioConfig, encoder: Transformer, *, key: Array):
        embed_key, pos_key, head_key, *block_keys = jax.random.split(key, 3 + config.decoder_depth)
        dim = config.decoder_dim
        self.embed = eqx.nn.Linear(encoder.config.embed_dim, dim, key=embed_key)
        self.pos_embed = token_init(pos_key, (1, encoder.config.n_patches, dim))
        self.blocks = tuple(Block(dim, config.decoder_heads, 4 * dim, key=k) for k in block_keys)
        self.norm = eqx.nn.LayerNorm(dim)
        self.head = eqx.nn.Linear(dim, encoder.config.patch_size, key=head_key)

    def __call__(self, cls: Array, patches: Array) -> Array:
        """Map the mean class token `[embed_dim]` and the patches `[n, embed_dim]` to patches `[n, patch_size]`."""
        x = jnp.concatenate([self.embed(cls)[None], per_token(self.embed, patches) + self.pos_embed[0]])
        for block in self.blocks:
            x = block(x)
        return per_token(self.head, per_token(self.norm, x))[1:]


class Pixio(eqx.Module):
    """A masked autoencoder (He et al., 2022) with masks of blocks and several class tokens.

    Attributes:
        mask_token: `[1, 1, embed_dim]`, in the place of hidden patches.
        decoder: The decoder.
        config: The hyperparameters.
    """

    mask_token: Array
    decoder: Decoder
    config: PixioConfig = eqx.field(static=True)

    def __init__(self, config: PixioConfig, encoder: Transformer, *, key: Array):
        token_key, decoder_key = jax.random.split(key)
        self.mask_token = 0.02 * jax.random.normal(token_key, (1, 1, encoder.config.embed_dim))
        self.decoder = Decoder(config, encoder, key=decoder_key)
        self.config = config

    def __call__(self, batch: Batch, encoder: Transformer, *, key: Array | None) -> Outcome:
        """The loss `mse` of hidden patches. Without a key, masks are always the same, and whole spectrograms embedded.

        In training the embeddings are those of the visible patches.
        """
        mask_key, encoder_key = (jax.random.key(0), None) if key is None else jax.random.split(key)
        patches, grid = patchify(batch["data"], encoder.config.patch_h, encoder.config.patch_w)
        mask = self.mask(encoder, patches.shape[0], key=mask_key)
        predicted, output = self._predict(encoder, patches, grid, mask, key=encoder_key)
        wrong = jnp.mean((at_least_float32(predicted) - self.normalise(patches)) ** 2, axis=-1)
        if key is None:
            output = encoder(patches, grid)
        return Outcome({"mse": jnp.sum(wrong * mask) / jnp.sum(mask)}, output, batch["target"])

    def mask(self, encoder: Transformer, batch: int, *, key: Array) -> Array:
        """Masks `[batch, n_patches]`, true where a patch is hidden."""
        config = encoder.config
        size, ratio = self.config.block_size, self.config.mask_ratio
        return make_block_mask(batch, config.n_patches_h, config.n_patches_w, size, ratio, key=key)

    def normalise(self, patches: Array) -> Array:
        """The targets: patches `[..., patch_size]` less their mean, over their standard deviation."""
        patches = at_least_float32(patches)
        ddof = 1 if self.config.variance == "unbiased" else 0
        centred = patches - jnp.mean(patches, axis=-1, keepdims=True)
        return centred / jnp.sqrt(jnp.var(patches, axis=-1, ddof=ddof, keepdims=True) + 1e-6)

    def predict(self, encoder: Transformer, spectrograms: Array, mask: Array) -> Array:
        """All patches, normalised, as predicted from those that a mask `[batch, n_patches]` leaves visible."""
        patches, grid = patchify(spectrograms, encoder.config.patch_h, encoder.config.patch_w)
        return self._predict(encoder, patches, grid, mask, key=None)[0]

    def _predict(
        self, encoder: Transformer, patches: Array, grid: Array, mask: Array, *, key: Array | None
    ) -> tuple[Array, EncoderOutput]:
        places = visible_patches(mask, self.config.mask_ratio)[..., None]
        visible = jnp.take_along_axis(patches, places, axis=1)
        output = encoder(visible, jnp.take_along_axis(grid, places, axis=1), key=key)
        tokens = jnp.broadcast_to(self.mask_token, (*patches.shape[:2], encoder.config.embed_dim))
        samples = jnp.arange(patches.shape[0])[:, None]
        tokens = tokens.astype(output.patches.dtype).at[samples, places[..., 0]].set(output.patches)
        return jax.vmap(self.decoder)(jnp.mean(output.cls, axis=1), tokens), output
