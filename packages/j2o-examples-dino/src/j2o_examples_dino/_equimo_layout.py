"""The models of Equimo that are DINO: which arguments build them, and the order of the leaves of their trees.

Equimo's archives hold the leaves without names; what they are follows from the arguments.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ._config import ConvNextConfig, DinoConfig, DinoV2Config
from ._errors import CheckpointError, ConfigError
from ._variants import AnyConfig

# Arguments that decide what is computed, where DINO has only one value; absent ones have Equimo's default.
_FIXED: dict[str, tuple[Any, Any]] = {
    # name: (value of DINO, default)
    "local_pos_embed_reg": (False, False),
    "class_token": (True, True),
    "block": ("attentionblock", "attentionblock"),
    "attn_layer": ("attention", "attention"),
    "norm_layer": ("layernorm", "layernorm"),
    "qk_norm": (False, False),
    "proj_bias": (True, True),
    "ffn_bias": (True, True),
}
# Arguments that make no difference to features at inference.
_WITHOUT_EFFECT = {
    "dynamic_img_size",
    "global_pool",
    "pos_drop_rate",
    "drop_path_rate",
    "drop_path_uniform",
    "attn_drop",
    "proj_drop",
}
_READ = {
    "dim",
    "depths",
    "num_heads",
    "in_channels",
    "patch_size",
    "img_size",
    "reg_tokens",
    "mlp_ratio",
    "ffn_layer",
    "ffn_kwargs",
    "qkv_bias",
    "untie_global_and_local_cls_norm",
    "eps",
    "init_values",
    "use_mask_token",
    "num_classes",
    "act_layer",
    "use_local_pos_embed",
    "use_global_pos_embed",
    "local_pos_embed_config_patch",
    "interpolate_antialias",
    "global_pos_embed_cls",
    "global_pos_embed_reg",
}
_FFN = {"mlp": "mlp", "swiglu": "swiglu", "swiglufused": "swiglu_fused"}
_LINEARS = {"mlp": ("fc1", "fc2"), "swiglu": ("w1", "w2", "w3"), "swiglu_fused": ("w12", "w3")}
_BATCHED = ("cls_token", "storage_tokens", "register_tokens", "pos_embed")


def read_arguments(arguments: Mapping[str, Any]) -> DinoConfig | DinoV2Config:
    """The configuration that Equimo's arguments describe.

    Raises:
        ConfigError: If they describe another model than a vision transformer of DINOv2 or DINOv3.
    """
    unknown = sorted(arguments.keys() - _FIXED.keys() - _WITHOUT_EFFECT - _READ)
    if unknown:
        raise ConfigError(f"it was built with arguments that DINO does not have: {', '.join(unknown)}")
    for name, (wanted, default) in _FIXED.items():
        if arguments.get(name, default) != wanted:
            raise ConfigError(f"it was built with {name}={arguments.get(name, default)!r}; DINO has {wanted!r}")
    if arguments.get("num_classes", 1000):
        raise ConfigError("it has a classification head; only backbones (num_classes=0) are read")
    if arguments.get("init_values") is None:
        raise ConfigError("it has no layer scale (init_values=None); DINO has one")
    ffn = _FFN.get(arguments.get("ffn_layer", "mlp"), arguments.get("ffn_layer"))
    if ffn == "mlp" and arguments.get("act_layer", "gelu") != "exactgelu":
        raise ConfigError(f"its activation is {arguments.get('act_layer', 'gelu')!r}; DINO has 'exactgelu'")
    heads = arguments["num_heads"]
    shared: dict[str, Any] = {
        "dim": arguments["dim"],
        "depth": sum(arguments["depths"]),
        "heads": heads[0] if isinstance(heads, list) else heads,
        "ffn": ffn,
        "ffn_ratio": arguments.get("mlp_ratio", 4.0),
        "ffn_align": arguments.get("ffn_kwargs", {}).get("align_to", 8),
        "qkv_bias": arguments.get("qkv_bias", True),
        "patch_size": arguments["patch_size"],
        "channels": arguments["in_channels"],
        "registers": arguments.get("reg_tokens", 4),
        "norm_eps": arguments.get("eps", 1e-5),
        "layer_scale_init": arguments["init_values"],
    }
    rotary = arguments.get("use_local_pos_embed", False)
    if rotary == arguments.get("use_global_pos_embed", True):
        raise ConfigError("it has both or neither of use_local_pos_embed (DINOv3) and use_global_pos_embed (DINOv2)")
    if not rotary:
        return DinoV2Config(
            **shared,
            image_size=arguments["img_size"],
            class_position=arguments.get("global_pos_embed_cls", True),
            register_positions=arguments.get("global_pos_embed_reg", False),
            resize_antialias=arguments.get("interpolate_antialias", False),
        )
    rope: dict[str, Any] = {"strategy": "period", "base": 100.0, "normalize_coords": "separate"}
    rope |= arguments.get("local_pos_embed_config_patch", {})
    if rope["strategy"] != "period":
        raise ConfigError(f"its rotary embedding has the strategy {rope['strategy']!r}; DINOv3 has 'period'")
    return DinoConfig(
        **shared,
        local_cls_norm=arguments.get("untie_global_and_local_cls_norm", False),
        rope_base=rope["base"],
        rope_normalize=rope["normalize_coords"],
    )


def write_arguments(config: AnyConfig) -> dict[str, Any]:
    """Arguments by which Equimo builds the model of a configuration.

    Raises:
        CheckpointError: If Equimo has no such model.
    """
    if isinstance(config, ConvNextConfig):
        raise CheckpointError("Equimo's layout is written for vision transformers only; save a ConvNeXt otherwise.")
    arguments: dict[str, Any] = {
        "dim": config.dim,
        "depths": [config.depth],
        "num_heads": config.heads,
        "in_channels": config.channels,
        "patch_size": config.patch_size,
        "num_classes": 0,
        "use_mask_token": True,
        "reg_tokens": config.registers,
        "mlp_ratio": config.ffn_ratio,
        "ffn_layer": next(theirs for theirs, ours in _FFN.items() if ours == config.ffn),
        "ffn_kwargs": {"align_to": config.ffn_align},
        "qkv_bias": config.qkv_bias,
        "eps": config.norm_eps,
        "init_values": config.layer_scale_init,
        "act_layer": "exactgelu",
        "dynamic_img_size": True,
    }
    if isinstance(config, DinoV2Config):
        # Of how positions are resampled, Equimo knows antialiasing alone; it resamples as jax.image.resize does.
        return arguments | {
            "img_size": config.image_size,
            "use_global_pos_embed": True,
            "use_local_pos_embed": False,
            "global_pos_embed_cls": config.class_position,
            "global_pos_embed_reg": config.register_positions,
            "interpolate_antialias": config.resize_antialias,
        }
    return arguments | {
        "img_size": 224,
        "use_global_pos_embed": False,
        "use_local_pos_embed": True,
        "local_pos_embed_config_patch": {
            "strategy": "period",
            "base": config.rope_base,
            "normalize_coords": config.rope_normalize,
        },
        "untie_global_and_local_cls_norm": config.local_cls_norm,
    }


def record_names(config: DinoConfig | DinoV2Config, *, mask_token: bool) -> Iterator[str | None]:
    """Published names of the records, in their order; None for settings of dropout, which is not a weight."""
    second = isinstance(config, DinoV2Config)
    yield from ("patch_embed.proj.weight", "patch_embed.proj.bias")
    yield "pos_embed" if second else "rope_embed.periods"
    yield "cls_token"
    if config.registers:
        yield "register_tokens" if second else "storage_tokens"
    if mask_token:
        yield "mask_token"
    dropout = (None, None)  # its rate and whether it is off
    for index in range(config.depth):
        names = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"]
        names += ["attn.qkv.weight"] + ["attn.qkv.bias"] * config.qkv_bias + ["attn.proj.weight", "attn.proj.bias"]
        yield from (f"blocks.{index}.{name}" for name in names)
        yield from dropout * 2  # of the attention weights and of the projection
        linears = _LINEARS[config.ffn]
        yield from (f"blocks.{index}.mlp.{linear}.{kind}" for linear in linears for kind in ("weight", "bias"))
        yield from dropout * 4  # two in the feed-forward layer, one for each residual branch
    yield from dropout  # of the position embedding
    yield from ("norm.weight", "norm.bias")
    if isinstance(config, DinoConfig) and config.local_cls_norm:
        yield from ("local_cls_norm.weight", "local_cls_norm.bias")


def from_equimo(records: Mapping[str | None, np.ndarray], config: DinoConfig | DinoV2Config) -> dict[str, np.ndarray]:
    """Records by published name, in published shapes.

    Equimo leaves out the axes of length one that the published shapes have, and adds two to the patch bias.
    """
    tensors = {name: array for name, array in records.items() if name is not None}
    for name in _BATCHED:
        if name in tensors:
            tensors[name] = tensors[name][None]
    tensors["patch_embed.proj.bias"] = tensors["patch_embed.proj.bias"].reshape(-1)
    if "mask_token" not in tensors:
        # Inference never looks at it; zero is what training starts from.
        tensors["mask_token"] = np.zeros((1, config.dim), tensors["cls_token"].dtype)
    return tensors


def to_equimo(tensors: Mapping[str, np.ndarray], config: DinoConfig | DinoV2Config) -> Iterator[np.ndarray]:
    """The records of a model, in their order.

    Args:
        tensors: Arrays by published name, as `state_dict` gives them.
        config: What they belong to.
    """
    settings = 0
    for name in record_names(config, mask_token=True):
        if name is None:
            # Settings of dropout come in pairs: a rate, and whether it is off.
            yield np.asarray(False if settings % 2 else 0.0)
            settings += 1
        elif name == "patch_embed.proj.bias":
            yield tensors[name].reshape(-1, 1, 1)
        else:
            yield tensors[name][0] if name in _BATCHED else tensors[name]
