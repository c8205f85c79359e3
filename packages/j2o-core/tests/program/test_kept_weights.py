"""Weights that are kept: the graph does not depend on their values, and others take their place without an export."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import SpecError, VerifyError, read_safetensors
from j2o_core.trace._memory import file_map

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3)).astype(np.float32)


class Model:
    """A model whose scale of ones and bias of zeros are weights like all others."""

    def __init__(self, seed=None):
        rng = np.random.default_rng(seed)

        def array(shape, value):
            return jnp.full(shape, value, jnp.float32) if seed is None else jnp.asarray(rng.random(shape), jnp.float32)

        self.proj, self.scale, self.bias = array((4, 3), 1.0), array((4,), 1.0), array((4,), 0.0)
        self.unused = array((2,), 0.0)
        self.rows = jnp.arange(4, dtype=jnp.int32)

    def __call__(self, x):
        y = (x @ self.proj.T) * self.scale + self.bias
        return jnp.sin(y) + self.rows.astype(jnp.float32)


jax.tree_util.register_pytree_with_keys(
    Model,
    lambda m: ([(jax.tree_util.GetAttrKey(k), v) for k, v in vars(m).items()], tuple(vars(m))),
    lambda names, values: _filled(names, values),
)


def _filled(names, values):
    model = object.__new__(Model)
    vars(model).update(zip(names, values, strict=True))
    return model


def content(program, path):
    return [Path(file).read_bytes() for file in program.save(path / "model.onnx")]


def stored(program):
    """The leaves that a file holds, each put back into its own shape."""
    found = {}
    for value in program.model.graph.initializers.values():
        record = json.loads(value.const_value.metadata_props.get("j2o.weight", "{}"))
        if not record:
            continue
        array = value.const_value.numpy()
        if "of" in record:
            whole = np.zeros(record["of"], array.dtype)
            strides = [step * array.itemsize for step in record["strides"]]
            flat = whole.reshape(-1)[record["first"] :]
            np.lib.stride_tricks.as_strided(flat, array.shape, strides)[...] = array
            array = whole
        found[record["leaf"]] = array
    return found


@pytest.mark.parametrize("seed", [None, 1])
def test_every_leaf_is_an_initializer_whatever_its_values_are(export, seed):
    model = Model(seed)
    program = export(model, [("B", 3)], weights="keep")
    found = stored(program)
    assert found.keys() == {"proj", "scale", "bias"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, getattr(model, name))
    assert not any(node.op_type == "Transpose" for node in program.model.graph)  # stored as they are read
    program.verify(X)


def test_other_weights_are_the_bytes_of_a_new_export(export, tmp_path):
    old, new = (export(Model(seed), [("B", 3)], weights="keep") for seed in (None, 1))
    replaced = old.with_weights(Model(1))
    assert content(replaced, tmp_path) == content(new, tmp_path)
    assert content(old, tmp_path) != content(new, tmp_path)  # the program itself stays as it is
    np.testing.assert_allclose(replaced(X), Model(1)(X), rtol=1e-6, atol=1e-6)  # one of the sines is of almost 0
    replaced.verify()


def test_weights_may_be_a_flat_dictionary(export, tmp_path):
    model = Model(1)
    program = export(Model(), [("B", 3)], weights="keep")
    given = {name: np.asarray(getattr(model, name)) for name in ("proj", "scale", "bias")}
    replaced = program.with_weights(given)
    assert content(replaced, tmp_path) == content(program.with_weights(model), tmp_path)
    with pytest.raises(VerifyError, match="other weights than the function it was exported from"):
        replaced.verify()


def wrong(**changes):
    model = Model(1)
    vars(model).update(changes)
    return model


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (wrong(scale=jnp.ones(5)), r"scale is float32\[5\], the model has float32\[4\]"),
        (wrong(scale=np.ones(4)), r"scale is float64\[4\], the model has float32\[4\]"),
        (wrong(rows=jnp.arange(4)[::-1]), "rows has another value than at export, and is fixed in the graph"),
        (wrong(extra=jnp.ones(1)), "extra is none of the model's weights"),
        ({"scale": np.ones(4, np.float32)}, r"proj is missing: float32\[4, 3\]"),
    ],
)
def test_weights_that_do_not_fit(export, tree, message):
    program = export(Model(), [("B", 3)], weights="keep")
    with pytest.raises(SpecError, match=f"(?s)These weights do not fit the model:.*{message}"):
        program.with_weights(tree)


def test_weights_in_one_array_stay_one(export):
    shared = jnp.asarray(RNG.random((3, 3)), jnp.float32)
    weights = {"embed": shared, "head": shared}

    def fn(x):
        return jnp.sin(x @ weights["embed"]) @ weights["head"].T

    program = export(fn, [("B", 3)], weights="keep")
    assert stored(program).keys() == {"embed"}
    one = np.ones((3, 3), np.float32)
    np.testing.assert_allclose(program.with_weights({"embed": one, "head": one})(X), np.sin(X @ one) @ one, rtol=1e-5)
    with pytest.raises(SpecError, match="head differs from embed: in the model the two are one weight"):
        program.with_weights({"embed": one, "head": one * 2})


def test_weights_inside_of_branches(export, tmp_path):
    def fn(weight):
        return lambda x, flag: jax.lax.cond(flag, lambda: x * weight["scale"], lambda: jnp.sin(x))

    old, new = ({"scale": jnp.full(3, value)} for value in (1.0, 2.0))
    specs = [(2, 3), np.asarray(True)]
    replaced = export(fn(old), specs, weights="keep").with_weights(new)
    assert content(replaced, tmp_path) == content(export(fn(new), specs, weights="keep"), tmp_path)


def test_small_arrays_behind_stop_gradient_are_buffers(export):
    """The graph may depend on their values; the same array read elsewhere, or a large one, is a weight."""

    def fn(leaves):
        stop = jax.lax.stop_gradient
        inner = jax.jit(lambda x, period: x * jnp.sin(stop(period)))

        def call(x):
            y = inner(x, leaves["period"]) + stop(leaves["shared"]) * leaves["shared"]
            return y @ stop(leaves["frozen"]), stop(leaves["alone"])

        return call

    period, shared = jnp.arange(3.0), jnp.ones(3)
    leaves = {"period": period, "shared": shared, "frozen": jnp.ones((3, 8192)), "alone": jnp.ones(2)}
    program = export(fn(leaves), [("B", 3)], weights="keep")
    assert stored(program).keys() == {"shared", "frozen"}
    assert "Sin" not in {node.op_type for node in program.model.graph}
    program.verify()
    other = {**leaves, "shared": shared * 2}
    np.testing.assert_allclose(program.with_weights(other)(X)[0], fn(other)(X)[0], rtol=1e-5)
    with pytest.raises(SpecError, match="period has another value than at export, and is fixed in the graph"):
        program.with_weights({**leaves, "period": period + 1})


def test_folded_weights_cannot_be_replaced(export):
    with pytest.raises(SpecError, match='Export with weights="keep"'):
        export(Model(), [("B", 3)]).with_weights(Model(1))


@pytest.mark.parametrize("path", ["weights.safetensors", Path("weights.safetensors")])
def test_the_path_of_a_file_is_no_weights(export, path):
    program = export(Model(), [("B", 3)], weights="keep")
    with pytest.raises(SpecError, match=r"weights are 'weights.safetensors'(?s:.*)read_safetensors"):
        program.with_weights(path)
    with pytest.raises(SpecError, match=r"weights is 'all'. Expected \"fold\""):
        export(Model(), [("B", 3)], weights="all")


def test_safetensors_are_read_from_the_file(export, tmp_path):
    program = export(Model(1), [("B", 3)], weights="keep")
    (_, file) = program.save(tmp_path / "m.onnx", weights="safetensors")
    arrays = read_safetensors(file)
    assert all(isinstance(array.base, np.memmap) or isinstance(array, np.memmap) for array in arrays.values())
    for name, array in arrays.items():
        tensor: ir.TensorProtocol = program.model.graph.initializers[name].const_value
        np.testing.assert_array_equal(array, tensor.numpy())


def sharded(folder, arrays, **weight_map):
    """A file of safetensors for each array, and the index that says which is in which."""
    for number, (name, array) in enumerate(arrays.items()):
        header = json.dumps({name: {"dtype": "F32", "shape": array.shape, "data_offsets": [0, array.nbytes]}}).encode()
        content = len(header).to_bytes(8, "little") + header + array.tobytes()
        (folder / f"{number}.safetensors").write_bytes(content)
        weight_map.setdefault(name, f"{number}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_files_of_safetensors_are_read_by_their_index(tmp_path):
    arrays = {"a": RNG.random((400, 3), np.float32), "b": RNG.random((2, 500), np.float32)}
    index = sharded(tmp_path, arrays)
    for path in (index, tmp_path):
        found = read_safetensors(path)
        assert sorted(found) == ["a", "b"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert file_map(found[name]) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.safetensors", "names '../secret.safetensors'. Expected the name of a file beside it"),
        ("none.safetensors", "none.safetensors cannot be read: No such file"),
        ("1.safetensors", "names 'a' in 1.safetensors, which the file does not have"),
        (7, "is no index of safetensors files, or damaged"),
    ],
)
def test_an_index_that_names_what_is_not_there(tmp_path, name, message):
    arrays = {"a": RNG.random((400, 3), np.float32), "b": RNG.random((2, 500), np.float32)}
    with pytest.raises(SpecError, match=re.escape(message)):
        read_safetensors(sharded(tmp_path, arrays, a=name))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff" * 8,
        (10).to_bytes(8, "little") + b"{",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (69).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}    ',
        (66).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}     ',
        (66).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}     ' + b"0" * 9,
    ],
)
def test_what_is_no_safetensors_file(tmp_path, damage):
    (tmp_path / "w.safetensors").write_bytes(damage)
    with pytest.raises(SpecError, match=r"w\.safetensors is no safetensors file"):
        read_safetensors(tmp_path / "w.safetensors")
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_safetensors(tmp_path / "none.safetensors")


MODEL = Model(1)


def _mapped(x):
    return jax.vmap(lambda row: MODEL(row))(x)


def test_a_model_that_only_a_function_inside_reads_is_kept(export):
    program = export(_mapped, [("B", 3)], weights="keep")
    assert stored(program).keys() == {"proj", "scale", "bias"}
    np.testing.assert_allclose(program.with_weights(Model(2))(X), Model(2)(X), rtol=1e-5, atol=1e-6)


def test_a_weight_with_which_numpy_computed_is_fixed(export):
    """The graph has the result alone: another weight would change nothing."""
    weight = RNG.random((3, 4), np.float32)
    program = export(lambda x: x @ (weight * 2), [("B", 3)], weights="keep")
    np.testing.assert_array_equal(program.with_weights({"weight": weight})(X), program(X))
    with pytest.raises(SpecError, match="weight has another value than at export, and is fixed in the graph"):
        program.with_weights({"weight": weight + 1})
