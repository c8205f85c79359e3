"""BirdJEPA and Bird-MAE in Equinox: bird sound to embeddings, in JAX and in ONNX.

Names are loaded on first use, so that the command's help does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._audio import read_audio as read_audio
    from ._augment import AUGMENTATIONS as AUGMENTATIONS
    from ._augment import Augmentation as Augmentation
    from ._augment import ColorJitter as ColorJitter
    from ._augment import FreqMask as FreqMask
    from ._augment import GaussianBlur as GaussianBlur
    from ._augment import GaussianNoise as GaussianNoise
    from ._augment import HorizontalFlip as HorizontalFlip
    from ._augment import RandomCrop as RandomCrop
    from ._augment import RandomResizedCrop as RandomResizedCrop
    from ._augment import Roll as Roll
    from ._augment import Solarize as Solarize
    from ._augment import TimeMask as TimeMask
    from ._augment import augment as augment
    from ._benchmark import fit_probe as fit_probe
    from ._bird_mae import BirdMae as BirdMae
    from ._bird_mae import BirdMaeOutput as BirdMaeOutput
    from ._checkpoints import load_encoder as load_encoder
    from ._checkpoints import save_checkpoint as save_checkpoint
    from ._config import BIRD_MAE as BIRD_MAE
    from ._config import BirdMaeConfig as BirdMaeConfig
    from ._config import TransformerConfig as TransformerConfig
    from ._embed import Embedded as Embedded
    from ._embed import embed as embed
    from ._errors import AudioError as AudioError
    from ._errors import BirdError as BirdError
    from ._errors import CheckpointError as CheckpointError
    from ._errors import ConfigError as ConfigError
    from ._errors import DataError as DataError
    from ._export import Pipeline as Pipeline
    from ._export import export as export
    from ._fbank import FbankConfig as FbankConfig
    from ._fbank import fbank as fbank
    from ._filter_audio import filter_audio as filter_audio
    from ._front_end import front_end as front_end
    from ._front_end import jax_fbank as jax_fbank
    from ._logging import CsvLogger as CsvLogger
    from ._logging import Logger as Logger
    from ._logging import TensorBoardLogger as TensorBoardLogger
    from ._logging import WandbLogger as WandbLogger
    from ._losses import asymmetric_loss as asymmetric_loss
    from ._losses import sigreg as sigreg
    from ._masks import make_block_mask as make_block_mask
    from ._metrics import cmap as cmap
    from ._metrics import top1 as top1
    from ._model import EncoderOutput as EncoderOutput
    from ._model import Transformer as Transformer
    from ._model import stack as stack
    from ._model import unstack as unstack
    from ._objectives import LeJepa as LeJepa
    from ._objectives import LeJepaConfig as LeJepaConfig
    from ._objectives import Supervised as Supervised
    from ._objectives import SupervisedConfig as SupervisedConfig
    from ._optimizer import OptimizerConfig as OptimizerConfig
    from ._patches import patch_grid as patch_grid
    from ._patches import patchify as patchify
    from ._patches import unpatchify as unpatchify
    from ._pipeline import Batches as Batches
    from ._pipeline import DataConfig as DataConfig
    from ._pipeline import one_pass as one_pass
    from ._pixio import Pixio as Pixio
    from ._pixio import PixioConfig as PixioConfig
    from ._probes import CentroidProbe as CentroidProbe
    from ._probes import LinearProbe as LinearProbe
    from ._probes import MlpProbe as MlpProbe
    from ._probes import online_probe as online_probe
    from ._probes import online_probe_loss as online_probe_loss
    from ._songs import make_data as make_data
    from ._sources import ArrayRecordSource as ArrayRecordSource
    from ._sources import FolderSource as FolderSource
    from ._sources import NpzSource as NpzSource
    from ._sources import write_shards as write_shards
    from ._state_dict import from_state_dict as from_state_dict
    from ._state_dict import load_bird_mae as load_bird_mae
    from ._state_dict import save_safetensors as save_safetensors
    from ._state_dict import state_dict as state_dict
    from ._step import State as State
    from ._step import StepConfig as StepConfig
    from ._train import TrainConfig as TrainConfig
    from ._train import evaluate as evaluate
    from ._train import train as train
    from ._transform import transform as transform

__version__ = "0.1.0"

_HOME = {
    "_audio": ("read_audio",),
    "_augment": (
        "AUGMENTATIONS",
        "Augmentation",
        "ColorJitter",
        "FreqMask",
        "GaussianBlur",
        "GaussianNoise",
        "HorizontalFlip",
        "RandomCrop",
        "RandomResizedCrop",
        "Roll",
        "Solarize",
        "TimeMask",
        "augment",
    ),
    "_benchmark": ("fit_probe",),
    "_bird_mae": (
        "BirdMae",
        "BirdMaeOutput",
    ),
    "_checkpoints": (
        "load_encoder",
        "save_checkpoint",
    ),
    "_config": (
        "BIRD_MAE",
        "BirdMaeConfig",
        "TransformerConfig",
    ),
    "_embed": (
        "Embedded",
        "embed",
    ),
    "_errors": (
        "AudioError",
        "BirdError",
        "CheckpointError",
        "ConfigError",
        "DataError",
    ),
    "_export": (
        "Pipeline",
        "export",
    ),
    "_fbank": (
        "FbankConfig",
        "fbank",
    ),
    "_filter_audio": ("filter_audio",),
    "_front_end": (
        "front_end",
        "jax_fbank",
    ),
    "_logging": (
        "CsvLogger",
        "Logger",
        "TensorBoardLogger",
        "WandbLogger",
    ),
    "_losses": (
        "asymmetric_loss",
        "sigreg",
    ),
    "_masks": ("make_block_mask",),
    "_metrics": (
        "cmap",
        "top1",
    ),
    "_model": (
        "EncoderOutput",
        "Transformer",
        "stack",
        "unstack",
    ),
    "_objectives": (
        "LeJepa",
        "LeJepaConfig",
        "Supervised",
        "SupervisedConfig",
    ),
    "_optimizer": ("OptimizerConfig",),
    "_patches": (
        "patch_grid",
        "patchify",
        "unpatchify",
    ),
    "_pipeline": (
        "Batches",
        "DataConfig",
        "one_pass",
    ),
    "_pixio": (
        "Pixio",
        "PixioConfig",
    ),
    "_probes": (
        "CentroidProbe",
        "LinearProbe",
        "MlpProbe",
        "online_probe",
        "online_probe_loss",
    ),
    "_songs": ("make_data",),
    "_sources": (
        "ArrayRecordSource",
        "FolderSource",
        "NpzSource",
        "write_shards",
    ),
    "_state_dict": (
        "from_state_dict",
        "load_bird_mae",
        "save_safetensors",
        "state_dict",
    ),
    "_step": (
        "State",
        "StepConfig",
    ),
    "_train": (
        "TrainConfig",
        "evaluate",
        "train",
    ),
    "_transform": ("transform",),
}
__all__ = sorted(name for names in _HOME.values() for name in names)


def __getattr__(name: str) -> Any:
    for home, names in _HOME.items():
        if name in names:
            value = getattr(importlib.import_module(f".{home}", __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
