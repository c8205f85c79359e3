"""Embeddings of an archive of recordings by an exported graph, in ONNX Runtime alone: bounded memory, resumable."""

import concurrent.futures
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from ._audio import duration, read_audio
from ._errors import AudioError, DataError
from ._transform import CLIP_SAMPLES, SAMPLE_RATE, fit

SOUND = (".wav", ".flac", ".ogg", ".mp3")
"""Suffixes of files that are looked for."""
_SECONDS = CLIP_SAMPLES / SAMPLE_RATE


class Embedded(NamedTuple):
    """The outcome for an archive.

    Attributes:
        output: The Parquet file: `file`, `start` in seconds, `embedding` `[embed_dim]` float32; one row a clip of 5 s.
        clips: Rows of it.
        corrupt: Reasons by the files that could not be read; they have no rows.
    """

    output: Path
    clips: int
    corrupt: dict[str, str]


def find_recordings(folder: Path) -> list[str]:
    """All sound files below a folder, relative to it, sorted."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SOUND)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


class Embedder:
    """A session on all cores, which embeds the clips of files part by part."""

    def __init__(self, model: str | os.PathLike[str], *, batch: int = 16, threads: int | None = None):
        """Load an exported graph that begins at the waveform."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        self._session = onnxruntime.InferenceSession(os.fspath(model), options, providers=["CPUExecutionProvider"])
        inputs = [one.name for one in self._session.get_inputs()]
        outputs = [one.name for one in self._session.get_outputs()]
        if inputs != ["waveform"] or "embedding" not in outputs:
            raise DataError(
                f"{os.fspath(model)} reads {inputs} and gives {outputs}; it must read a waveform and embed it."
            )
        self._batch = batch
        self._readers = concurrent.futures.ThreadPoolExecutor(min(4, options.intra_op_num_threads))

    def part(self, folder: Path, files: Sequence[str], output: Path) -> None:
        """Embed the clips of files, and write them as one Parquet file, whole or not at all."""
        corrupt: dict[str, str] = {}
        names, starts, embeddings = [], [], []
        clips = self._clips(folder, files, corrupt)
        while group := list(itertools.islice(clips, self._batch)):
            waves = np.stack([wave for _, _, wave in group])
            embeddings.append(self._session.run(["embedding"], {"waveform": waves})[0])
            names += [name for name, _, _ in group]
            starts += [start for _, start, _ in group]
        table = _table(names, starts, np.concatenate(embeddings) if embeddings else np.zeros((0, 1), np.float32))
        table = table.replace_schema_metadata({"corrupt": json.dumps(corrupt)})
        temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
        pq.write_table(table, temporary)
        temporary.replace(output)

    def _clips(
        self, folder: Path, files: Sequence[str], corrupt: dict[str, str]
    ) -> Iterator[tuple[str, float, np.ndarray]]:
        """Clips of 5 s in order; a few are decoded ahead, so that memory does not grow with the length of files."""
        places = self._places(folder, files, corrupt)
        ahead: list[tuple[str, float, concurrent.futures.Future[np.ndarray]]] = []
        while True:
            for name, start in itertools.islice(places, 2 * self._batch - len(ahead)):
                read = self._readers.submit(read_audio, folder / name, start=start, seconds=_SECONDS)
                ahead.append((name, start, read))
            if not ahead:
                return
            name, start, read = ahead.pop(0)
            try:
                yield name, start, fit(read.result())
            except AudioError as error:
                corrupt[name] = str(error)

    def _places(self, folder: Path, files: Sequence[str], corrupt: dict[str, str]) -> Iterator[tuple[str, float]]:
        for name in files:
            try:
                seconds = duration(folder / name)
            except AudioError as error:
                corrupt[name] = str(error)
                continue
            for place in range(max(1, math.ceil(round(seconds / _SECONDS, 3)))):
                yield name, place * _SECONDS


