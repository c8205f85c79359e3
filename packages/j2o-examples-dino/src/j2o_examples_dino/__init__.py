"""DINOv3 in Equinox: the vision transformers, their checkpoints and preprocessing, and a command that exports them."""

from ._build import build, create
from ._checkpoint import load, save
from ._classifier import LinearClassifier
from ._config import ConvNextConfig, DinoConfig, DinoV2Config
from ._convnext import ConvNext
from ._errors import CheckpointError, ConfigError, DinoError, ImageError, PathError
from ._head import DinoHead
from ._hf_layout import hf_to_published, published_to_hf
from ._model import DinoV3
from ._model_v2 import DinoV2
from ._preprocess import LVD, SAT, ImageStatistics, preprocess, statistics_for
from ._pretrained import find_pretrained, load_pretrained
from ._state_dict import from_state_dict, state_dict
from ._variants import VARIANTS, variant

__version__ = "0.1.0"

__all__ = [
    "LVD",
    "SAT",
    "VARIANTS",
    "CheckpointError",
    "ConfigError",
    "ConvNext",
    "ConvNextConfig",
    "DinoConfig",
    "DinoError",
    "DinoHead",
    "DinoV2",
    "DinoV2Config",
    "DinoV3",
    "ImageError",
    "ImageStatistics",
    "LinearClassifier",
    "PathError",
    "build",
    "create",
    "find_pretrained",
    "from_state_dict",
    "hf_to_published",
    "load",
    "load_pretrained",
    "preprocess",
    "published_to_hf",
    "save",
    "state_dict",
    "statistics_for",
    "variant",
]
