"""Reference activations: images, what a model made of them layer by layer, and with which weights and versions."""

import dataclasses
import importlib.metadata
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ._build import Model
from ._eqx_file import config_from_json, config_to_json
from ._errors import CheckpointError, ConfigError
from ._layers import compute, weights_digest
from ._variants import AnyConfig
from ._whole_file import whole_file

_VERSIONED = ("j2o-examples-dino", "j2o-core", "jax", "jaxlib", "equinox", "numpy")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The contents of a reference file.

    Attributes:
        images: `[batch, 3, height, width]` float32, normalised.
        outputs: What `layer_features` gave for them, by name.
        config: Hyperparameters of the model.
        digest: SHA-256 of its weights.
        versions: Versions of the packages that computed it.
        model: What the model was called.
    """

    images: np.ndarray
    outputs: dict[str, np.ndarray]
    config: AnyConfig
    digest: str
    versions: dict[str, str]
    model: str


def make_reference(model: Model, images: np.ndarray, name: str) -> Reference:
    """Run a model and note down everything."""
    return Reference(
        images=np.asarray(images, np.float32),
        outputs=compute(model, images),
        config=model.config,
        digest=weights_digest(model),
        versions={package: importlib.metadata.version(package) for package in _VERSIONED},
        model=name,
    )


def write_reference(path: str | os.PathLike[str], reference: Reference) -> None:
    """Write a reference as `.npz`: `images`, `output.NAME` for each output, and `about`, a JSON text.

    Raises:
        PathError: If it cannot be written.
    """
    about = {
        "config": config_to_json(reference.config),
        "digest": reference.digest,
        "versions": reference.versions,
        "model": reference.model,
    }
    arrays = {f"output.{name}": array for name, array in reference.outputs.items()}
    with whole_file(Path(path)) as temporary, temporary.open("wb") as file:
        # Keyword names could clash with NumPy's own parameter, so `images` and the rest go in as one mapping.
        np.savez(
            file, allow_pickle=False, **{"images": reference.images, "about": np.array(json.dumps(about)), **arrays}
        )


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read what `write_reference` wrote.

    Raises:
        CheckpointError: If the file is damaged or something else.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        about: dict[str, Any] = json.loads(str(arrays.pop("about")))
        return Reference(
            images=arrays.pop("images"),
            outputs={name.removeprefix("output."): array for name, array in arrays.items()},
            config=config_from_json(about["config"]),
            digest=about["digest"],
            versions=about["versions"],
            model=about["model"],
        )
    except (
        ConfigError,
        LookupError,
        TypeError,
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
    ) as error:
        raise CheckpointError(f"{path} cannot be read as reference activations: {error}") from error
    except zlib.error as error:
        raise CheckpointError(f"{path} cannot be read as reference activations: {error}") from error
