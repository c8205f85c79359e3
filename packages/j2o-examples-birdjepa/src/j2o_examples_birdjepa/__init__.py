"""BirdJEPA and Bird-MAE in Equinox: bird sound to embeddings, in JAX and in ONNX."""

from ._bird_mae import BirdMae, BirdMaeOutput
from ._config import BIRD_MAE, BirdMaeConfig, TransformerConfig
from ._errors import BirdError, CheckpointError, ConfigError
from ._masks import make_block_mask
from ._model import EncoderOutput, Transformer, stack, unstack
from ._patches import patch_grid, patchify, unpatchify
from ._state_dict import from_state_dict, load_bird_mae, save_safetensors, state_dict

__version__ = "0.1.0"

__all__ = [
    "BIRD_MAE",
    "BirdError",
    "BirdMae",
    "BirdMaeConfig",
    "BirdMaeOutput",
    "CheckpointError",
    "ConfigError",
    "EncoderOutput",
    "Transformer",
    "TransformerConfig",
    "from_state_dict",
    "load_bird_mae",
    "make_block_mask",
    "patch_grid",
    "patchify",
    "save_safetensors",
    "stack",
    "state_dict",
    "unpatchify",
    "unstack",
]
