"""The published models as one table."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from ._config import ConvNextConfig, DinoConfig, DinoV2Config
from ._errors import ConfigError

AnyConfig = DinoConfig | DinoV2Config | ConvNextConfig

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

_V2 = {
    "dinov2_vits14": DinoV2Config(dim=384, depth=12, heads=6),
    "dinov2_vitb14": DinoV2Config(dim=768, depth=12, heads=12),
    "dinov2_vitl14": DinoV2Config(dim=1024, depth=24, heads=16),
    "dinov2_vitg14": DinoV2Config(dim=1536, depth=40, heads=24, ffn="swiglu_fused"),
}

VARIANTS: Mapping[str, AnyConfig] = MappingProxyType(
    {
        # DINOv3, trained on web images (LVD-1689M).
        "vits16": _VITS,
        "vits16plus": dataclasses.replace(_VITS, ffn="swiglu", ffn_ratio=6.0),
        "vitb16": DinoConfig(dim=768, depth=12, heads=12),
        "vitl16": _VITL,
        "vith16plus": DinoConfig(dim=1280, depth=32, heads=20, ffn="swiglu", ffn_ratio=6.0),
        "vit7b16": _VIT7B,
        # DINOv3, trained on satellite images (SAT-493M).
        "vitl16_sat493m": dataclasses.replace(_VITL, local_cls_norm=True),
        "vit7b16_sat493m": _VIT7B,
        # DINOv3's convolutional family, trained on web images.
        "convnext_tiny": ConvNextConfig(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)),
        "convnext_small": ConvNextConfig(depths=(3, 3, 27, 3), dims=(96, 192, 384, 768)),
        "convnext_base": ConvNextConfig(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024)),
        "convnext_large": ConvNextConfig(depths=(3, 3, 27, 3), dims=(192, 384, 768, 1536)),
        # DINOv2, without and with registers. Meta resamples their positions differently.
        **{name: dataclasses.replace(config, resize_mode="torch", resize_offset=0.1) for name, config in _V2.items()},
        **{
            f"{name}_reg": dataclasses.replace(config, resize_mode="torch", registers=4, resize_antialias=True)
            for name, config in _V2.items()
        },
    }
)
"""The published models by name. The two satellite variants expect `SAT` image statistics."""


def variant(name: str) -> AnyConfig:
    """Look up a published variant.

    Args:
        name: One of the keys of `VARIANTS`.

    Raises:
        ConfigError: If there is no variant of that name.
    """
    try:
        return VARIANTS[name]
    except KeyError:
        raise ConfigError(f"There is no variant {name!r}; there are {', '.join(VARIANTS)}.") from None


def family(name: str) -> str:
    """The release that a published variant belongs to."""
    return "DINOv2" if isinstance(variant(name), DinoV2Config) else "DINOv3"
