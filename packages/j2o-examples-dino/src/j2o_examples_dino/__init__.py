"""DINOv3 in Equinox: the vision transformers, their checkpoints and preprocessing, and a command that exports them."""

from ._checkpoint import load, save
from ._classifier import LinearClassifier
from ._config import VARIANTS, DinoConfig, variant
from ._errors import CheckpointError, ConfigError, DinoError, ImageError
from ._hf_layout import hf_to_published, published_to_hf
from ._model import DinoV3, create
from ._preprocess import LVD, SAT, ImageStatistics, preprocess, statistics_for
from ._state_dict import from_state_dict, state_dict

__version__ = "0.1.0"

__all__ = [
    "LVD",
    "SAT",
    "VARIANTS",
    "CheckpointError",
    "ConfigError",
    "DinoConfig",
    "DinoError",
    "DinoV3",
    "ImageError",
    "ImageStatistics",
    "LinearClassifier",
    "create",
    "from_state_dict",
    "hf_to_published",
    "load",
    "preprocess",
    "published_to_hf",
    "save",
    "state_dict",
    "statistics_for",
    "variant",
]
