"""Where recordings come from: a folder with an index, or shards of decoded clips. Every source gives `Recording`s."""

import csv
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ._audio import duration, read_audio
from ._errors import AudioError, DataError
from ._transform import CLIP_SAMPLES, SAMPLE_RATE


class Recording(Protocol):
    """Sound with a label."""

    index: int
    target: int
    label: str
    labels: tuple[str, ...]
    name: str

    def samples(self) -> int:
        """How long it is, in samples at 32 kHz; an AudioError if it cannot be read."""

    def read(self, start: int, count: int) -> np.ndarray:
        """At most `count` samples from `start` on, float32; an AudioError if it cannot be read."""


@dataclasses.dataclass(frozen=True)
class FileRecording:
    """A sound file, or the part of it between two times in seconds."""

    index: int
    target: int
    label: str
    labels: tuple[str, ...]
    name: str
    start: float = 0.0
    end: float | None = None

    def samples(self) -> int:
        """Its length at 32 kHz."""
        end = duration(self.name) if self.end is None else self.end
        return max(0, round((end - self.start) * SAMPLE_RATE))

    def read(self, start: int, count: int) -> np.ndarray:
        """Decode a part of it."""
        first = self.start + start / SAMPLE_RATE
        seconds = count / SAMPLE_RATE if self.end is None else min(count / SAMPLE_RATE, self.end - first)
        return read_audio(self.name, start=first, seconds=seconds)


# Columns of an index by what they mean, the first that is there: our own, Xeno-canto's, BirdSet's, BirdCLEF's.
_FILE = ("file", "path", "filepath", "filename", "file_name", "file-name")
_LABEL = ("label", "ebird_code", "primary_label", "species", "en")
_LABELS = ("labels", "ebird_code_multilabel")
_START, _END = ("start", "start_time"), ("end", "end_time")


def _rows(index: Path) -> list[dict[str, Any]]:
    try:
        if index.suffix == ".parquet":
            import pyarrow.parquet

            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(index).to_pylist()
            return rows
        with index.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{index} cannot be read as an index of recordings: {error}") from error


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _labels(row: Mapping[str, Any]) -> tuple[str, ...]:
    several = _first(row, _LABELS)
    if several is not None:
        return tuple(str(label) for label in (several.split(";") if isinstance(several, str) else several))
    one = _first(row, _LABEL)
    if one is None and row.get("gen") and row.get("sp"):  # Xeno-canto's genus and species
        one = f"{row['gen']} {row['sp']}"
    return () if one is None else (str(one),)


class FolderSource:
    """Sound files that an index lists.

    The index is a CSV or Parquet file with a column of paths relative to its folder (`file`, `filepath`, `file-name`,
    ...) and one of labels: `label`, `ebird_code` (BirdSet), `gen` and `sp` (Xeno-canto), or several in `labels` or
    `ebird_code_multilabel`, in a CSV with `;` between them. `start_time` and `end_time` in seconds choose a part.

    Attributes:
        classes: All labels, sorted; a recording's `target` is the place of its first label among them, or -1.
    """

    def __init__(
        self, index: str | os.PathLike[str], *, classes: Sequence[str] | None = None, split: str | None = None
    ):
        """Read an index.

        Args:
            index: The file, or the folder that holds it as `index.csv`, `metadata.csv` or `index.parquet`.
            classes: The labels to count by; by default those that occur, sorted.
            split: Only rows whose column `split` has this value.

        Raises:
            DataError: If there is no index, it lists nothing, or a row has no file or an unknown label.
        """
        path = Path(index)
        if path.is_dir():
            names = ("index.csv", "index.parquet", "metadata.csv", "metadata.parquet")
            found = [path / name for name in names if (path / name).is_file()]
            if not found:
                raise DataError(f"{path} holds no index of recordings: none of {', '.join(names)}.")
            path = found[0]
        rows = [row for row in _rows(path) if split is None or row.get("split") == split]
        if not rows:
            raise DataError(f"{path} lists no recordings" + (f" of the split {split!r}." if split else "."))
        labels = [_labels(row) for row in rows]
        self.classes = tuple(sorted({label for each in labels for label in each}) if classes is None else classes)
        place = {label: number for number, label in enumerate(self.classes)}
        self._recordings = []
        for number, (row, each) in enumerate(zip(rows, labels, strict=True)):
            file = _first(row, _FILE)
            if file is None:
                raise DataError(f"{path}: row {number + 1} names no file; its columns are {', '.join(row)}.")
            if unknown := [label for label in each if label not in place]:
                raise DataError(f"{path}: row {number + 1} has the label {unknown[0]!r}, which is not a known class.")
            start, end = _first(row, _START), _first(row, _END)
            self._recordings.append(
                FileRecording(
                    index=number,
                    target=place[each[0]] if each else -1,
                    label=each[0] if each else "",
                    labels=each,
                    name=str(path.parent / str(file)),
                    start=float(start or 0),
                    end=None if end is None else float(end),
                )
            )

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: int) -> FileRecording:
        return self._recordings[index]

    def multi_hot(self) -> np.ndarray:
        """The labels of all recordings, `[recordings, classes]` of 0 and 1."""
        place = {label: number for number, label in enumerate(self.classes)}
        target = np.zeros((len(self), len(self.classes)), np.float32)
        for row, recording in zip(target, self._recordings, strict=True):
            row[[place[label] for label in recording.labels]] = 1
        return target


