"""A decoder of GPT-2's size, ours and torch.onnx's, reading a prompt and one token more.

Both are one file for any number of tokens and any length of the cache; both give the logits of the last token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

OPSETS = (21, 24)
PROMPT = 128
# Tokens are read several times a round, as one takes a tenth of the time of a prompt.
TOKENS_A_ROUND = 5
STEPS = {"prefill": (PROMPT, 0, 1), "token": (1, PROMPT, TOKENS_A_ROUND)}


def export(folder: Path) -> dict[str, Path]:
    """Our decoder of GPT-2's size with random weights, as files by opset."""
    import jax

    import j2o_examples_gpt

    config = j2o_examples_gpt.CONFIGS["gpt2-small"]
    model = j2o_examples_gpt.Gpt(config, key=jax.random.key(0))
    files = {f"ours {opset}": folder / f"gpt{opset}.onnx" for opset in OPSETS}
    for opset, path in zip(OPSETS, files.values(), strict=True):
        j2o_examples_gpt.export(model, config, opset=opset).save(path)
    return files


def feeds(session: Any) -> dict[str, tuple[dict[str, Any], int]]:
    """The feeds of each step, and the number of steps in a round."""
    return {step: (_feed(session, tokens, filled), times) for step, (tokens, filled, times) in STEPS.items()}


def _feed(session: Any, tokens: int, filled: int) -> dict[str, Any]:
    """Random tokens, and a cache of random numbers: ours of a fixed capacity, torch's as long as what is in it."""
    import numpy as np

    random = np.random.default_rng(0)
    feed: dict[str, Any] = {}
    for value in session.get_inputs():
        if value.name == "tokens":
            feed[value.name] = random.integers(0, 50257, (1, tokens)).astype(value.type[7:-1])
        elif not value.shape:
            feed[value.name] = np.array(filled, np.int32)
        else:
            _, heads, _, size = value.shape
            length = PROMPT + 1 if value.name.startswith("cache.") else filled
            feed[value.name] = random.standard_normal((1, heads, length, size)).astype(np.float32)
    return feed
