"""Encoders as ONNX graphs: from waveform, spectrogram or some of its patches to embedding, tokens and logits."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import j2o_core

from ._bird_mae import BirdMae
from ._config import require
from ._front_end import front_end
from ._model import Transformer, unstack
from ._transform import CLIP_SAMPLES

Start = Literal["waveform", "spectrogram", "patches"]
"""Where a graph begins."""


class Pipeline(eqx.Module):
    """An encoder with what comes before and behind it, as it is exported.

    Attributes:
        encoder: The encoder.
        head: Maps one embedding `[embed_dim]` to logits `[classes]`, or None for no logits.
        start: Where the pipeline begins.
    """

    encoder: Transformer | BirdMae
    head: Callable[[Array], Array] | None = None
    start: Start = eqx.field(static=True, default="waveform")

    def __call__(self, x: Array, grid: Array | None = None) -> dict[str, Array]:
        """Run the pipeline.

        Args:
            x: Clips `[batch, 160000]` at 32 kHz, spectrograms `[batch, input_h, input_w]`, or patches
                `[batch, tokens, patch_h * patch_w]`, as `start` has it.
            grid: Rows and columns `[batch, tokens, 2]` of the patches; with `start="patches"` only.

        Returns:
            `embedding` `[batch, embed_dim]`, `tokens` `[batch, patches, embed_dim]`, and with a head `logits`
            `[batch, classes]`.
        """
        if self.start == "waveform":
            x = front_end(x)
        if isinstance(self.encoder, BirdMae):
            embedding, tokens = self.encoder(x)
        else:
            output = self.encoder.encode(x) if grid is None else self.encoder(x, grid)
            embedding, tokens = jnp.mean(output.cls, axis=1), output.patches
        outputs = {"embedding": embedding, "tokens": tokens}
        if self.head is not None:
            outputs["logits"] = jax.vmap(self.head)(embedding)
        return outputs


def export(
    encoder: Transformer | BirdMae,
    *,
    start: Start = "waveform",
    head: Callable[[Array], Array] | None = None,
    batch: int | str = "B",
    tokens: int | str = "T",
    opset: int = 23,
) -> j2o_core.OnnxProgram:
    """Export an encoder. Stacked blocks and blocks in a loop give the same graph, with one set of weights a block.

    Args:
        encoder: The encoder.
        start: `"waveform"`: the front end is part of the graph, and clips `waveform` `[batch, 160000]` its input;
            `"spectrogram"`: the input is `spectrogram` `[batch, input_h, input_w]`; `"patches"`: the inputs are
            `patches` `[batch, tokens, patch_h * patch_w]` and `grid` `[batch, tokens, 2]` int32, any of a
            spectrogram's patches.
        head: Maps one embedding `[embed_dim]` to logits `[classes]`; without, there are none.
        batch: Number of samples, or the name of a symbolic dimension.
        tokens: Number of patches, or the name of a symbolic dimension; with `start="patches"` only.
        opset: ONNX opset; from 23 on, attention and rotary embedding are one operator each.

    Returns:
        A program with the outputs `embedding`, `tokens` and, with a head, `logits`.

    Raises:
        ConfigError: If the encoder does not read what the start gives it.
        J2oError: If the export fails; none is known to.
    """
    config = encoder.config
    inputs: list[jax.ShapeDtypeStruct | tuple[int | str, ...]]
    if start == "waveform":
        require(
            (config.input_h, config.input_w) == (512, 128),
            f"export: the front end makes spectrograms of 512 x 128, but the encoder reads {config.input_h} x "
            f"{config.input_w}.",
        )
        inputs, names = [(batch, CLIP_SAMPLES)], ["waveform"]
    elif start == "spectrogram":
        inputs, names = [(batch, config.input_h, config.input_w)], ["spectrogram"]
    else:
        require(start == "patches", f"export: start must be 'waveform', 'spectrogram' or 'patches', not {start!r}.")
        require(isinstance(encoder, Transformer), "export: BirdMae reads whole spectrograms only, not some patches.")
        grid = jax.ShapeDtypeStruct((batch, tokens, 2), jnp.int32)
        inputs, names = [(batch, tokens, config.patch_h * config.patch_w), grid], ["patches", "grid"]
    looped = unstack(encoder) if isinstance(encoder, Transformer) else encoder
    return j2o_core.to_onnx(Pipeline(looped, head, start), inputs, input_names=names, opset=opset)
