"""The Bird-MAE encoder."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ._block import Block
from ._config import BirdMaeConfig, require
from ._model import PatchEmbed, token_init
from ._patches import patchify

_EPS = 1e-6


class BirdMaeOutput(NamedTuple):
    """The results of Bird-MAE for a batch of spectrograms.

    Attributes:
        pooled: `[batch, embed_dim]`, one embedding a spectrogram.
        tokens: `[batch, patches, embed_dim]`, patch tokens before any final norm; patch i is the time i // 8 and
            the mel band i % 8 of the published sizes.
    """

    pooled: Array
    tokens: Array


class BirdMae(eqx.Module):
    """A vision transformer on spectrograms, in the fields and under the names of the published checkpoints.

    Attributes:
        patch_embed: Patch projection.
        cls_token: `[1, 1, embed_dim]`.
        pos_embed: `[1, 1 + patches, embed_dim]`, the class token's first. A checkpoint brings its own.
        blocks: The blocks.
        norm: LayerNorm behind the blocks; used by the pooling `"cls"` only.
        fc_norm: LayerNorm of the mean patch token; used by the pooling `"mean"` only.
        config: The hyperparameters.
    """

    patch_embed: PatchEmbed
    cls_token: Array
    pos_embed: Array
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    fc_norm: eqx.nn.LayerNorm
    config: BirdMaeConfig = eqx.field(static=True)

    def __init__(self, config: BirdMaeConfig, *, key: Array):
        """Build a model with random weights; equal keys give equal weights."""
        patch_key, cls_key, *block_keys = jax.random.split(key, 2 + config.depth)
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config.patch_h * config.patch_w, dim, key=patch_key)
        self.cls_token = token_init(cls_key, (1, 1, dim))
        self.pos_embed = jnp.asarray(_sin_cos(config))
        self.blocks = tuple(Block(dim, config.n_heads, config.hidden, eps=_EPS, key=k) for k in block_keys)
        self.norm = eqx.nn.LayerNorm(dim, eps=_EPS)
        self.fc_norm = eqx.nn.LayerNorm(dim, eps=_EPS)
        self.config = config

    def __call__(self, spectrogram: Array) -> BirdMaeOutput:
        """Encode spectrograms `[batch, input_h, input_w]`, as `transform` makes them.

        Raises:
            ConfigError: If the shape does not fit the configuration.
        """
        config = self.config
        require(
            spectrogram.shape[1:] == (config.input_h, config.input_w),
            f"BirdMae: spectrograms must be [batch, {config.input_h}, {config.input_w}], "
            f"but they are {spectrogram.shape}.",
        )
        patches, _ = patchify(spectrogram, config.patch_h, config.patch_w)
        return jax.vmap(self._encode)(patches)

    def _encode(self, patches: Array) -> BirdMaeOutput:
        x = jnp.concatenate([self.cls_token[0], self.patch_embed(patches)]) + self.pos_embed[0]
        for block in self.blocks:
            x = block(x)
        tokens = x[1:]
        pooled = self.fc_norm(jnp.mean(tokens, axis=0)) if self.config.pooling == "mean" else self.norm(x[0])
        return BirdMaeOutput(pooled, tokens)


def _sin_cos(config: BirdMaeConfig) -> np.ndarray:
    """Sines and cosines of rows and columns, `[1, 1 + patches, dim]`, zero for the class token: initial values only."""
    quarter = config.embed_dim // 4
    frequencies = 1e4 ** (-np.arange(quarter) / max(quarter, 1))
    n_h, n_w = config.input_h // config.patch_h, config.input_w // config.patch_w
    columns, rows = np.meshgrid(np.arange(n_w), np.arange(n_h))
    angles = [place.reshape(-1, 1) * frequencies for place in (columns, rows)]
    table = np.zeros((1, 1 + config.n_patches, config.embed_dim), np.float32)
    waves = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    table[0, 1:, : waves.shape[1]] = waves
    return table