@dataclasses.dataclass(frozen=True)
class ClipRecording:
    """A clip that is decoded already; `load` gives its samples, float32 or int16."""

    index: int
    target: int
    label: str
    name: str
    load: Callable[[], np.ndarray]

    @property
    def labels(self) -> tuple[str, ...]:
        """Its label, alone."""
        return (self.label,)

    def samples(self) -> int:
        """Its length."""
        return len(self.load())

    def read(self, start: int, count: int) -> np.ndarray:
        """A part of it."""
        part = self.load()[start : start + count]
        return part.astype(np.float32) / 32768 if part.dtype == np.int16 else part.astype(np.float32)


@functools.lru_cache(maxsize=8)
def _shard(path: str) -> Mapping[str, np.ndarray]:
    """A shard in memory. The last few are kept: an .npz file has no random access."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError) as error:
        raise AudioError(f"{path} cannot be read as a shard: {error}") from error


def _clip_of_shard(path: str, row: int) -> np.ndarray:
    shard = _shard(path)
    return np.asarray(shard["data"][row, : shard["samples"][row]])


class NpzSource:
    """Clips in `.npz` shards, as `write_shards` makes them: `data` `[n, samples]` int16, `samples`, `target`, `index`.

    Attributes:
        classes: All labels.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        """Read the tables of all shards of a folder, not their sound.

        Raises:
            DataError: If there are none, or one cannot be read.
        """
        paths = sorted(Path(folder).glob("*.npz"))
        if not paths:
            raise DataError(f"{folder} holds no .npz shards.")
        self._rows: list[tuple[str, int, int, int]] = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as archive:
                    self.classes = tuple(archive["classes"].tolist())
                    table = zip(archive["target"].tolist(), archive["index"].tolist(), strict=True)
                    self._rows += [(str(path), row, target, index) for row, (target, index) in enumerate(table)]
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise DataError(f"{path} cannot be read as a shard: {error}") from error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ClipRecording:
        path, row, target, number = self._rows[index]
        load = functools.partial(_clip_of_shard, path, row)
        return ClipRecording(number, target, self.classes[target], f"{path}[{row}]", load)


class ArrayRecordSource:
    """Clips in `.array_record` files, as `write_shards` makes them; they are read at random without loading a shard.

    Attributes:
        classes: All labels.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        """Open all files of a folder.

        Raises:
            DataError: If there are none.
        """
        import grain

        paths = sorted(str(path) for path in Path(folder).glob("*.array_record"))
        if not paths:
            raise DataError(f"{folder} holds no .array_record files.")
        self._name = str(folder)
        self._records = grain.sources.ArrayRecordDataSource(paths)
        self.classes = tuple(Path(folder, "classes.txt").read_text("utf-8").split("\n"))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> ClipRecording:
        with np.load(io.BytesIO(self._records[index]), allow_pickle=False) as archive:
            wave, target, number = archive["data"], int(archive["target"]), int(archive["index"])
        return ClipRecording(number, target, self.classes[target], f"{self._name}[{index}]", lambda: wave)


def write_shards(
    source: "Sequence[Recording] | FolderSource",
    folder: str | os.PathLike[str],
    *,
    classes: Sequence[str],
    per_shard: int = 256,
    kind: str = "npz",
    longest: int = 8 * SAMPLE_RATE,
) -> dict[str, str]:
    """Decode recordings once and write them as shards of 16-bit clips.

    Args:
        source: The recordings.
        folder: Where the shards go.
        classes: All labels.
        per_shard: Recordings in a shard.
        kind: `"npz"` or `"array_record"`.
        longest: Samples at which a recording is cut.

    Returns:
        Recordings that could not be read, with the reasons; they are left out.

    Raises:
        DataError: If the kind is unknown.
    """
    if kind not in ("npz", "array_record"):
        raise DataError(f"write_shards: the kind must be 'npz' or 'array_record', not {kind!r}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    corrupt: dict[str, str] = {}
    clips: list[tuple[np.ndarray, int, int]] = []
    shards = 0
    for recording in _each(source):
        try:
            wave = recording.read(0, longest)
        except AudioError as error:
            corrupt[recording.name] = str(error)
            continue
        encoded = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
        clips.append((encoded, recording.target, recording.index))
        if len(clips) == per_shard:
            _write_shard(folder, shards, clips, classes, kind)
            clips, shards = [], shards + 1
    if clips:
        _write_shard(folder, shards, clips, classes, kind)
    if kind == "array_record":
        (folder / "classes.txt").write_text("\n".join(classes), "utf-8")
    return corrupt


def _each(source: Any) -> Iterator[Recording]:
    return (source[place] for place in range(len(source)))


def _write_shard(
    folder: Path, number: int, clips: list[tuple[np.ndarray, int, int]], classes: Sequence[str], kind: str
) -> None:
    if kind == "array_record":
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(folder / f"{number:05}.array_record"), "group_size:1")
        for wave, target, index in clips:
            buffer = io.BytesIO()
            np.savez(buffer, data=wave, target=target, index=index)
            writer.write(buffer.getvalue())
        writer.close()
        return
    samples = np.array([len(wave) for wave, _, _ in clips])
    data = np.zeros((len(clips), max(CLIP_SAMPLES, samples.max())), np.int16)
    for row, (wave, _, _) in zip(data, clips, strict=True):
        row[: len(wave)] = wave
    targets, indices = np.array([[target, index] for _, target, index in clips]).T
    temporary = folder / f".{number:05}.part.npz"
    np.savez(temporary, data=data, samples=samples, target=targets, index=indices, classes=np.array(classes))
    temporary.replace(folder / f"{number:05}.npz")
