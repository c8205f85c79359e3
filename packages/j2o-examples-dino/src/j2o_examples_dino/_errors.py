"""Errors before an export begins: a configuration or a checkpoint that cannot be right."""

from j2o_core import J2oError


class DinoError(J2oError):
    """Root of the errors that this package raises itself."""


class ConfigError(DinoError):
    """A model configuration that no DINOv3 model can have, or an unknown variant name."""


class CheckpointError(DinoError):
    """A file of weights that cannot be read, or that does not fit the configuration."""


class ImageError(DinoError):
    """An image that cannot be read, or whose shape the model or the preprocessing cannot take."""


class PathError(DinoError):
    """A path that cannot be written to."""
