"""Fusions look at the layout of a weight that is kept as at that of a constant: it is stored as it is read."""

import functools
import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx
from j2o_core.testing import NotInMemory

RNG = np.random.default_rng(0)


def array(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def packed(leaves, rows=5):
    """Self-attention of four heads with one projection, mapped over rows, and a projection behind it."""

    def fn(x):
        q, k, v = jnp.split(jax.vmap(lambda row: leaves["qkv"] @ row + leaves["bias"])(x), 3, axis=-1)
        q, k, v = (part.reshape(rows, 4, 2) for part in (q, k, v))
        y = jax.nn.dot_product_attention(q, k, v).reshape(rows, 8)
        return jax.vmap(lambda row: leaves["out"] @ row)(y)

    return fn


def leaves():
    return {"qkv": array(24, 8), "bias": array(24), "out": array(8, 8)}


@pytest.mark.parametrize("opset", [21, 23])
def test_a_packed_projection_is_read_in_parts(opset):
    first, second = leaves(), leaves()
    kept, folded = (to_onnx(packed(first), [(5, 8)], opset=opset, weights=how) for how in ("keep", "fold"))
    operators = [Counter(node.op_type for node in program.model.graph) for program in (kept, folded)]
    assert operators[0] == operators[1]
    assert "Split" not in operators[0]
    kept.verify()
    replaced = kept.with_weights(second)
    x = RNG.standard_normal((5, 8)).astype(np.float32)
    np.testing.assert_allclose(replaced(x), packed(second)(x), rtol=1e-4, atol=1e-5)
    records = [value.const_value.metadata_props.get("j2o.weight") for value in kept.model.graph.initializers.values()]
    found = Counter(json.loads(record)["leaf"] for record in records if record is not None)
    assert found == {"qkv": 3, "bias": 3, "out": 1}


def test_a_mapped_product_with_a_kept_matrix_is_a_product_of_rows():
    matrix = {"weight": array(4, 3)}
    program = to_onnx(jax.vmap(lambda x: jnp.sin(matrix["weight"] @ x)), [("B", 3)], weights="keep")
    assert [node.op_type for node in program.model.graph] == ["MatMul", "Sin"]
    program.verify()


@pytest.mark.parametrize("mapped", [False, True])
def test_a_kept_bias_is_the_bias_of_its_convolution(mapped):
    model = {"weight": array(4, 3, 3, 3), "bias": array(4, 1, 1)}

    def fn(x):
        return jax.lax.conv(x[None], model["weight"], (1, 1), "SAME")[0] + model["bias"]

    spec = ("B", 3, 8, 8) if mapped else (3, 8, 8)
    program = to_onnx(jax.vmap(fn) if mapped else fn, [spec], weights="keep")
    assert [node.op_type for node in program.model.graph if node.op_type in ("Conv", "Add")] == ["Conv"]
    program.verify()
    other = {"weight": model["weight"] * 2, "bias": model["bias"] + 1}
    x = RNG.standard_normal((2, 3, 8, 8) if mapped else (3, 8, 8)).astype(np.float32)
    want = jax.lax.conv(x if mapped else x[None], other["weight"], (1, 1), "SAME") + other["bias"]
    np.testing.assert_allclose(program.with_weights(other)(x), want if mapped else want[0], rtol=1e-4, atol=1e-4)


def batch_norm(weights, x):
    mean, variance, scale, bias = (weight[:, None, None] for weight in weights)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


@pytest.mark.parametrize(
    ("spec", "options", "fused"),
    [
        (("B", 4, 5, 6), {"weights": "keep"}, True),
        (("B", 4, 5, 6), {}, False),  # folded into what is in front of it
        ((4, 5, 6), {"weights": "keep"}, False),  # without a batch
        ((2, 3, 4, 5, 6), {"weights": "keep"}, False),  # channels are the third axis
    ],
)
def test_a_kept_batch_norm_is_one_operator(spec, options, fused):
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.random(4, np.float32) + 0.5) for _ in range(4)]
    program = to_onnx(functools.partial(batch_norm, weights), [spec], **options)
    assert ("BatchNormalization" in {node.op_type for node in program.model.graph}) == fused
    program.verify()


@pytest.mark.parametrize(
    "program", [lambda w: jnp.sqrt(jnp.abs(w)) - 1, lambda w: (w * 3).T[2:7], lambda w: w[2:7] * 3 + 1]
)
def test_weights_are_computed_when_they_are_written(program):
    """With the numbers to which constants are folded."""
    weight = array(30, 20)
    shape = jax.eval_shape(program, weight).shape
    lazy, folded = (to_onnx(lambda x, w=w: x + program(w), [shape]) for w in (NotInMemory(weight), weight))
    assert [node.op_type for node in lazy.model.graph] == ["Add"]
    ((_, tensor), (_, want)) = (
        next((name, one.const_value) for name, one in each.model.graph.initializers.items()) for each in (lazy, folded)
    )
    assert tensor.numpy().tobytes() == want.numpy().tobytes()


def test_a_scale_behind_a_large_product_is_computed_when_it_is_written():
    weight, scale = array(600, 500), array(500)
    program = to_onnx(lambda x: (x @ weight) * scale, [(2, 600)])
    assert [node.op_type for node in program.model.graph] == ["MatMul"]
    (tensor,) = (one.const_value for one in program.model.graph.initializers.values())
    assert not isinstance(tensor.raw, np.ndarray)
    np.testing.assert_array_equal(tensor.numpy(), weight * scale)
    program.verify()


def test_a_tied_embedding_that_is_kept_is_stored_once(tmp_path):
    table = {"embed": array(40, 16)}

    def fn(table):
        return lambda tokens: jnp.tanh(table["embed"][tokens]) @ table["embed"].T

    program = to_onnx(fn(table), [jax.ShapeDtypeStruct((3,), np.int32)], weights="keep")
    (name,) = (name for name, one in program.model.graph.initializers.items() if one.const_value.size == 640)
    assert json.loads(program.model.graph.initializers[name].const_value.metadata_props["j2o.weight"]) == {
        "leaf": "embed"
    }
    assert "Transpose" in {node.op_type for node in program.model.graph}
    program.verify()
    other, tokens = {"embed": array(40, 16)}, np.array([3, 1, 39], np.int32)
    np.testing.assert_allclose(program.with_weights(other)(tokens), fn(other)(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unroll", [True, False])
def test_parts_of_one_weight_are_computed_apart(unroll):
    stacked = array(4, 6, 6)
    lazy = NotInMemory(stacked)
    program = to_onnx(
        lambda x: jax.lax.scan(lambda x, w: (jnp.tanh(x @ (w * 2)), None), x, lazy)[0], [("B", 6)], unroll=unroll
    )
    assert "Mul" not in {node.op_type for node in program.model.graph.all_nodes()}
    assert sum(one.const_value.size for one in program.model.graph.initializers.values()) == 4 * 6 * 6
    program.verify()
