"""Arithmetic of weights alone is done while the file is written, with the numbers of JAX."""

import json
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from j2o_core import SpecError
from j2o_core.graph._kept import ComputedWeight
from j2o_core.program import _pieces
from j2o_core.testing import NotInMemory

RNG = np.random.default_rng(0)


WEIGHT, SCALE = RNG.standard_normal((40, 12)).astype(np.float32), RNG.random(12).astype(np.float32)
WEIGHT[0, :5] = np.nan, np.inf, -np.inf, -0.0, 1.2e-38
WEIGHT[1] = 1e-38 * RNG.standard_normal(12)  # XLA takes these for 0

PROGRAMS = {
    "scale and shift": lambda w, g: w * 2 + 1,
    "scale of columns": lambda w, g: w * g,
    "scale of rows": lambda w, g: (w.T - g[:, None]).T * 3,
    "negative": lambda w, g: -(g - w),
    "transposed": lambda w, g: ((w * g).T * 3).T,
    "reshaped": lambda w, g: (w * 3).reshape(20, 24),
    "half precision": lambda w, g: (w * g).astype(jnp.bfloat16),
    "half precision first": lambda w, g: w.astype(jnp.float16) * 3,
}


def held(program, kind, weight=WEIGHT, scale=SCALE):
    leaves = {"w": kind(weight), "g": kind(scale)}
    return lambda x: x + program(leaves["w"], leaves["g"])


def operators(program):
    return Counter(node.op_type for node in program.model.graph)


def stored(program, shape):
    (value,) = [one for one in program.model.graph.initializers.values() if one.const_value.shape.numpy() == shape]
    return value.const_value


def content(program, path):
    return [Path(file).read_bytes() for file in program.save(path / "model.onnx", external_data=True)]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float64])
def test_the_bytes_are_those_of_folded_constants(export, monkeypatch, name, dtype):
    program, weight, scale = PROGRAMS[name], WEIGHT.astype(dtype), SCALE.astype(dtype)
    result = jax.eval_shape(program, jnp.asarray(weight), jnp.asarray(scale))
    spec = jax.ShapeDtypeStruct(result.shape, result.dtype)
    if (np.dtype(dtype).itemsize, name) == (2, "half precision first"):
        return  # float16 does not hold a bfloat16
    lazy = export(held(program, NotInMemory, weight, scale), [spec], target=None)
    folded = export(held(program, jnp.asarray, weight, scale), [spec], target=None)
    assert operators(lazy) == operators(folded)
    tensor, want = stored(lazy, result.shape), stored(folded, result.shape).numpy()
    assert tensor.numpy().tobytes() == want.tobytes()
    assert b"".join(_pieces.pieces(tensor)) == want.tobytes()
    monkeypatch.setattr(_pieces, "_BLOCK_BYTES", 100)
    assert b"".join(_pieces.pieces(tensor)) == want.tobytes()


def test_a_quotient_is_rounded_once(export):
    weight, scale = np.abs(WEIGHT[2:]), SCALE + 1
    program = export(held(lambda w, g: w / g, NotInMemory, weight, scale), [weight.shape])
    np.testing.assert_array_equal(stored(program, weight.shape).numpy(), weight / scale)


def test_others_give_the_bytes_of_a_new_export(export, tmp_path):
    program = PROGRAMS["transposed"]
    old = export(held(program, NotInMemory), [(40, 12)])
    weight, scale = WEIGHT[::-1] * 2, SCALE * 5
    new = export(held(program, NotInMemory, weight, scale), [(40, 12)])
    assert content(old.with_weights({"w": weight, "g": scale}), tmp_path) == content(new, tmp_path)
    assert content(old, tmp_path) != content(new, tmp_path)
    record = json.loads(stored(old, (40, 12)).metadata_props["j2o.weight"])
    assert (record["computed"], record["from"][1]["numbers"]) == ("Mul", [3.0])
    with pytest.raises(SpecError, match=r"w is float32\[12, 40\], the model has float32\[40, 12\]"):
        old.with_weights({"w": weight.T, "g": scale})
    with pytest.raises(SpecError, match=r"g is missing: float32\[12\]"):
        old.with_weights({"w": weight})


