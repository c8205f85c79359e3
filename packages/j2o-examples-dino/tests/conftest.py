"""Models small enough to run in a test, with weights that a formula gives."""

import math

import numpy as np
import pytest

from j2o_examples_dino import DinoConfig

TINY = {
    "mlp": DinoConfig(dim=32, depth=2, heads=2),
    "swiglu": DinoConfig(dim=32, depth=2, heads=2, ffn="swiglu", ffn_ratio=6.0),
}


def published_shapes(config: DinoConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a published state dict, written out here independently of the package."""
    dim, hidden = config.dim, config.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "storage_tokens": (1, config.registers, dim),
        "mask_token": (1, dim),
        "rope_embed.periods": (dim // config.heads // 4,),
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
    }
    for i in range(config.depth):
        block = {
            "norm1.weight": (dim,),
            "norm1.bias": (dim,),
            "attn.qkv.weight": (3 * dim, dim),
            "attn.proj.weight": (dim, dim),
            "attn.proj.bias": (dim,),
            "ls1.gamma": (dim,),
            "norm2.weight": (dim,),
            "norm2.bias": (dim,),
            "ls2.gamma": (dim,),
        }
        if config.qkv_bias:
            block |= {"attn.qkv.bias": (3 * dim,), "attn.qkv.bias_mask": (3 * dim,)}
        if config.ffn == "mlp":
            linears = {"fc1": (hidden, dim), "fc2": (dim, hidden)}
        else:
            linears = {"w1": (hidden, dim), "w2": (hidden, dim), "w3": (dim, hidden)}
        for name, shape in linears.items():
            block |= {f"mlp.{name}.weight": shape, f"mlp.{name}.bias": shape[:1]}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    if config.local_cls_norm:
        shapes |= {"local_cls_norm.weight": (dim,), "local_cls_norm.bias": (dim,)}
    return shapes


def formula_weights(config: DinoConfig) -> dict[str, np.ndarray]:
    """A published state dict whose every number is a sine of its place and of its key."""
    tensors = {}
    for key, shape in published_shapes(config).items():
        size = math.prod(shape)
        array = 0.2 * np.sin(0.7 * np.arange(size) + sum(map(ord, key)) % 97)
        if key.endswith(".weight") and "norm" in key.split(".")[-2]:
            array += 1
        if "gamma" in key:
            array += 0.5
        tensors[key] = array.reshape(shape).astype(np.float32)
    mask = np.repeat(np.array([1, 0, 1], np.float32), config.dim)
    for key in [key for key in tensors if key.endswith("bias_mask")]:
        tensors[key] = mask
        tensors[key.removesuffix("_mask")] *= mask
        tensors[key.removesuffix("_mask")] += 0  # no negative zeros
    # 100 ** (k / 4) rounded to bfloat16, for heads of 16 channels.
    if config.dim // config.heads == 16:
        tensors["rope_embed.periods"] = np.array([1, 3.15625, 10, 31.625], np.float32)
    return tensors


def formula_image(height: int, width: int) -> np.ndarray:
    return np.cos(0.05 * np.arange(3 * height * width)).reshape(3, height, width).astype(np.float32)


@pytest.fixture(params=["mlp", "swiglu"])
def tiny(request: pytest.FixtureRequest) -> DinoConfig:
    """A model of two blocks of 32 channels, once with each feed-forward layer."""
    return TINY[request.param]


@pytest.fixture
def weights(tiny: DinoConfig) -> dict[str, np.ndarray]:
    """A published state dict for `tiny`."""
    return formula_weights(tiny)


@pytest.fixture
def image() -> np.ndarray:
    """An image of 2 x 3 patches."""
    return formula_image(32, 48)
