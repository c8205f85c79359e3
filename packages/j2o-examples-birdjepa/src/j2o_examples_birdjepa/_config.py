"""Hyperparameters of the encoder, and the published sizes of Bird-MAE."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ._errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise a `ConfigError` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value >= 1, f"{type(config).__name__}.{name} must be at least 1, but it is {value}.")


def _require_patches_fit(config: "TransformerConfig | BirdMaeConfig") -> None:
    for axis in ("h", "w"):
        size, patch = getattr(config, f"input_{axis}"), getattr(config, f"patch_{axis}")
        require(
            size % patch == 0,
            f"{type(config).__name__}: input_{axis} {size} is not a multiple of patch_{axis} {patch}.",
        )


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Hyperparameters of the BirdJEPA encoder. The h axis of a spectrogram is time, the w axis is mel frequency.

    Attributes:
        input_h: Time frames of a spectrogram.
        input_w: Mel bins of a spectrogram.
        patch_h: Time frames of a patch.
        patch_w: Mel bins of a patch.
        embed_dim: Width of a token.
        depth: Number of blocks.
        n_heads: Attention heads of a block.
        mlp_ratio: Hidden width of the feed-forward layer, in multiples of `embed_dim`; SwiGLU takes two thirds of it.
        dropout: Rate of dropout behind the feed-forward layers. Without a PRNG key in the call there is none.
        use_rope: Whether positions are rotary; otherwise each patch position has a learned embedding.
        rope_base: Base of the rotary frequencies.
        use_qk_norm: Whether queries and keys pass a LayerNorm a head.
        use_swiglu: Whether the feed-forward layer is SwiGLU; otherwise it is a GELU MLP.
        use_layerscale: Whether the residual branches have a learned scale for each channel.
        layerscale_init: What those scales start from.
        n_cls_tokens: Number of class tokens; they come before the patches.
        n_reg_tokens: Number of register tokens; they come after the patches.
        use_scan: Whether the blocks are stacked along a leading axis and run in one `jax.lax.scan`, which compiles in
            time independent of the depth; otherwise they are a tuple and run in a loop. `stack` and `unstack` convert.
        grad_ckpt: Whether a block's activations are computed again in the backward pass instead of kept.
        gelu: `"erf"`, the exact GELU, or `"tanh"`, its approximation.
    """

    input_h: int = 512
    input_w: int = 128
    patch_h: int = 16
    patch_w: int = 16
    embed_dim: int = 768
    depth: int = 12
    n_heads: int = 12
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    use_rope: bool = False
    rope_base: float = 100.0
    use_qk_norm: bool = False
    use_swiglu: bool = False
    use_layerscale: bool = False
    layerscale_init: float = 1e-4
    n_cls_tokens: int = 1
    n_reg_tokens: int = 0
    use_scan: bool = True
    grad_ckpt: bool = True
    gelu: Literal["erf", "tanh"] = "erf"

    def __post_init__(self) -> None:
        positive = ("input_h", "input_w", "patch_h", "patch_w", "embed_dim", "depth", "n_heads", "n_cls_tokens")
        _require_positive(self, *positive)
        _require_patches_fit(self)
        require(self.n_reg_tokens >= 0, f"TransformerConfig.n_reg_tokens must not be negative: {self.n_reg_tokens}.")
        require(0 <= self.dropout < 1, f"TransformerConfig.dropout must lie in [0, 1), but it is {self.dropout}.")
        require(
            self.embed_dim % self.n_heads == 0,
            f"TransformerConfig: embed_dim {self.embed_dim} is not a multiple of n_heads {self.n_heads}.",
        )
        require(
            not self.use_rope or self.head_dim % 4 == 0,
            f"TransformerConfig: a head has {self.head_dim} channels, but use_rope needs a multiple of 4: half of the "
            "pairs rotate by the row of a patch, half by its column.",
        )
        require(self.gelu in ("erf", "tanh"), f"TransformerConfig.gelu must be 'erf' or 'tanh', not {self.gelu!r}.")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.embed_dim // self.n_heads

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward layer: SwiGLU has three matrices where an MLP has two."""
        nominal = int(self.embed_dim * self.mlp_ratio)
        return 2 * nominal // 3 if self.use_swiglu else nominal

    @property
    def n_patches_h(self) -> int:
        """Patches along time."""
        return self.input_h // self.patch_h

    @property
    def n_patches_w(self) -> int:
        """Patches along mel frequency."""
        return self.input_w // self.patch_w

    @property
    def n_patches(self) -> int:
        """Patches of a spectrogram."""
        return self.n_patches_h * self.n_patches_w

    @property
    def patch_size(self) -> int:
        """Numbers in a patch."""
        return self.patch_h * self.patch_w


@dataclasses.dataclass(frozen=True)
class BirdMaeConfig:
    """Hyperparameters of a Bird-MAE encoder (Rauch et al., "Can Masked Autoencoders Also Listen to Birds?", 2025).

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        n_heads: Attention heads of a block.
        input_h: Time frames of a spectrogram.
        input_w: Mel bins of a spectrogram.
        patch_h: Time frames of a patch.
        patch_w: Mel bins of a patch.
        mlp_ratio: Hidden width of the feed-forward layer, in multiples of `embed_dim`.
        pooling: `"mean"`, `fc_norm` of the mean patch token, as published, or `"cls"`, the class token of `norm`.
    """

    embed_dim: int
    depth: int
    n_heads: int
    input_h: int = 512
    input_w: int = 128
    patch_h: int = 16
    patch_w: int = 16
    mlp_ratio: float = 4.0
    pooling: Literal["mean", "cls"] = "mean"

    def __post_init__(self) -> None:
        _require_positive(self, "embed_dim", "depth", "n_heads", "input_h", "input_w", "patch_h", "patch_w")
        _require_patches_fit(self)
        require(
            self.embed_dim % self.n_heads == 0,
            f"BirdMaeConfig: embed_dim {self.embed_dim} is not a multiple of n_heads {self.n_heads}.",
        )
        require(self.pooling in ("mean", "cls"), f"BirdMaeConfig.pooling must be 'mean' or 'cls': {self.pooling!r}.")

    @property
    def n_patches(self) -> int:
        """Patches of a spectrogram."""
        return (self.input_h // self.patch_h) * (self.input_w // self.patch_w)

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward layer."""
        return int(self.embed_dim * self.mlp_ratio)


BIRD_MAE: Mapping[str, BirdMaeConfig] = MappingProxyType(
    {
        "base": BirdMaeConfig(embed_dim=768, depth=12, n_heads=12),
        "large": BirdMaeConfig(embed_dim=1024, depth=24, n_heads=16),
        "huge": BirdMaeConfig(embed_dim=1280, depth=32, n_heads=16),
    }
)
"""The published Bird-MAE encoders; `DBD-research-group/Bird-MAE-Base` and its siblings on the Hugging Face hub."""
