"""The archives of weights that Equimo publishes, read and written: a folder, or the same folder as `.tar.lz4`.

There are two files. `metadata.json` has the arguments that the model was built with. `weights.eqx` has the leaves of
the model's tree, one `.npy` record after another, without names; what they are follows from the arguments.
"""

import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from ._build import Model
from ._config import ConvNextConfig
from ._equimo_layout import from_equimo, read_arguments, record_names, to_equimo, write_arguments
from ._errors import CheckpointError, ConfigError
from ._state_dict import state_dict
from ._variants import AnyConfig
from ._whole_file import whole_file

_METADATA = "metadata.json"
_WEIGHTS = "weights.eqx"


def read_records(file: IO[bytes]) -> list[np.ndarray]:
    """Read `.npy` records up to the end of the file. Never unpickles."""
    records: list[np.ndarray] = []
    while start := file.read(len(np.lib.format.MAGIC_PREFIX) + 2):
        major, minor = start[-2:] if start.startswith(np.lib.format.MAGIC_PREFIX) else (0, 0)
        if (major, minor) != (1, 0):
            raise ValueError(f"record {len(records)} of {_WEIGHTS} is not an .npy record of version 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        # bfloat16 has no name in the .npy format; it is stored as two bytes of nothing in particular.
        dtype = np.dtype(ml_dtypes.bfloat16) if dtype == np.dtype("V2") else dtype
        if dtype.hasobject:
            raise ValueError(f"record {len(records)} of {_WEIGHTS} holds pickled objects, which are never loaded")
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        data = file.read(size)
        if len(data) != size:
            raise ValueError(f"{_WEIGHTS} ends in the middle of record {len(records)}")
        array = np.frombuffer(data, dtype)
        records.append(array.reshape(shape, order="F" if fortran_order else "C"))
    return records


def _lz4_frame(path: Path, instead: str) -> Any:
    try:
        import lz4.frame  # type: ignore[import-untyped]
    except ImportError:
        raise CheckpointError(
            f"For {path} the lz4 package is needed: pip install 'j2o-examples-dino[equimo]'. {instead}"
        ) from None
    return lz4.frame


@contextmanager
def _lz4_tar(path: Path) -> Iterator[tarfile.TarFile]:
    frame = _lz4_frame(path, "Or unpack the archive and give the folder.")
    # Read as a stream: nothing is ever extracted, so no name in the archive can lead anywhere.
    with frame.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def _read_parts(path: Path) -> tuple[Any, list[np.ndarray]]:
    """The metadata and the records of a folder or an archive."""
    if path.is_dir():
        with (path / _WEIGHTS).open("rb") as weights:
            return json.loads((path / _METADATA).read_text("utf-8")), read_records(weights)
    metadata: Any = None
    records: list[np.ndarray] | None = None
    with _lz4_tar(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                continue
            if member.name == _METADATA and metadata is None:
                metadata = json.load(file)
            elif member.name == _WEIGHTS and records is None:
                records = read_records(file)
    if metadata is None or records is None:
        raise ValueError(f"it does not hold both {_METADATA} and {_WEIGHTS}")
    return metadata, records


def read_equimo_archive(path: Path) -> tuple[dict[str, np.ndarray], AnyConfig]:
    """Read weights that Equimo wrote.

    Args:
        path: A folder with `metadata.json` and `weights.eqx`, or the `.tar.lz4` archive of one.

    Returns:
        Arrays by their published names and in the published shapes, and the configuration they belong to.

    Raises:
        CheckpointError: If the archive is damaged or holds another model than a vision transformer of
            DINOv2 or DINOv3.
    """
    try:
        metadata, records = _read_parts(path)
        arguments = metadata["model_config"]
        config = read_arguments(arguments)
        mask_token = arguments.get("use_mask_token", False)
        names = list(record_names(config, mask_token=mask_token))
        if len(records) != len(names):
            raise ValueError(f"{_WEIGHTS} has {len(records)} records, but the model it describes has {len(names)}")
    except (
        ConfigError,
        tarfile.TarError,
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,  # lz4's own
        TypeError,
        ValueError,
    ) as error:
        reason = f"its metadata lacks {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path} cannot be read as an Equimo archive of DINO: {reason}") from error

    tensors = from_equimo(dict(zip(names, records, strict=True)), config)
    return tensors, config


def _write_records(file: IO[bytes], records: Iterable[np.ndarray]) -> None:
    for record in records:
        np.lib.format.write_array(file, np.asarray(record, order="C"), version=(1, 0), allow_pickle=False)


def write_equimo_archive(path: Path, model: Model) -> None:
    """Write weights as Equimo does, for `equimo.io.load_weights` or `load_model`.

    Args:
        path: The archive to write if it ends in `.tar.lz4`, else the folder. What is written appears when it is whole.
        model: A vision transformer. Of a DINOv2 model, Equimo resamples positions as `jax.image.resize` does.

    Raises:
        CheckpointError: If Equimo has no such model, or there is something else at the path.
    """
    config = model.config
    metadata = {"model_config": write_arguments(config), "torch_hub_cfg": {}, "timm": []}
    assert not isinstance(config, ConvNextConfig)  # write_arguments has refused it
    records = to_equimo(state_dict(model), config)
    archive = path.name.endswith(".tar.lz4")
    if not archive and path.exists() and not (path / _WEIGHTS).is_file():
        raise CheckpointError(f"{path} exists and is not a folder of weights, so it is not replaced.")
    frame = _lz4_frame(path, "Or give a folder to write to.") if archive else None
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        folder = Path(temporary) / "whole"
        folder.mkdir()
        (folder / _METADATA).write_text(json.dumps(metadata), "utf-8")
        with (folder / _WEIGHTS).open("wb") as file:
            _write_records(file, records)
        if frame is None:
            if path.exists():
                path.rename(Path(temporary) / "old")
            folder.rename(path)
            return
        with whole_file(path) as part, frame.open(part, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
            for name in (_METADATA, _WEIGHTS):
                tar.add(folder / name, name)
