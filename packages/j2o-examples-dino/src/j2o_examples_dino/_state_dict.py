"""A model as a state dict under the key names and in the shapes of the published `.pth` files, and back.

The fields of the models bear the published names, so only a few reshapes and buffers stand between the two.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ._build import Model, build
from ._config import ConvNextConfig, DinoConfig
from ._errors import CheckpointError
from ._rope import rope_periods
from ._scratch import Scratch
from ._variants import AnyConfig

PERIODS = "rope_embed.periods"
_BIAS = ".attn.qkv.bias"
_MASK = f"{_BIAS}_mask"

# Weights up to this size are read into memory, even where weights may stay on the disk: while tracing, JAX copies NumPy
# arrays in some places, and a weight that was copied would be exported without its name.
SMALL_BYTES = 1 << 18

# Leaves that have one more axis, of length one, in files.
_BATCHED = ("cls_token", "storage_tokens", "register_tokens", "pos_embed")


def leaf_name(path: tuple[object, ...]) -> str:
    """Spell a pytree path as state dicts do: `blocks.3.attn.qkv.weight`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def file_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a leaf in files; the data is the same in C order."""
    if name in _BATCHED:
        return (1, *shape)
    # Equinox gives the bias of a convolution an axis for each of space.
    return shape[:1] if name.endswith(".bias") else shape


def _named_leaves(model: Model) -> Iterator[tuple[str, jax.Array]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        yield leaf_name(path), leaf


def bias_mask(dim: int) -> np.ndarray:
    """The published mask of the joint projection's bias: ones for queries and values, zeros for keys."""
    return np.repeat(np.array([1, 0, 1], np.float32), dim)


def state_dict(model: Model) -> dict[str, np.ndarray]:
    """Write a model as a state dict in the published layout.

    Returns:
        Arrays by key, in the dtype of the model's leaves, buffers (`rope_embed.periods`,
        `blocks.*.attn.qkv.bias_mask`) and aliases (`norms.3.*` of a ConvNeXt) included.
    """
    tensors: dict[str, np.ndarray] = {}
    for name, leaf in _named_leaves(model):
        if not leaf.size:  # the registers of a model without
            continue
        array = np.asarray(leaf)
        tensors[name] = array.reshape(file_shape(name, array.shape))
        if _has_mask(name, model.config):
            # A bias on the keys, which only a fine-tuned model can have, must survive the mask.
            mask = bias_mask(model.config.dim)
            keys = slice(model.config.dim, 2 * model.config.dim)
            mask[keys] = np.any(array[keys] != 0)
            tensors[f"{name}_mask"] = mask.astype(array.dtype)
    return tensors | {alias: tensors[name] for alias, name in _aliases(model.config).items()}


def leaf_names(config: AnyConfig) -> list[str]:
    """The names of all leaves of a model, in the order of its tree; some may be empty."""
    return [name for name, _ in _named_leaves(skeleton(config))]


def _has_mask(name: str, config: AnyConfig) -> bool:
    return isinstance(config, DinoConfig) and name.endswith(_BIAS)


def _aliases(config: AnyConfig) -> dict[str, str]:
    """Keys under which files hold another key's tensor once more."""
    if not isinstance(config, ConvNextConfig):
        return {}
    return {f"norms.{config.depth - 1}.{kind}": f"norm.{kind}" for kind in ("weight", "bias")}


def _fold_bias_masks(tensors: Mapping[str, np.ndarray], dim: int) -> dict[str, np.ndarray]:
    """Multiply each `qkv.bias` by its mask.

    A mask of NaN is one that training never filled in; the published pattern stands in for it.
    """
    folded = {name: array for name, array in tensors.items() if not name.endswith(_MASK)}
    for name, mask in tensors.items():
        if name.endswith(_MASK):
            bias_name = name.removesuffix("_mask")
            bias = tensors[bias_name]
            if np.any(np.isnan(mask.astype(np.float32))):
                mask = bias_mask(dim)
            folded[bias_name] = np.where(mask == 0, np.zeros_like(bias), bias * mask.astype(bias.dtype))
    return folded


def skeleton(config: AnyConfig) -> Model:
    """The tree of a model, with shapes and dtypes in place of arrays."""
    tree: Model = eqx.filter_eval_shape(lambda key: build(config, key=key), jax.random.key(0))
    return tree


