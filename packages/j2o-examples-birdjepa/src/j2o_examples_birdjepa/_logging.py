"""Where numbers of a run go: a progress bar, a CSV file, TensorBoard, W&B."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ._errors import ConfigError

Metrics = Mapping[str, float]


class Logger(Protocol):
    """Takes numbers by name."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the numbers of a step."""

    def close(self) -> None:
        """Write what is left."""


class CsvLogger:
    """One line a step and name: `step,name,value`. A run that continues appends behind the step it continues from."""

    def __init__(self, path: Path, *, first: int = 0):
        """Open the file; lines of steps from `first` on are dropped, for they will come again."""
        kept: list[list[str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))[1:]
            kept = [row for row in rows if len(row) == 3 and row[0].isdigit() and int(row[0]) < first]
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(("step", "name", "value"))
        self._writer.writerows(kept)

    def log(self, step: int, metrics: Metrics) -> None:
        """Append lines; values have all their digits."""
        self._writer.writerows((step, name, repr(float(value))) for name, value in metrics.items())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogger:
    """Event files for TensorBoard (the extra `tensorboard`)."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ConfigError("This needs tensorboardX: pip install 'j2o-examples-birdjepa[tensorboard]'.") from error
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, metrics: Metrics) -> None:
        """Write scalars."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandbLogger:
    """Weights & Biases (the extra `wandb`): project `birdjepa`, resumed by the run's id; `WANDB_MODE=offline` works."""

    def __init__(self, run_id: str, config: Mapping[str, Any], folder: Path):
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("This needs wandb: pip install 'j2o-examples-birdjepa[wandb]'.") from error
        self._run = wandb.init(project="birdjepa", id=run_id, resume="allow", config=dict(config), dir=str(folder))

    def log(self, step: int, metrics: Metrics) -> None:
        """Send scalars."""
        self._run.log({**metrics, "step": step}, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Progress:
    """A progress bar with the last losses, and a line for each evaluation."""

    def __init__(self, total: int, *, first: int = 0, quiet: bool = False):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, quiet=quiet),
        )
        self._task = self._bar.add_task("training", total=total, completed=first)
        self._last = 0.0

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._bar.stop()

    def log(self, step: int, metrics: Metrics) -> None:
        """Move the bar; at most ten times a second."""
        if any(name.startswith("test/") for name in metrics):
            shown = "  ".join(f"{name.removeprefix('test/')} {value:.4g}" for name, value in metrics.items())
            self._bar.console.print(f"step {step}: {shown}")
        elif time.monotonic() - self._last > 0.1:
            names = [name for name in metrics if name.startswith("train/") and "_" not in name]  # not norms, not times
            losses = [f"{name.removeprefix('train/')} {metrics[name]:.3f}" for name in names]
            self._bar.update(self._task, completed=step, description="  ".join(losses))
            self._last = time.monotonic()

    def close(self) -> None:
        """Show what is left to show."""
        self._bar.refresh()
