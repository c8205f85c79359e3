"""A decoder in the manner of GPT-2 with an explicit cache, and a command that exports it and generates with it."""

from ._cache import Cache, cache_specs, empty_cache
from ._config import CONFIGS, GptConfig
from ._export import export
from ._generate import Decoder, Generation, generate_in_jax
from ._model import Gpt
from ._table import table

__version__ = "0.1.0"

__all__ = [
    "CONFIGS",
    "Cache",
    "Decoder",
    "Generation",
    "Gpt",
    "GptConfig",
    "cache_specs",
    "empty_cache",
    "export",
    "generate_in_jax",
    "table",
]
