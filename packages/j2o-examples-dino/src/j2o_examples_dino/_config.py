"""The hyperparameters of a DINOv3 vision transformer, and the eight published variants as one table."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ._errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DinoConfig:
    """Hyperparameters of one DINOv3 vision transformer.

    Attributes:
        dim: Width D of a token.
        depth: Number of transformer blocks.
        heads: Number of attention heads; each has D // heads channels.
        ffn: Feed-forward layer of a block: a GELU MLP or SwiGLU.
        ffn_ratio: Nominal width of the hidden layer over D; see `hidden`.
        ffn_align: The hidden width of SwiGLU is rounded up to a multiple of this.
        qkv_bias: Whether the query, key and value projection has a bias; that of keys is zero.
        local_cls_norm: Whether there is the LayerNorm that training used for local crops; inference never uses it.
        patch_size: Side of a patch in pixels.
        channels: Channels of the image.
        registers: Number of register ("storage") tokens after the class token.
        norm_eps: Epsilon of every LayerNorm.
        layer_scale_init: Value that the learned per-channel scale of each residual branch starts from.
        rope_base: Base of the geometric series of rotary periods.
        rope_normalize: What patch coordinates are divided by: each axis by its own length, or both by the larger or
            the smaller one.
        rope_periods: Where the rotary periods come from. `"checkpoint"` takes the buffer of the checkpoint, and where
            there is none the bfloat16-rounded series that the published buffers hold; `"bf16"` and `"fp32"` compute
            the series, rounded or not, whatever the checkpoint says (other reimplementations use `"fp32"`).
    """

    dim: int
    depth: int
    heads: int
    ffn: Literal["mlp", "swiglu"] = "mlp"
    ffn_ratio: float = 4.0
    ffn_align: int = 8
    qkv_bias: bool = True
    local_cls_norm: bool = False
    patch_size: int = 16
    channels: int = 3
    registers: int = 4
    norm_eps: float = 1e-5
    layer_scale_init: float = 1e-5
    rope_base: float = 100.0
    rope_normalize: Literal["separate", "max", "min"] = "separate"
    rope_periods: Literal["checkpoint", "bf16", "fp32"] = "checkpoint"

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "ffn_align", "patch_size", "channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"DinoConfig.{name} must be at least 1, but it is {getattr(self, name)}.")
        if self.registers < 0:
            raise ConfigError(f"DinoConfig.registers must not be negative, but it is {self.registers}.")
        if self.dim % self.heads or self.head_dim % 4:
            raise ConfigError(
                f"DinoConfig: dim {self.dim} over {self.heads} heads must give a whole number of channels a head that "
                "is a multiple of 4, because the rotary embedding splits a head into rows and columns, each into pairs."
            )
        for name, allowed in (
            ("ffn", ("mlp", "swiglu")),
            ("rope_normalize", ("separate", "max", "min")),
            ("rope_periods", ("checkpoint", "bf16", "fp32")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"DinoConfig.{name} must be one of {allowed}, but it is {getattr(self, name)!r}.")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer's hidden activation.

        SwiGLU has three matrices where an MLP has two, so two thirds of the nominal width cost the same; the result
        is rounded up to a multiple of `ffn_align`.
        """
        nominal = int(self.dim * self.ffn_ratio)
        if self.ffn == "mlp":
            return nominal
        reduced = int(nominal * 2 / 3)
        return reduced + -reduced % self.ffn_align

    @property
    def prefix(self) -> int:
        """Number of tokens before the patch tokens: the class token and the registers."""
        return 1 + self.registers


_VITS = DinoConfig(dim=384, depth=12, heads=6)
_VITL = DinoConfig(dim=1024, depth=24, heads=16)
_VIT7B = DinoConfig(
    dim=4096,
    depth=40,
    heads=32,
    ffn="swiglu",
    ffn_ratio=3.0,
    ffn_align=64,
    qkv_bias=False,
    local_cls_norm=True,
)

VARIANTS: Mapping[str, DinoConfig] = MappingProxyType(
    {
        # Trained on web images (LVD-1689M).
        "vits16": _VITS,
        "vits16plus": dataclasses.replace(_VITS, ffn="swiglu", ffn_ratio=6.0),
        "vitb16": DinoConfig(dim=768, depth=12, heads=12),
        "vitl16": _VITL,
        "vith16plus": DinoConfig(dim=1280, depth=32, heads=20, ffn="swiglu", ffn_ratio=6.0),
        "vit7b16": _VIT7B,
        # Trained on satellite images (SAT-493M).
        "vitl16_sat493m": dataclasses.replace(_VITL, local_cls_norm=True),
        "vit7b16_sat493m": _VIT7B,
    }
)
"""The published vision transformers by name. The two satellite variants expect `SAT` image statistics."""


def variant(name: str) -> DinoConfig:
    """Look up a published variant.

    Args:
        name: One of the keys of `VARIANTS`.

    Raises:
        ConfigError: If there is no variant of that name.
    """
    try:
        return VARIANTS[name]
    except KeyError:
        raise ConfigError(f"There is no DINOv3 variant {name!r}; there are {', '.join(VARIANTS)}.") from None
