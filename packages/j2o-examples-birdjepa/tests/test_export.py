"""Exported programs give JAX's numbers: front end, encoders, forms of the blocks, subsets of patches."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
from j2o_examples_birdjepa import (
    BirdMae,
    BirdMaeConfig,
    ConfigError,
    Pipeline,
    Transformer,
    TransformerConfig,
    export,
    front_end,
    patchify,
    stack,
    transform,
)

from .conftest import MODERN, SMALL, formula_encoder

OPSETS = [18, 23]
WAVES = np.stack([np.sin(np.arange(160_000) * 0.09), np.random.default_rng(0).standard_normal(160_000)]).astype("f4")


def assert_close(actual, expected, *, relative=1e-5):
    """Within a fraction of the largest magnitude."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("opset", OPSETS)
def test_front_end(opset):
    program = j2o_core.to_onnx(front_end, [("B", 160_000)], opset=opset)
    actual = program(WAVES)
    # A logarithm amplifies rounding where a filter is next to empty: 1e-2 for one log energy, 1e-4 on average.
    scale = 1 / (2 * 4.43)
    for expected in (jax.jit(front_end)(WAVES), np.stack([transform(wave) for wave in WAVES])):
        difference = np.abs(actual - expected)
        assert difference.max() <= 1e-2 * scale
        assert difference.mean() <= 1e-4 * scale
    operators = collections.Counter(node.op_type for node in program.model.graph)
    assert operators["Conv"] == 1
    assert operators["MatMul"] == 1
    assert not {"STFT", "DFT", "Loop", "Scan"} & operators.keys()


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("fields", [{}, MODERN | {"n_reg_tokens": 3}], ids=["learned", "modern"])
def test_spectrogram(fields, opset, spectrograms):
    model = formula_encoder(**fields)
    head = eqx.nn.Linear(32, 5, key=jax.random.key(0))
    program = export(model, start="spectrogram", head=head, opset=opset)
    assert program.input_names == ["spectrogram"]
    assert sorted(program.output_names) == ["embedding", "logits", "tokens"]
    reference = eqx.filter_jit(Pipeline(model, head, "spectrogram"))
    for batch in (1, 2):
        actual, expected = program(spectrograms[:batch]), reference(spectrograms[:batch])
        for name, value in expected.items():
            assert_close(actual[name], value)


@pytest.mark.parametrize("fields", [{}, MODERN], ids=["learned", "modern"])
def test_scan_and_loop_give_the_same_graph(fields, tmp_path):
    model = formula_encoder(**fields)
    files = []
    for form in (model, stack(model)):
        export(form, start="spectrogram").save(tmp_path / "model.onnx")
        files.append((tmp_path / "model.onnx").read_bytes())
    assert files[0] == files[1]


def test_a_scan_that_is_left_in_place_gives_the_same_numbers(spectrograms):
    pipeline = Pipeline(stack(formula_encoder(**MODERN)), None, "spectrogram")
    program = j2o_core.to_onnx(pipeline, [("B", 32, 48)], opset=23)
    assert_close(program(spectrograms)["embedding"], eqx.filter_jit(pipeline)(spectrograms)["embedding"])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("fields", [{}, MODERN | {"n_reg_tokens": 2}], ids=["learned", "modern"])
def test_some_patches(fields, opset, spectrograms):
    model = formula_encoder(**fields)
    program = export(model, start="patches", opset=opset)
    patches, grid = patchify(jnp.asarray(spectrograms), 16, 16)
    reference = eqx.filter_jit(Pipeline(model, None, "patches"))
    for batch, places in ((1, [5]), (2, [4, 0, 3]), (2, [0, 1, 2, 3, 4, 5])):
        some = np.asarray(patches)[:batch, places], np.asarray(grid)[:batch, places]
        actual, expected = program(*some), reference(*map(jnp.asarray, some))
        assert_close(actual["embedding"], expected["embedding"])
        assert_close(actual["tokens"], expected["tokens"])


def test_each_sample_may_show_other_patches(spectrograms):
    model = formula_encoder(**MODERN)
    patches, grid = (np.asarray(x) for x in patchify(jnp.asarray(spectrograms), 16, 16))
    places = np.array([[0, 3], [5, 1]])
    rows = np.arange(2)[:, None]
    actual = export(model, start="patches")(patches[rows, places], grid[rows, places])["embedding"]
    reference = eqx.filter_jit(model)
    for sample in range(2):
        alone = reference(patches[sample : sample + 1, places[sample]], grid[sample : sample + 1, places[sample]])
        assert_close(actual[sample : sample + 1], jnp.mean(alone.cls, axis=1))


@pytest.mark.parametrize("opset", OPSETS)
def test_waveform_to_embedding(opset):
    config = BirdMaeConfig(embed_dim=32, depth=2, n_heads=2)
    model = BirdMae(config, key=jax.random.key(1))
    program = export(model, opset=opset)
    assert program.input_names == ["waveform"]
    actual = program(WAVES)
    expected = eqx.filter_jit(Pipeline(model))(WAVES)
    assert actual["tokens"].shape == (2, 256, 32)
    for name, value in expected.items():
        assert_close(actual[name], value, relative=1e-4)  # the front end's rounding, through the encoder
    counted = collections.Counter(node.op_type for node in program.model.graph.all_nodes())
    if opset >= 23:
        assert counted["Attention"] == 2


def test_attention_and_rotary_embedding_are_operators():
    config = TransformerConfig(**SMALL | MODERN)
    program = export(Transformer(config, key=jax.random.key(2)), start="spectrogram", opset=23)
    counted = collections.Counter(node.op_type for node in program.model.graph.all_nodes())
    assert counted["Attention"] == config.depth
    assert counted["LayerNormalization"] == 4 * config.depth + 1
    assert not {"Loop", "Scan", "If"} & counted.keys()


def test_weights_bear_their_names():
    initializers = export(formula_encoder(), start="spectrogram").model.graph.initializers
    for name in ("cls_tokens", "blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "norm.bias"):
        assert any(name in initializer for initializer in initializers), name


def test_what_an_encoder_cannot_read_is_an_error(tiny_mae):
    with pytest.raises(ConfigError, match="makes spectrograms of 512 x 128, but the encoder reads 32 x 48"):
        export(tiny_mae)
    with pytest.raises(ConfigError, match="reads whole spectrograms only"):
        export(tiny_mae, start="patches")
    with pytest.raises(ConfigError, match="must be 'waveform', 'spectrogram' or 'patches', not 'mp3'"):
        export(tiny_mae, start="mp3")
