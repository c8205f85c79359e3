"""The archives of weights that Equimo publishes, read and written: a folder, or the same folder as `.tar.lz4`.

There are two files. `metadata.json` has the arguments that the model was built with. `weights.eqx` has the leaves of
the model's tree, one `.npy` record after another, without names; what they are follows from the arguments.
"""

import itertools
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ._build import Model
from ._config import ConvNextConfig
from ._damage import SETTINGS_BYTES, read_as, read_json, read_record, reading, unpacked_limit
from ._equimo_layout import from_equimo, read_arguments, record_names, to_equimo, write_arguments
from ._errors import CheckpointError
from ._state_dict import state_dict
from ._variants import AnyConfig
from ._whole_file import whole_file

_METADATA = "metadata.json"
_WEIGHTS = "weights.eqx"


def read_records(file: IO[bytes]) -> list[np.ndarray]:
    """Read `.npy` records up to the end of the file. Never unpickles."""
    records: list[np.ndarray] = []
    while (record := read_record(file, f"record {len(records)} of {_WEIGHTS}")) is not None:
        records.append(record)
    return records


class _Member(tarfile.TarInfo):
    """Headers that come before a member, such as a long name, are read as a whole: none may be large."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if not self.isreg() and self.size > SETTINGS_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


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
    with frame.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
        yield archive
        # The checksum of the frame comes last.
        if len(stream.read(SETTINGS_BYTES)) == SETTINGS_BYTES:
            raise ValueError("much follows behind its last file")


def _read_parts(path: Path) -> tuple[Any, list[np.ndarray]]:
    """The metadata and the records of a folder or an archive."""
    metadata: Any
    if path.is_dir():
        with reading(_METADATA):
            if not (path / _METADATA).is_file():  # to open a pipe could take for ever
                raise ValueError("there is no such file")
            with (path / _METADATA).open("rb") as settings:
                metadata = read_json(settings)
        with reading(_WEIGHTS), (path / _WEIGHTS).open("rb") as weights:
            return metadata, read_records(weights)
    metadata = None
    records: list[np.ndarray] | None = None
    with reading("the compressed archive"), _lz4_tar(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                continue
            with reading(f"the entry {member.name!r}"):
                if member.name == _METADATA and metadata is None:
                    metadata = read_json(file)
                elif member.name == _WEIGHTS and records is None:
                    if member.size > unpacked_limit(path):
                        raise ValueError(f"it has {member.size} bytes, which no file of this size holds")
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
    with read_as(path, "an Equimo archive of DINO"):
        metadata, records = _read_parts(path)
        with reading(f"the settings in {_METADATA}"):
            arguments = metadata["model_config"]
            config = read_arguments(arguments)
            mask_token = arguments.get("use_mask_token", False)
        with reading(_WEIGHTS):
            # No further than there are records: the metadata may announce any number of blocks.
            names = list(itertools.islice(record_names(config, mask_token=mask_token), len(records) + 1))
            if len(records) != len(names):
                raise ValueError(f"it has {len(records)} records, but the model in {_METADATA} has another number")
            return from_equimo(dict(zip(names, records, strict=True)), config), config


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
        with (
            whole_file(path) as part,
            frame.open(part, "wb", content_checksum=True) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for name in (_METADATA, _WEIGHTS):
                tar.add(folder / name, name)
