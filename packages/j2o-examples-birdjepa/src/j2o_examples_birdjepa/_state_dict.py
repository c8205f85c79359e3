"""Models as state dicts: arrays by key, strictly checked, to and from safetensors files.

The fields of the models bear the names of the published files, so that a leaf's path is its key there.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax.typing import DTypeLike
from safetensors import SafetensorError

from ._bird_mae import BirdMae
from ._config import BirdMaeConfig, TransformerConfig
from ._errors import CheckpointError
from ._model import Transformer

Encoder = TypeVar("Encoder", bound=Transformer | BirdMae)


def _named_leaves(model: eqx.Module) -> Iterator[tuple[str, jax.Array]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        yield jax.tree_util.keystr(path, simple=True, separator="."), leaf


def _file_shape(config: BirdMaeConfig | TransformerConfig, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file: Bird-MAE projects patches by a convolution of one channel."""
    if isinstance(config, BirdMaeConfig) and name == "patch_embed.proj.weight":
        return (config.embed_dim, 1, config.patch_h, config.patch_w)
    return shape


def state_dict(model: Transformer | BirdMae) -> dict[str, np.ndarray]:
    """The weights of an encoder by key, for instance `blocks.0.attn.qkv.weight` `[3 * embed_dim, embed_dim]`.

    Those of `BirdMae` have the keys and shapes of the published files.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(model)}
    return {name: array.reshape(_file_shape(model.config, name, array.shape)) for name, array in arrays.items()}


def from_state_dict(
    kind: type[Encoder],
    tensors: Mapping[str, np.ndarray],
    config: BirdMaeConfig | TransformerConfig,
    *,
    dtype: DTypeLike | None = jnp.float32,
    source: str = "the state dict",
) -> Encoder:
    """Build an encoder from its state dict. Every key must be known, and none may be missing.

    Args:
        kind: `Transformer` or `BirdMae`.
        tensors: Arrays by key.
        config: The hyperparameters that they belong to.
        dtype: Dtype of the weights, or None for the one they are stored in.
        source: A name of the state dict for errors.

    Raises:
        CheckpointError: If the state dict does not fit the configuration; the error lists every misfit.
    """
    skeleton = eqx.filter_eval_shape(kind, config, key=jax.random.key(0))
    expected = {name: _file_shape(config, name, leaf.shape) for name, leaf in _named_leaves(skeleton)}
    kinds: dict[str, list[str]] = {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name} is {tensors[name].shape} instead of {shape}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "not floating point": [
            f"{name} is {array.dtype}"
            for name, array in tensors.items()
            if name in expected and not jnp.issubdtype(array.dtype, jnp.floating)
        ],
    }
    misfits = [f"  {len(names)} {what}: {_listed(names)}" for what, names in kinds.items() if names]
    if misfits:
        raise CheckpointError(
            "\n".join([f"{source} does not fit the model configuration; of its tensors are", *misfits, f"  {config}"])
        )
    leaves = [
        jnp.asarray(tensors[name].reshape(leaf.shape), dtype or tensors[name].dtype)
        for name, leaf in _named_leaves(skeleton)
    ]
    model: Encoder = jax.tree.unflatten(jax.tree.structure(skeleton), leaves)
    return model


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def load_bird_mae(path: str | os.PathLike[str], config: BirdMaeConfig, **options: DTypeLike | None) -> BirdMae:
    """Load a published Bird-MAE encoder.

    Args:
        path: The file `model.safetensors`, or the folder that holds it.
        config: What it is a checkpoint of, for instance `BIRD_MAE["base"]`.
        options: `dtype` of the weights, as in `from_state_dict`.

    Raises:
        CheckpointError: If the file cannot be read, or does not fit the configuration to the last key.
    """
    return from_state_dict(BirdMae, read_safetensors(path), config, source=str(path), **options)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, or of the file `model.safetensors` of a folder.

    Raises:
        CheckpointError: If there is no such file, or it cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist. Weights are not part of this package; see its README.")
    try:
        return safetensors.numpy.load_file(file)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read as a safetensors file: {error}. It is damaged or no such file: copy or download it "
            f"again."
        ) from error


def save_safetensors(path: str | os.PathLike[str], model: Transformer | BirdMae) -> None:
    """Write an encoder's weights; a file of that name is replaced only when the new one is complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        tensors = {name: np.ascontiguousarray(array) for name, array in state_dict(model).items()}
        safetensors.numpy.save_file(tensors, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
