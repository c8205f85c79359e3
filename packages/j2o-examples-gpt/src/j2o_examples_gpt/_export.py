"""The decoder as one graph, for prompts and for single tokens alike."""

import jax
import jax.numpy as jnp

import j2o_core

from ._cache import cache_specs
from ._config import GptConfig
from ._model import Gpt


def export(model: Gpt, config: GptConfig, *, opset: int = 24) -> j2o_core.OnnxProgram:
    """Export a model for any batch `B`, any number `T` of new tokens and any capacity `C` of the cache.

    Args:
        model: The model.
        config: Its hyperparameters.
        opset: ONNX opset; from 23 on, attention is one operator a block.

    Returns:
        A program with the inputs `tokens` and `cache.*`, and the outputs `logits` and `next.cache.*`.
    """
    return j2o_core.to_onnx(
        model,
        [jax.ShapeDtypeStruct(("B", "T"), jnp.int32), cache_specs(config, "B", "C")],
        state={"cache": 1},
        output_names=["logits"],
        constraints=["C >= T"],
        opset=opset,
    )
