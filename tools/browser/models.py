"""The two models of the pages: parts of photos by colour, and sentences as vectors."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import j2o_core
from j2o_examples_dino import LVD, DinoConfig, DinoV3
from quantized_encoder import EXAMPLES, FOLDER, encode, encoder_weights, sentences

SIDE = 384
ROUNDS = 40
# Products that `cosine=0.99` keeps in floats, in minutes: see tools/quantized_encoder.py.
DELICATE = ["encoder.layer.0.output.dense", "encoder.layer.3.output.dense"]


def principal_components(features, count=3):
    """Features [N, D] projected on their first principal components, float32[N, count], by subspace iteration."""
    centered = features - jnp.mean(features, 0)
    covariance = centered.T @ centered
    start = jax.random.normal(jax.random.key(0), (features.shape[1], count))

    def turn(_, basis):
        return orthonormal(covariance @ basis)

    basis = jax.lax.fori_loop(0, ROUNDS, turn, orthonormal(start))
    return centered @ basis


def orthonormal(columns):
    """Columns [D, K] made orthogonal to those before them and of length one, as Gram and Schmidt do."""
    done = []
    for column in columns.T:
        for other in done:
            column -= other * jnp.dot(other, column)
        done.append(column / jnp.linalg.norm(column))
    return jnp.stack(done, 1)


def components():
    """A function from pixels of a canvas, uint8[side, side, 4], to colours of patches, uint8[grid, grid, 4].

    The model is DINOv3's, smaller, with weights that are drawn and not trained: colours follow light, texture and
    place, not meaning. Patches are projected on smooth pictures, as trained ones are in the main.
    """
    model = DinoV3(DinoConfig(dim=192, depth=4, heads=3, layer_scale_init=0.3), key=jax.random.key(0))
    projection = model.patch_embed.proj.weight
    coarse = 4 * projection.reshape(192, 3, 2, 8, 2, 8).mean((3, 5))
    smooth = jax.image.resize(coarse, projection.shape, "linear")
    model = eqx.tree_at(lambda model: model.patch_embed.proj.weight, model, smooth)
    mean, deviation = np.asarray(LVD.mean, np.float32), np.asarray(LVD.std, np.float32)

    def colours(pixels):
        image = (pixels[..., :3].astype(jnp.float32) / 255 - mean) / deviation
        tokens = model.forward_features(image.transpose(2, 0, 1))["x_norm_patchtokens"]
        shares = principal_components(tokens)
        red_green_blue = jnp.clip(0.5 + shares / (5 * jnp.std(shares, 0)), 0, 1)
        opaque = jnp.concatenate([red_green_blue, jnp.ones((len(tokens), 1))], 1)
        grid = SIDE // model.config.patch_size
        return jnp.round(opaque * 255).astype(jnp.uint8).reshape(grid, grid, 4)

    return colours


def export_components():
    """The program of `components`."""
    pixels = jax.ShapeDtypeStruct((SIDE, SIDE, 4), jnp.uint8)
    return j2o_core.to_onnx(
        components(), [pixels], input_names=["pixels"], output_names=["colours"], target="onnxruntime-web"
    )


def export_sentences():
    """The encoder all-MiniLM-L6-v2 in bytes, for any number of sentences of any length up to 512 tokens."""
    sizes = jax.ShapeDtypeStruct(("B", "T"), jnp.int32), jax.ShapeDtypeStruct(("B", "T"), jnp.bool_)
    program = j2o_core.to_onnx(
        functools.partial(encode, encoder_weights()),
        list(sizes),
        output_names=["vectors"],
        constraints=["T <= 512"],
        target="onnxruntime-web",
    )
    examples = list(sentences())[::EXAMPLES]
    return program, program.quantize(examples, ranges="run", keep=DELICATE, weight_bits=8)


def words():
    """The words of the tokenizer, in the order of their numbers."""
    return (FOLDER / "vocab.txt").read_text(encoding="utf-8")