def _table(names: Sequence[str], starts: Sequence[float], embeddings: np.ndarray) -> Any:
    flat = pa.array(embeddings.reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    columns = [pa.array(names, pa.string()), pa.array(starts, pa.float32()), vectors]
    return pa.table(columns, names=["file", "start", "embedding"])


def embed(
    model: str | os.PathLike[str],
    folder: Path,
    output: Path,
    *,
    batch: int = 16,
    per_part: int = 64,
    engine: str = "local",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed all recordings below a folder.

    Parts are written beside the output as they are done; a run that was stopped continues behind them. When all are
    there they become one file.

    Args:
        model: An exported graph from `waveform` to `embedding`.
        folder: The archive.
        output: The Parquet file to write.
        batch: Clips in a batch.
        per_part: Recordings in a part.
        engine: `"local"`: this process, on all cores; `"ray"`: actors of Ray Data (the extra `ray`), which may be on
            several machines if these share the folders.
        workers: Actors of Ray.
        progress: Called with the number of parts done and of all.

    Raises:
        DataError: If there are no recordings, none can be read, the model is another one, or Ray is not there.
    """
    files = find_recordings(folder)
    if not files:
        raise DataError(f"{folder} holds no recordings: no file ends in {', '.join(SOUND)}.")
    if engine not in ("local", "ray"):
        raise DataError(f"embed: the engine must be 'local' or 'ray', not {engine!r}.")
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    _check_same_task(parts, model, files, per_part)
    groups = [files[start : start + per_part] for start in range(0, len(files), per_part)]
    paths = [parts / f"{number:06}.parquet" for number in range(len(groups))]
    missing = [(group, path) for group, path in zip(groups, paths, strict=True) if not path.is_file()]
    done = len(groups) - len(missing)
    finished = (
        _by_ray(model, folder, missing, batch, workers) if engine == "ray" else _here(model, folder, missing, batch)
    )
    for _ in finished:
        done += 1
        if progress:
            progress(done, len(groups))
    return _join(paths, parts, output, model)


def _here(
    model: str | os.PathLike[str], folder: Path, missing: Sequence[tuple[list[str], Path]], batch: int
) -> Iterator[Path]:
    embedder = Embedder(model, batch=batch)
    for group, path in missing:
        embedder.part(folder, group, path)
        yield path


class _Actor:
    """An embedder in a worker of Ray."""

    def __init__(self, model: str, folder: str, batch: int):
        self._embedder, self._folder = Embedder(model, batch=batch, threads=1), Path(folder)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        for files, path in zip(rows["files"], rows["path"], strict=True):
            self._embedder.part(self._folder, json.loads(files), Path(path))
        return {"path": rows["path"]}


def _by_ray(
    model: str | os.PathLike[str], folder: Path, missing: Sequence[tuple[list[str], Path]], batch: int, workers: int
) -> Iterator[Path]:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DataError("This needs Ray: pip install 'j2o-examples-birdjepa[ray]'.") from error
    if not missing:
        return
    items = [{"files": json.dumps(group), "path": str(path.absolute())} for group, path in missing]
    arguments = (str(Path(model).absolute()), str(folder.absolute()), batch)
    found = ray.data.from_items(items).map_batches(
        _Actor, fn_constructor_args=arguments, batch_size=1, concurrency=min(workers, len(items))
    )
    for row in found.iter_rows():
        yield Path(row["path"])


def _check_same_task(parts: Path, model: str | os.PathLike[str], files: list[str], per_part: int) -> None:
    """Parts of another model or of other files must not be mixed with new ones."""
    digest = hashlib.sha256(Path(model).read_bytes())
    digest.update(json.dumps([files, per_part]).encode())
    note = parts / "task.txt"
    if note.is_file() and note.read_text() != digest.hexdigest():
        raise DataError(
            f"{parts} holds parts of another model or of other recordings: remove the folder to start anew."
        )
    note.write_text(digest.hexdigest())


def _join(paths: list[Path], parts: Path, output: Path, model: str | os.PathLike[str]) -> Embedded:
    corrupt: dict[str, str] = {}
    clips = 0
    writer = None
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    for path in paths:
        table = pq.read_table(path)
        corrupt |= json.loads(table.schema.metadata[b"corrupt"])
        if not len(table):
            continue
        clips += len(table)
        table = table.replace_schema_metadata(None)
        writer = writer or pq.ParquetWriter(temporary, table.schema)
        writer.write_table(table)
    if writer is None:
        raise DataError(f"no recording can be read, {len(corrupt)} are corrupt; {next(iter(corrupt.values()))}")
    writer.close()
    temporary.replace(output)
    for path in (*paths, parts / "task.txt"):
        path.unlink()
    parts.rmdir()
    return Embedded(output, clips, corrupt)
