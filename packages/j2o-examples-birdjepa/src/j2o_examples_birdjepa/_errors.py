"""Errors of this package: a configuration, a file of weights or a recording that cannot be right."""

from j2o_core import J2oError


class BirdError(J2oError):
    """Root of the errors that this package raises itself."""


class ConfigError(BirdError):
    """A configuration that no model can have, or arrays that do not fit it."""


class CheckpointError(BirdError):
    """A file of weights that cannot be read, or that does not fit the configuration."""


class AudioError(BirdError):
    """A recording that cannot be read as sound."""


class DataError(BirdError):
    """An index or shards of recordings that cannot be used."""