def _misfits(config: AnyConfig, tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Everything that is wrong with the keys, shapes and dtypes of a state dict, one line a kind."""
    expected = {name: file_shape(name, leaf.shape) for name, leaf in _named_leaves(skeleton(config)) if leaf.size}
    optional = {f"{name}_mask": shape for name, shape in expected.items() if _has_mask(name, config)}
    optional |= {alias: expected[name] for alias, name in _aliases(config).items()}

    def listed(names: list[str]) -> str:
        return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")

    missing = [name for name in expected if name not in tensors and name != PERIODS]
    expected |= optional
    unknown = [name for name in tensors if name not in expected]
    shapes = [
        f"{name} is {tensors[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    dtypes = [
        f"{name} is {array.dtype}"
        for name, array in tensors.items()
        if name in expected and not jnp.issubdtype(array.dtype, jnp.floating)
    ]
    aliases = [
        f"{alias} is not {name}"
        for alias, name in _aliases(config).items()
        if alias in tensors and name in tensors and not np.array_equal(tensors[alias], tensors[name], equal_nan=True)
    ]
    kinds = {
        "missing": missing,
        "unknown": unknown,
        "of another shape": shapes,
        "not floating point": dtypes,
        "not what they repeat": aliases,
    }
    return [f"  {len(names)} {kind}: {listed(names)}" for kind, names in kinds.items() if names]


def _misfit(source: str, config: AnyConfig, misfits: list[str]) -> CheckpointError:
    remedy = "Give the configuration that the weights were saved with, or copy them again."
    lines = [f"{source} does not fit the model configuration; of its tensors are", *misfits, f"  {config}", remedy]
    error = CheckpointError("\n".join(lines))
    error.path, error.record, error.remedy = Path(source), "\n".join(misfits), remedy
    return error


def from_state_dict(
    tensors: Mapping[str, np.ndarray],
    config: AnyConfig,
    *,
    dtype: DTypeLike | None = jnp.float32,
    drop_zero_bias: bool = False,
    source: str = "the state dict",
    scratch: Scratch | None = None,
) -> Model:
    """Build a model from a state dict in the published layout. Every key must be known, and none may be missing.

    Args:
        tensors: Arrays by key, for instance `blocks.3.attn.qkv.weight` `[3 * dim, dim]`. The buffers
            `rope_embed.periods` and `blocks.*.attn.qkv.bias_mask` may be absent.
        config: The hyperparameters that the state dict belongs to.
        dtype: Dtype of the weights, or None for the one they are stored in. Rotary periods are always float32.
        drop_zero_bias: Whether to leave out the bias of the query, key and value projections when it is zero
            throughout, as it is in the published files. The model computes the same with one addition less a block.
        source: What to call the state dict in an error.
        scratch: If given, large leaves are NumPy arrays: those of the state dict, or where they are cast, mapped from
            there.

    Raises:
        CheckpointError: If the state dict does not fit the configuration; the error lists every misfit.
    """
    if not all(isinstance(array, np.ndarray) for array in tensors.values()):
        tensors = {name: np.asarray(array) for name, array in tensors.items()}
    misfits = _misfits(config, tensors)
    if misfits:
        raise _misfit(source, config, misfits)
    tensors = {name: array for name, array in tensors.items() if name not in _aliases(config)}
    if isinstance(config, DinoConfig):
        tensors = _fold_bias_masks(tensors, config.dim)
    if (
        drop_zero_bias
        and not isinstance(config, ConvNextConfig)
        and not any(np.any(array) for name, array in tensors.items() if name.endswith(_BIAS))
    ):
        config = dataclasses.replace(config, qkv_bias=False)

    def leaf(name: str, shape: tuple[int, ...]) -> jax.Array | np.ndarray:
        if name == PERIODS and isinstance(config, DinoConfig):
            if config.rope_periods != "checkpoint" or name not in tensors:
                return jnp.asarray(rope_periods(config))
            # The buffer is stored as bfloat16 or as float32 that was rounded to it; either way this is exact.
            return jnp.array(tensors[name], jnp.float32)
        stored = tensors[name] if 0 not in shape else np.empty(shape, tensors["cls_token"].dtype)
        if scratch is not None and stored.nbytes > SMALL_BYTES:
            return scratch.cast(stored, dtype or stored.dtype).reshape(shape)
        return jnp.array(stored.reshape(shape), dtype or stored.dtype)

    tree = skeleton(config)
    leaves = [leaf(name, value.shape) for name, value in _named_leaves(tree)]
    model: Model = jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(tree), leaves)
    return model
