"""Recordings to batches, in Grain: shuffled, cropped, augmented, in worker processes, and resumable.

What is done to a recording depends on the seed, the epoch and the recording alone: not on the batch that it is in, nor
on the number of workers or processes. NumPy only: JAX in a worker would claim the accelerator.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import Any, Literal

import grain
import numpy as np
from absl import flags

from ._augment import Augmentation, augment
from ._config import require
from ._errors import AudioError, DataError
from ._sources import Recording
from ._transform import CLIP_SAMPLES, transform


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How recordings become batches.

    Attributes:
        batch_size: Recordings in a batch, over all processes.
        seed: Seed of order, crops and augmentations.
        truncate: Which five seconds of a longer recording: `"random"`, `"start"` or `"end"`.
        augmentations: Applied to each spectrogram in this order.
        n_views: Independent views of each recording; 0 for one spectrogram under the name `data`.
        workers: Worker processes; 0 for none.
    """

    batch_size: int = 64
    seed: int = 42
    truncate: Literal["random", "start", "end"] = "random"
    augmentations: tuple[Augmentation, ...] = ()
    n_views: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"DataConfig.batch_size must be at least 1, but it is {self.batch_size}.")
        require(
            self.truncate in ("random", "start", "end"),
            f"DataConfig.truncate must be 'random', 'start' or 'end', not {self.truncate!r}.",
        )


@dataclasses.dataclass(frozen=True)
class Corrupt:
    """A recording that could not be read, in the place of its element."""

    name: str
    reason: str


def _crop(recording: Recording, truncate: str, rng: np.random.Generator) -> np.ndarray:
    spare = recording.samples() - CLIP_SAMPLES
    if spare <= 0 or truncate == "start":
        start = 0
    else:
        start = spare if truncate == "end" else int(rng.integers(0, spare))
    return recording.read(start, CLIP_SAMPLES)


def element(recording: Recording, config: DataConfig, epoch: int) -> dict[str, Any] | Corrupt:
    """Make one element: decode, crop, transform, augment.

    Returns:
        `data` `[512, 128]` or `views` `[n_views, 512, 128]` float32, `target` and `index` int32 scalars.
    """
    rng = np.random.default_rng((config.seed, epoch, recording.index))
    views = []
    try:
        for _ in range(max(1, config.n_views)):
            wave = _crop(recording, config.truncate, rng)
            views.append(augment(transform(wave), config.augmentations, rng))
    except AudioError as error:
        return Corrupt(recording.name, str(error))
    name, data = ("views", np.stack(views)) if config.n_views else ("data", views[0])
    return {name: data, "target": np.int32(recording.target), "index": np.int32(recording.index)}


def _element_at(position: int, recording: Recording, *, config: DataConfig, length: int) -> Any:
    return element(recording, config, position // length)


class Batches:
    """An endless iterator over batches: dicts of stacked arrays, shuffled anew in every epoch.

    Corrupt recordings are passed over, counted and named in `corrupt`, and never end the iteration.

    Attributes:
        corrupt: Reasons by the names of recordings that could not be read so far.
    """

    def __init__(self, source: Any, config: DataConfig, *, process: int = 0, processes: int = 1):
        """Begin at the first batch.

        Args:
            source: Recordings with a length and random access.
            config: What is done to them.
            process: Which of the processes this is; it makes its share of each batch.
            processes: How many processes share a batch.

        Raises:
            DataError: If there are no recordings.
            ConfigError: If a batch cannot be shared by so many processes.
        """
        if not len(source):
            raise DataError("there are no recordings to train on.")
        require(
            config.batch_size % processes == 0,
            f"Batches: {processes} processes cannot share batches of {config.batch_size}.",
        )
        self.corrupt: dict[str, str] = {}
        self._size, self._recordings = config.batch_size // processes, len(source)
        dataset = grain.MapDataset.source(source).seed(config.seed).shuffle().repeat()
        at = functools.partial(_element_at, config=config, length=len(source))
        dataset = dataset.map_with_index(at)[process::processes]
        read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        elements = dataset.to_iter_dataset(read)
        if config.workers:
            if not flags.FLAGS.is_parsed():  # Grain asks for flags of absl, which only programs of absl parse
                flags.FLAGS.mark_as_parsed()
            options = grain.multiprocessing.MultiprocessingOptions(config.workers, per_worker_buffer_size=4)
            elements = elements.mp_prefetch(options)
        self._elements: Any = iter(elements)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        good: list[dict[str, Any]] = []
        failures = 0
        while len(good) < self._size:
            one = next(self._elements)
            if isinstance(one, Corrupt):
                self.corrupt[one.name] = one.reason
                failures += 1
                if failures > self._recordings:
                    raise DataError(f"no recording of {self._recordings} can be read; the last: {one.reason}")
            else:
                good.append(one)
        return {name: np.stack([one[name] for one in good]) for name in good[0]}

    def get_state(self) -> str:
        """Where the iterator stands, as JSON: `set_state` continues with the very next element."""
        return json.dumps({"elements": self._elements.get_state(), "corrupt": self.corrupt})

    def set_state(self, state: str) -> None:
        """Go to a place that `get_state` gave, of an iterator over the same recordings with the same settings."""
        found = json.loads(state)
        self.corrupt = found["corrupt"]
        self._elements.set_state(found["elements"])

    def close(self) -> None:
        """End the worker processes."""
        if hasattr(self._elements, "close"):
            self._elements.close()


def one_pass(source: Any, config: DataConfig) -> Iterator[tuple[dict[str, np.ndarray], dict[str, str]]]:
    """Batches of all recordings once, in their order, cropped from the start and not augmented; the last may be small.

    Yields:
        A batch, and the recordings that could not be read on the way to it with the reasons.
    """
    plain = dataclasses.replace(config, truncate="start", augmentations=(), n_views=0)
    good: list[dict[str, Any]] = []
    corrupt: dict[str, str] = {}
    for place in range(len(source)):
        one = element(source[place], plain, 0)
        if isinstance(one, Corrupt):
            corrupt[one.name] = one.reason
        else:
            good.append(one)
        if good and (len(good) == config.batch_size or place == len(source) - 1):
            yield {name: np.stack([each[name] for each in good]) for name in good[0]}, corrupt
            good, corrupt = [], {}
