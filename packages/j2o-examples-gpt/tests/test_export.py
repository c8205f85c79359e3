from collections import Counter

import jax
import numpy as np
import pytest

from j2o_core import to_onnx
from j2o_examples_gpt import Decoder, cache_specs, empty_cache, export, generate_in_jax

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 256, (3, 7), dtype=np.int32)


def _operators(program):
    return Counter(node.op_type for node in program.model.graph.all_nodes())


def test_names(program, config):
    places = [*(f"keys.{i}" for i in range(config.depth)), *(f"values.{i}" for i in range(config.depth)), "length"]
    assert program.input_names == ["tokens", *(f"cache.{place}" for place in places)]
    assert program.output_names == ["logits", *(f"next.cache.{place}" for place in places)]
    assert program.state == {f"next.cache.{place}": f"cache.{place}" for place in places}


@pytest.mark.parametrize(("opset", "attention"), [(18, 0), (23, 2), (26, 2)])
def test_one_graph_for_prompts_and_tokens(model, config, opset, attention):
    program = export(model, config, opset=opset)
    program.check()
    operators = _operators(program)
    assert operators["Attention"] == attention
    assert operators["Softmax"] == (0 if attention else 2)
    assert operators["LayerNormalization"] == 5
    assert operators["TensorScatter"] == (4 if opset >= 24 else 0)
    for batch, count, capacity in [(1, 1, 1), (3, 7, 9)]:
        tokens = RNG.integers(0, 256, (batch, count), dtype=np.int32)
        program.verify(tokens, empty_cache(config, batch, capacity), rtol=1e-4, atol=1e-5)


def test_a_cache_that_is_filled_in_part(step, config, program):
    _, cache = step(TOKENS, empty_cache(config, 3, 16))
    for count in (1, 9):
        program.verify(RNG.integers(0, 256, (3, count), dtype=np.int32), cache, rtol=1e-4, atol=1e-5)


def test_a_cache_that_is_too_small_is_as_wrong_as_in_jax(step, config, program):
    _, cache = step(TOKENS, empty_cache(config, 3, 8))
    program.verify(TOKENS[:, :3], cache, rtol=1e-4, atol=1e-5)


def test_fixed_sizes(model, config):
    program = to_onnx(model, [jax.ShapeDtypeStruct((1, 1), np.int32), cache_specs(config, 1, 32)], opset=24)
    assert _operators(program)["Attention"] == 2
    program.verify(TOKENS[:1, :1], empty_cache(config, 1, 32), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("opset", "batch"), [(21, 3), (24, 1)])
def test_the_same_tokens_as_in_jax(model, config, tmp_path, batch, opset):
    export(model, config, opset=opset).save(tmp_path / "gpt.onnx")
    prompt = np.random.default_rng(1).integers(0, config.vocabulary, (batch, 12), dtype=np.int32)
    wanted = generate_in_jax(model, config, prompt, 40)
    got = Decoder(tmp_path / "gpt.onnx").generate(prompt, 40)
    np.testing.assert_array_equal(got.tokens, wanted.tokens)
    np.testing.assert_allclose(got.logits, wanted.logits, rtol=1e-4, atol=1e-4)
    assert got.tokens.shape == (batch, 40)
    # Random weights, but not a single token over and over.
    assert len(np.unique(got.tokens)) > 10


def test_layers_work_on_rows(program, config):
    """A runtime knows a product of matrices and its bias as one operator, whatever batch and tokens are."""
    products = [node for node in program.model.graph if node.op_type == "MatMul"]
    assert len(products) == 6 * config.depth + 1
    assert all(len(value.shape) == 2 for node in products for value in (*node.inputs, *node.outputs))


def test_the_embedding_is_stored_once(program, config):
    names = [name for name in program.model.graph.initializers if name.startswith("tokens")]
    assert len(names) == 1
    assert list(program.model.graph.initializers[names[0]].shape) == [config.vocabulary, config.dim]


def test_every_node_names_its_module(program):
    paths = [node.metadata_props.get("j2o.module") for node in program.model.graph.all_nodes()]
    assert None not in paths
    assert {"blocks.0.attention.qkv", "blocks.1.attention", "blocks.1", "norm", "Gpt"} <= set(paths)
