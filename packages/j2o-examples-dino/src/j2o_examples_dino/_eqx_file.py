"""`.eqx` files: one line of JSON that says what the model is, then its leaves as Equinox serialises them.

with open("vits16.eqx", "rb") as file:
file.readline()
model = equinox.tree_deserialise_leaves(file, model)
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from ._build import Model
from ._config import ConvNextConfig, DinoConfig, DinoV2Config
from ._damage import SETTINGS_BYTES, in_bytes, read_as, reading
from ._equimo_archive import read_records
from ._errors import ConfigError
from ._state_dict import file_shape, leaf_names
from ._variants import AnyConfig
from ._whole_file import whole_file

_FAMILIES: dict[str, Callable[..., AnyConfig]] = {
    family.__name__: family for family in (DinoConfig, DinoV2Config, ConvNextConfig)
}


def config_to_json(config: AnyConfig) -> dict[str, Any]:
    """A configuration as JSON can hold it."""
    return {"family": type(config).__name__, **dataclasses.asdict(config)}


def config_from_json(fields: Any) -> AnyConfig:
    """The configuration that `config_to_json` wrote.

    Raises:
        ConfigError: If there is no such configuration.
    """
    if not isinstance(fields, dict) or fields.get("family") not in _FAMILIES:
        raise ConfigError(f"it names none of the families {', '.join(_FAMILIES)}")
    family = _FAMILIES[fields["family"]]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    del values["family"]
    try:
        return family(**values)
    except TypeError as error:
        raise ConfigError(f"it is not a configuration: {error}") from error


def write_eqx(path: Path, model: Model) -> None:
    """Write a model. An old file is replaced only when the new one is complete."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(config_to_json(model.config)).encode() + b"\n")
        eqx.tree_serialise_leaves(file, model)


def _count(config: AnyConfig) -> int:
    """How many blocks a model has."""
    return sum(config.depths) if isinstance(config, ConvNextConfig) else config.depth


def read_eqx(path: Path) -> tuple[dict[str, np.ndarray], AnyConfig]:
    """Arrays by published name and in published shapes, and the configuration they belong to.

    Raises:
        CheckpointError: If the file is damaged or was written by something else.
    """
    with read_as(path, "an .eqx file of DINO"):
        with path.open("rb") as file:
            line = file.readline(SETTINGS_BYTES)
            settings = in_bytes("its first line, the settings", 0, len(line))
            with reading(settings):
                config = config_from_json(json.loads(line))
            records = read_records(file)
        with reading(settings):
            if max(_count(config), 1) > len(records):  # before as many blocks are made
                raise ValueError(f"{_count(config)} blocks are announced, but {len(records)} records follow")
            names = leaf_names(config)
            if len(records) != len(names):
                raise ValueError(f"the model has {len(names)} records, but {len(records)} follow")
        stored = zip(names, records, strict=True)
        return {name: array.reshape(file_shape(name, array.shape)) for name, array in stored if array.size}, config
