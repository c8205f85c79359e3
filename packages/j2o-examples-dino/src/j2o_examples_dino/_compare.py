"""Two models, or what they gave, held against each other layer by layer: ours, Equimo's, an ONNX file, a reference."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._build import Model
from ._checkpoint import load
from ._config import ConvNextConfig
from ._equimo_layout import to_equimo, write_arguments
from ._errors import CheckpointError, ConfigError, ImageError
from ._layers import compute, layer_names, tensors_digest
from ._reference import read_reference
from ._state_dict import state_dict
from ._variants import AnyConfig

EQUIMO = "equimo:"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: What to call it.
        features: Maps images `[batch, 3, height, width]` to arrays by name.
        images: The images that it was computed for, where it cannot compute others.
        digest: SHA-256 of the weights, where they are known.
    """

    name: str
    features: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    images: np.ndarray | None = None
    digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far two arrays are apart.

    Attributes:
        name: Name of the output.
        shape: Its shape.
        max_abs: Largest absolute difference; not a number if either side has one that is not.
        relative: The same over the largest magnitude of the first.
    """

    name: str
    shape: tuple[int, ...]
    max_abs: float
    relative: float


def open_side(what: str, config: AnyConfig | None) -> Side:
    """One side of a comparison.

    Args:
        what: An ONNX file (`.onnx`), reference activations (`.npz` that `j2o-dino reference` wrote), `equimo:` and a
            checkpoint for Equimo's model with those weights, or a checkpoint for ours.
        config: What a checkpoint is a checkpoint of, where it does not say so itself.

    Raises:
        DinoError: If it cannot be read.
    """
    if what.startswith(EQUIMO):
        return _equimo(load(Path(what.removeprefix(EQUIMO)), config), what)
    if what.endswith(".onnx"):
        return _onnx(Path(what))
    if what.endswith(".npz") and _is_reference(Path(what)):
        reference = read_reference(what)
        return Side(what, lambda images: reference.outputs, reference.images, reference.digest)
    model = load(Path(what), config)
    return Side(what, lambda images: compute(model, images), digest=tensors_digest(state_dict(model)))


def _is_reference(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return "about" in archive.files
    except (OSError, ValueError, EOFError):
        return False


def _onnx(path: Path) -> Side:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, one for each of its status codes
        raise CheckpointError(f"{path} cannot be read by ONNX Runtime: {error}") from error
    (image_input,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        wanted = image_input.shape
        fits = len(wanted) == images.ndim and all(
            isinstance(size, str) or size is None or size == given
            for size, given in zip(wanted, images.shape, strict=True)
        )
        if not fits:
            raise ImageError(f"{path} takes images {wanted}, but they are {list(images.shape)}. Give --size.")
        return dict(zip(names, session.run(names, {image_input.name: images}), strict=True))

    return Side(str(path), run)


def _equimo(model: Model, name: str) -> Side:
    try:
        from equimo.models.vit import VisionTransformer  # type: ignore[import-untyped]
    except ImportError:
        raise CheckpointError(f"{name}: Equimo is needed for its model: pip install equimo.") from None
    config = model.config
    arguments = write_arguments(config)
    assert not isinstance(config, ConvNextConfig)  # write_arguments has refused it
    tree: Any = VisionTransformer(**arguments, key=jax.random.PRNGKey(0))
    leaves, structure = jax.tree.flatten(tree)
    tensors = state_dict(model)
    records = to_equimo(tensors, config)
    filled = [jnp.asarray(new) if eqx.is_array(old) else old for old, new in zip(leaves, records, strict=True)]
    tree = jax.tree.unflatten(structure, filled)

    @eqx.filter_jit
    def tokens(shortened: Any, images: jax.Array) -> jax.Array:
        key = jax.random.PRNGKey(0)
        features: jax.Array = jax.vmap(lambda image: shortened.features(image, key=key, inference=True))(images)
        return features

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        # Equimo gives the last tokens only, so for each layer a model is made that ends there.
        blocks = tree.blocks[0].blocks
        features = {}
        for index, name in enumerate(layer_names(config)):
            shortened = eqx.tree_at(lambda t: t.blocks[0].blocks, tree, blocks[: index + 1])
            features[name] = np.asarray(tokens(shortened, jnp.asarray(images)))
        normed = np.asarray(jax.vmap(jax.vmap(tree.norm))(jnp.asarray(features[name])))
        prefix = config.prefix
        return features | {"cls": normed[:, 0], "registers": normed[:, 1:prefix], "patches": normed[:, prefix:]}

    return Side(name, run, digest=tensors_digest(tensors))


def compare(first: Side, second: Side, images: np.ndarray | None) -> list[Difference]:
    """The differences of what both sides have, in the order of the first.

    Args:
        first: One side.
        second: The other.
        images: What to run them on; None where a side was computed for images of its own.

    Raises:
        ConfigError: If the two have nothing in common, were computed for different images, or differ in shape.
    """
    own = [side.images for side in (first, second) if side.images is not None]
    if len(own) == 2 and not np.array_equal(own[0], own[1]):
        raise ConfigError(f"{first.name} and {second.name} were computed for different images.")
    images = own[0] if own else images
    if images is None:
        raise ConfigError("There are no images to compare on.")
    theirs = second.features(images)
    differences = []
    for name, array in first.features(images).items():
        other = theirs.get(name)
        if other is None or not array.size:
            continue
        if other.shape != array.shape:
            raise ConfigError(f"{name} is {array.shape} in {first.name}, but {other.shape} in {second.name}.")
        apart = np.abs(array.astype(np.float64) - other)
        largest = float(np.max(np.abs(array))) or 1.0
        differences.append(Difference(name, array.shape, float(np.max(apart)), float(np.max(apart)) / largest))
    if not differences:
        raise ConfigError(f"{first.name} and {second.name} have no output of the same name.")
    return differences