def test_a_file_that_was_read_takes_other_weights(export, tmp_path):
    program = PROGRAMS["scale and shift"]
    old = export(held(program, NotInMemory), [(40, 12)])
    old.save(tmp_path / "old.onnx")
    read = type(old).load(tmp_path / "old.onnx")
    replaced = read.with_weights({"w": WEIGHT + 1, "g": SCALE})
    np.testing.assert_array_equal(stored(replaced, (40, 12)).numpy(), (WEIGHT + 1) * 2 + 1)


def test_shapes_alone_take_their_numbers_later(export):
    program = export(held(PROGRAMS["scale of columns"], lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)), [(40, 12)])
    filled = program.with_weights({"w": WEIGHT[::-1] + 2, "g": SCALE})
    filled.verify(np.zeros((40, 12), np.float32))


def test_a_mapped_file_is_no_array_to_numpy(export, tmp_path):
    """NumPy would compute a second copy when the function is traced."""
    WEIGHT.tofile(tmp_path / "weight")
    weight = np.memmap(tmp_path / "weight", np.float32, "r", shape=WEIGHT.shape)
    program = export(lambda x: x + weight * 2, [(40, 12)])
    assert isinstance(stored(program, (40, 12)).raw, ComputedWeight)
    np.testing.assert_array_equal(stored(program, (40, 12)).numpy()[2:], WEIGHT[2:] * 2)


def test_large_constants_have_no_second_copy(export):
    weight, small = (jnp.asarray(RNG.standard_normal(shape), jnp.float32) for shape in ((600, 500), (40, 600)))

    def fn(x):
        return x @ (weight * 2 + 1), x @ (small * 2 + 1).T

    program = export(fn, [(2, 600)])
    assert operators(program) == {"MatMul": 2}
    tensor = stored(program, (600, 500))
    assert isinstance(tensor.raw, ComputedWeight)
    assert "j2o.weight" not in tensor.metadata_props
    assert "weight.computed" in program.model.graph.initializers
    np.testing.assert_array_equal(tensor.numpy(), weight * 2 + 1)
    program.verify()


LARGE = RNG.random((600, 500), np.float32)

NODES = {
    "another reader": (lambda w, g: (w * 2).sum() + w.sum(), {}),
    "another reader of the transposed one": (lambda w, g: (w.T * 2).sum() + w.sum(), {}),
    "two results": (lambda w, g: (w * 2).sum() + (w * 3).sum(), {}),
    "more than there was": (lambda w, g: (g[:, None] * g).sum(), {}),
    "not finite": (lambda w, g: (w * np.float32(np.inf)).sum(), {}),
    "a table": (lambda w, g: (w * LARGE[:40, :12].repeat(12, 1).reshape(480, 12)[:40]).sum() + (w * 1).sum(), {}),
    "kept": (lambda w, g: (w * g).sum(), {"weights": "keep"}),
    "an exponential": (lambda w, g: (jnp.exp(w)).sum(), {}),
    "wider": (lambda w, g: w.astype(jnp.int32).sum(), {}),
}


@pytest.mark.parametrize("name", NODES)
def test_what_stays_a_node(export, name):
    program, options = NODES[name]
    result = export(held(program, NotInMemory), [()], **options)
    assert not any(isinstance(one.const_value.raw, ComputedWeight) for one in result.model.graph.initializers.values())
    assert result.model.graph.initializers["w" if name != "more than there was" else "g"].const_value is not None


def test_a_product_of_two_weights_one_of_which_is_read_elsewhere_stays_a_node(export):
    program = export(held(lambda w, v: w * v + w.sum(), NotInMemory, WEIGHT[2:], WEIGHT[2:] + 1), [(38, 12)])
    assert operators(program)["Mul"] == 1
    program.verify()


def test_a_result_of_the_graph_stays_a_node(export):
    weight = NotInMemory(WEIGHT)
    program = export(lambda x: (x, weight * 2), [(2,)])
    np.testing.assert_array_equal(program(np.ones(2, np.float32))[1][2:], WEIGHT[2:] * 2)
    assert operators(program)["Mul"] == 1


def test_in_a_branch(export):
    weight = NotInMemory(WEIGHT[2:])
    program = export(lambda x, flag: jax.lax.cond(flag, lambda: x + weight * 2, lambda: x), [(38, 12), np.bool_(1)])
    x = RNG.random((38, 12), np.float32)
    np.testing.assert_array_equal(program(x, np.bool_(True)), x + WEIGHT[2:] * 2)
    assert "Mul" not in {node.op_type for node in program.model.graph.all_nodes()}
