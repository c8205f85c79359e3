"""BirdJEPA and Bird-MAE in Equinox: bird sound to embeddings, in JAX and in ONNX."""

from ._audio import read_audio
from ._augment import (
    AUGMENTATIONS,
    Augmentation,
    ColorJitter,
    FreqMask,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Solarize,
    TimeMask,
    augment,
)
from ._benchmark import fit_probe
from ._bird_mae import BirdMae, BirdMaeOutput
from ._checkpoints import load_encoder, save_checkpoint
from ._config import BIRD_MAE, BirdMaeConfig, TransformerConfig
from ._embed import Embedded, embed
from ._errors import AudioError, BirdError, CheckpointError, ConfigError, DataError
from ._export import Pipeline, export
from ._fbank import FbankConfig, fbank
from ._filter_audio import filter_audio
from ._front_end import front_end, jax_fbank, transform
from ._logging import CsvLogger, Logger, TensorBoardLogger, WandbLogger
from ._losses import asymmetric_loss, sigreg
from ._masks import make_block_mask
from ._metrics import cmap, top1
from ._model import EncoderOutput, Transformer, stack, unstack
from ._objectives import LeJepa, LeJepaConfig, Supervised, SupervisedConfig
from ._optimizer import OptimizerConfig
from ._patches import patch_grid, patchify, unpatchify
from ._pipeline import Batches, DataConfig, one_pass
from ._pixio import Pixio, PixioConfig
from ._probes import CentroidProbe, LinearProbe, MlpProbe, online_probe, online_probe_loss
from ._songs import make_data
from ._sources import ArrayRecordSource, FolderSource, NpzSource, write_shards
from ._state_dict import from_state_dict, load_bird_mae, save_safetensors, state_dict
from ._step import State, StepConfig
from ._train import TrainConfig, evaluate, train

__version__ = "0.1.0"

__all__ = [
    "AUGMENTATIONS",
    "BIRD_MAE",
    "ArrayRecordSource",
    "AudioError",
    "Augmentation",
    "Batches",
    "BirdError",
    "BirdMae",
    "BirdMaeConfig",
    "BirdMaeOutput",
    "CentroidProbe",
    "CheckpointError",
    "ColorJitter",
    "ConfigError",
    "CsvLogger",
    "DataConfig",
    "DataError",
    "Embedded",
    "EncoderOutput",
    "FbankConfig",
    "FolderSource",
    "FreqMask",
    "GaussianBlur",
    "GaussianNoise",
    "HorizontalFlip",
    "LeJepa",
    "LeJepaConfig",
    "LinearProbe",
    "Logger",
    "MlpProbe",
    "NpzSource",
    "OptimizerConfig",
    "Pipeline",
    "Pixio",
    "PixioConfig",
    "RandomCrop",
    "RandomResizedCrop",
    "Solarize",
    "State",
    "StepConfig",
    "Supervised",
    "SupervisedConfig",
    "TensorBoardLogger",
    "TimeMask",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "WandbLogger",
    "asymmetric_loss",
    "augment",
    "cmap",
    "embed",
    "evaluate",
    "export",
    "fbank",
    "filter_audio",
    "fit_probe",
    "from_state_dict",
    "front_end",
    "jax_fbank",
    "load_bird_mae",
    "load_encoder",
    "make_block_mask",
    "make_data",
    "one_pass",
    "online_probe",
    "online_probe_loss",
    "patch_grid",
    "patchify",
    "read_audio",
    "save_checkpoint",
    "save_safetensors",
    "sigreg",
    "stack",
    "state_dict",
    "top1",
    "train",
    "transform",
    "unpatchify",
    "unstack",
    "write_shards",
]
