"""Errors before an export begins: a configuration or a checkpoint that cannot be right."""

from pathlib import Path

from j2o_core import J2oError


class DinoError(J2oError):
    """Root of the errors that this package raises itself."""


class ConfigError(DinoError):
    """A model configuration that no DINOv3 model can have, or an unknown variant name."""


class CheckpointError(DinoError):
    """A file of weights that cannot be read, or that does not fit the configuration.

    Attributes:
        path: The file or folder, where there is one.
        record: The part of it that is wrong, with its bytes where they are known: a header, a tensor, an entry of an
            archive. None if it is not about the content of a file.
        remedy: What to do about it.
    """

    path: Path | None = None
    record: str | None = None
    remedy: str | None = None


class ImageError(DinoError):
    """An image that cannot be read, or whose shape the model or the preprocessing cannot take."""


class PathError(DinoError):
    """A path that cannot be written to."""
