"""Configurations, weights and inputs of the comparison with PyTorch: NumPy only, for both sides of it."""

import math

import numpy as np

# Fields of TransformerConfig. Spectrograms are 24 x 16, patches 8 x 4: three rows of four.
_SMALL = {
    "input_h": 24,
    "input_w": 16,
    "patch_h": 8,
    "patch_w": 4,
    "embed_dim": 16,
    "depth": 2,
    "n_heads": 2,
    "mlp_ratio": 2.0,
    "n_cls_tokens": 2,
    "use_scan": False,
}
_MODERN = {"use_rope": True, "use_qk_norm": True, "use_swiglu": True, "use_layerscale": True, "n_reg_tokens": 3}
ENCODERS = {"absolute": _SMALL, "tanh": _SMALL | {"gelu": "tanh"}, "modern": _SMALL | _MODERN}
# Of these, those that see all patches; the others see some.
WHOLE = {"absolute"}
# The encoder that objectives train.
SHALLOW = _SMALL | {"depth": 1}

# Fields of SupervisedConfig, LeJepaConfig, PixioConfig by the name of the case.
OBJECTIVES = {
    "supervised": {"n_classes": 5, "n_sources": 7, "source_rank": 3, "source_weight": 0.25},
    "lejepa-batch": {"n_views": 3, "proj_dim": 4, "hidden": 8, "lamb": 0.1, "norm": "batch"},
    "lejepa-layer": {"n_views": 3, "proj_dim": 4, "hidden": 8, "lamb": 0.1, "norm": "layer"},
    "pixio-unbiased": {"mask_ratio": 0.5, "decoder_depth": 1, "decoder_dim": 8, "decoder_heads": 2},
    "pixio-biased": {"mask_ratio": 0.5, "decoder_depth": 1, "decoder_dim": 8, "decoder_heads": 2, "variance": "biased"},
}

# Fields of OptimizerConfig.
OPTIMIZERS = {
    "adamw": {"lr": 3e-3, "weight_decay": 0.1, "n_steps": 5, "warmup_steps": 2, "grad_clip": 1.0},
    "muon": {
        "optimizer": "muon",
        "lr": 0.05,
        "adam_lr": 2e-3,
        "weight_decay": 0.1,
        "schedule": "wsd",
        "n_steps": 5,
        "warmup_steps": 1,
        "decay_steps": 2,
        "grad_clip": 0.0,
    },
}
STEPS = 4

# Patches of each sample that an encoder is given where it is not given all; the others are hidden from a decoder.
VISIBLE = np.array([[0, 2, 3, 7, 8, 11], [1, 2, 5, 6, 9, 10], [0, 1, 4, 5, 8, 9], [3, 4, 6, 7, 10, 11]])
TARGET = np.array([1, 0, 4, 1])
INDEX = np.array([6, 3, 0, 2])


def formula_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights `shape` float32: every number is a sine of its place and of its name."""
    array = 0.2 * np.sin(0.7 * np.arange(math.prod(shape)) + sum(map(ord, name)) % 97)
    if name.endswith(".weight") and "norm" in name.split(".")[-2]:
        array += 1
    if "gamma" in name:
        array += 0.5
    return array.reshape(shape).astype(np.float32)


def spectrograms() -> np.ndarray:
    """Four spectrograms `[4, 24, 16]` float64."""
    return np.random.default_rng(0).standard_normal((4, 24, 16))


def views() -> np.ndarray:
    """Three views of each, `[4, 3, 24, 16]` float64."""
    noise = np.random.default_rng(1).standard_normal((4, 3, 24, 16))
    return spectrograms()[:, None] + 0.3 * noise


def directions(dim: int) -> np.ndarray:
    """Directions `[dim, 256]` float64 of length 1, for SIGReg."""
    columns = np.random.default_rng(2).standard_normal((dim, 256))
    return columns / np.linalg.norm(columns, axis=0)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Factors of an output `shape` in the sum that is the loss."""
    return np.cos(0.3 * np.arange(math.prod(shape))).reshape(shape)


def waves() -> dict[str, np.ndarray]:
    """Five seconds at 32 kHz without their mean, `[160000]` float64 by name."""
    seconds = np.arange(160_000) / 32_000
    found = {
        "sine": np.sin(2 * np.pi * 440 * seconds),
        "chirp": 0.3 * np.sin(2 * np.pi * (1000 * seconds + 700 * seconds**2)),
        "noise": np.random.default_rng(3).standard_normal(160_000),
    }
    return {name: wave - wave.mean() for name, wave in found.items()}


def patches_to_hear() -> np.ndarray:
    """Active patches `[256]` booleans of a spectrogram of 32 x 8."""
    return np.random.default_rng(4).random(256) < 0.2


def sample(array: np.ndarray, count: int) -> np.ndarray:
    """About so many of the numbers of an array, evenly spread, as float64: what is kept of it."""
    flat = np.asarray(array, np.float64).reshape(-1)
    return flat[:: max(1, flat.size // count)]
