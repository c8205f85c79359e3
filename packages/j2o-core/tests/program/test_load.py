"""Programs read from their files: trees, state, sizes and weights come back, and the function is not needed."""

import collections
import dataclasses
import json
import pickle
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import CheckError, OnnxProgram, SpecError, VerifyError

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


class Carry(NamedTuple):
    h: jax.Array
    rest: list


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Scale:
    by: jax.Array


def step(x, carry, *, scale, more):
    h = carry.h + jnp.sum(x * scale.by, 0)
    return {"y": h * more["b"], "carry": Carry(h, [carry.rest[0] + more["a"], None]), "scale": scale, "more": more}


SPECS = {
    "x": ("2*B", 3),
    "carry": Carry((3,), [(), None]),
    "scale": Scale(()),
    "more": collections.OrderedDict(b=(), a=()),
}
ARGUMENTS = {
    "x": np.ones((4, 3), np.float32),
    "carry": Carry(X[0], [np.float32(1), None]),
    "scale": Scale(np.float32(2)),
    "more": collections.OrderedDict(b=np.float32(3), a=np.float32(4)),
}


@pytest.fixture
def saved(export, tmp_path):
    program = export(step, SPECS, state={"carry": "carry"}, constraints=["B >= 2"])
    program.save(tmp_path / "step.onnx")
    return program, tmp_path / "step.onnx"


def test_a_loaded_program_runs_as_the_exported_one(saved):
    program, path = saved
    loaded = OnnxProgram.load(path)
    want, got = program(**ARGUMENTS), loaded(**ARGUMENTS)
    np.testing.assert_array_equal(got["y"], want["y"])
    assert type(got["carry"]).__name__ == "Carry"
    np.testing.assert_array_equal(got["carry"].h, want["carry"].h)
    assert got["carry"].rest[1] is None
    assert got["scale"].by == 2
    assert list(got["more"]) == ["b", "a"]
    assert (loaded.input_names, loaded.output_names) == (program.input_names, program.output_names)
    assert loaded.state == program.state == {"next.carry.h": "carry.h", "next.carry.rest.0": "carry.rest.0"}
    assert str(loaded) == str(program)


def test_results_of_a_loaded_program_are_arguments_again_and_can_be_pickled(saved):
    loaded = OnnxProgram.load(saved[1])
    first = loaded(**ARGUMENTS)
    again = {name: first[name] for name in ("carry", "scale", "more")}
    second = loaded(ARGUMENTS["x"], **again)
    assert second["carry"].rest[0] == 9
    copy = pickle.loads(pickle.dumps(first))
    assert type(copy["carry"]) is type(first["carry"])
    assert copy["scale"] == first["scale"]
    assert jax.tree.structure(copy) == jax.tree.structure(first)


def test_fields_of_unknown_classes_may_come_from_any_object_or_mapping(saved):
    given = {**ARGUMENTS, "scale": {"by": np.float32(2)}, "carry": {"h": X[0], "rest": (1.0, None)}}
    np.testing.assert_array_equal(OnnxProgram.load(saved[1])(**given)["y"], saved[0](**ARGUMENTS)["y"])


@pytest.mark.parametrize("outside", [False, True])
def test_saved_again_it_is_the_same_file(export, tmp_path, outside):
    table, small = np.arange(4096, dtype=np.float32), np.arange(3, dtype=np.float32)
    program = export(lambda x: (jnp.sum(x) * jnp.asarray(table), small * x), [("B", 3)])
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
    files = program.save(tmp_path / "first" / "model.onnx", external_data=outside)
    again = OnnxProgram.load(files[0]).save(tmp_path / "again" / "model.onnx", external_data=outside)
    assert [Path(file).name for file in again] == [Path(file).name for file in files]
    assert [Path(file).read_bytes() for file in again] == [Path(file).read_bytes() for file in files]


def test_a_loaded_program_is_verified_against_a_function(saved):
    loaded = OnnxProgram.load(saved[1], step, SPECS)
    assert len(loaded.verify(sizes=(2, 3)).runs) == 2
    assert type(loaded(**ARGUMENTS)["carry"]) is Carry
    OnnxProgram.load(saved[1], step).verify(sizes=(2,))  # by records with the same attributes
    wrong = OnnxProgram.load(saved[1], lambda x, carry, *, scale, more: step(x + 1, carry, scale=scale, more=more))
    with pytest.raises(VerifyError, match="Export the function"):
        wrong.verify()
    with pytest.raises(VerifyError, match=r"Give it: OnnxProgram.load\(path, fn\)"):
        OnnxProgram.load(saved[1]).verify()


def test_random_keys_complex_numbers_and_weak_types_come_back(plugin, export, tmp_path):
    plugin.encoded("random_unwrap", "key")(lambda eqn, words: words)

    def fn(z, key, scale):
        return z, jax.random.key_data(key), scale * 2

    program = export(fn, [jax.ShapeDtypeStruct(("N",), jnp.complex64), jax.random.key(0), jnp.asarray(2.0)])
    loaded = OnnxProgram.load(program.save(tmp_path / "fn.onnx")[0], fn)
    assert [leaf.dtype for leaf in loaded.traced.inputs.leaves] == [leaf.dtype for leaf in program.traced.inputs.leaves]
    assert [leaf.weak_type for leaf in loaded.traced.inputs.leaves] == [False, False, True]
    loaded.verify()


def test_weights_of_a_loaded_program_are_replaced(export, tmp_path):
    def model(weight):
        return {"proj": weight, "apply": lambda x: x @ weight}

    first, second = (model(jnp.full((3, 2), value)) for value in (1.0, 2.0))
    paths = []
    for name, one in (("first", first), ("second", second)):
        paths += export(one["apply"], [("B", 3)], weights="keep").save(tmp_path / f"{name}.onnx")
    loaded = OnnxProgram.load(paths[0])
    leaf = json.loads(next(iter(loaded.model.graph.initializers.values())).const_value.metadata_props["j2o.weight"])
    swapped = loaded.with_weights({leaf["leaf"]: np.asarray(second["proj"])})
    np.testing.assert_array_equal(swapped(X), X @ np.full((3, 2), 2.0, np.float32))
    again = swapped.save(tmp_path / "swapped.onnx")[0]
    assert Path(again).read_bytes() == Path(paths[1]).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[:, :2]}, r"'x' is float32\[2, 2\], the program takes float32\[2\*B, 3\]"),
        ({"x": np.ones((3, 3), np.float32)}, r"3 is not 2\*B for any size"),
        ({"x": np.ones((2, 3), np.float32)}, r"constraint 'B >= 2', and here B = 1"),
        ({"scale": object()}, r"'scale' has no 'by': the program takes 'by' there"),
        ({"carry": Carry(X[0], [1.0])}, r"'carry.rest' is 1 values, the program takes a list of 2"),
        ({"carry": Carry(X[0], [1.0, 2.0])}, r"'carry.rest.1' is 2.0, the program takes None"),
        ({"more": {"a": 1.0}}, r"'more' is a mapping with 'a', the program takes one with 'b', 'a'"),
        ({"more": [1.0]}, r"'more' is of type list, the program takes one with 'b', 'a'"),
        ({"other": X}, r"'other' is unknown; step takes carry, more, scale, x"),
    ],
)
def test_arguments_that_do_not_fit_are_named(saved, change, message):
    with pytest.raises(SpecError, match=message):
        OnnxProgram.load(saved[1])(**{**ARGUMENTS, **change})


def test_missing_and_repeated_arguments_are_named(saved):
    loaded = OnnxProgram.load(saved[1])
    with pytest.raises(SpecError, match="'carry' is missing; step takes carry, more, scale, x"):
        loaded(X)
    with pytest.raises(SpecError, match="'x' is given twice"):
        loaded(X, **ARGUMENTS)
    with pytest.raises(SpecError, match=r"3 arguments are given by position; step takes .*, 2 of them by position"):
        loaded(X, X, X)


def test_functions_and_specs_that_do_not_fit_are_refused(saved):
    with pytest.raises(SpecError, match="The function returns 1 arrays, the program in the file 6"):
        OnnxProgram.load(saved[1], lambda x, carry, *, scale, more: x)
    with pytest.raises(SpecError, match=r"The specs are .*float32\[B, 3\].* the program in the file takes"):
        OnnxProgram.load(saved[1], step, {**SPECS, "x": ("B", 3)})
    with pytest.raises(SpecError, match=r"OnnxProgram.load\(path, fn, inputs\)"):
        OnnxProgram.load(saved[1], None, SPECS)


def changed(path, change):
    """The file with another signature."""
    model = ir.load(path)
    text = change(model.metadata_props["j2o.signature"])
    if text is None:
        del model.metadata_props["j2o.signature"]
    else:
        model.metadata_props["j2o.signature"] = text
    ir.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: None, r"There is no entry j2o\.signature.*\nonnxruntime\.InferenceSession"),
        (lambda text: text[:100], "cannot be read: JSONDecodeError"),
        (lambda text: "[]", "cannot be read: TypeError"),
        (lambda text: text.replace('"version":1', '"version":2'), "of version 2, this reads 1. Install a newer j2o"),
        (lambda text: text.replace('"array":"x"', '"array":"y"'), "cannot be read: ValueError: a name is there twice"),
        (lambda text: text.replace('"array":"x"', '"array":"w"'), "signature others: it was changed after the export"),
        (lambda text: text.replace('"dict":', '"set":'), "cannot be read: ValueError: .* is no node"),
        (lambda text: text.replace('"float32"', '"float7"'), "of the unknown dtype float7"),
    ],
)
def test_files_of_others_and_damaged_signatures_are_refused(saved, change, message):
    with pytest.raises(SpecError, match=message):
        OnnxProgram.load(changed(saved[1], change))


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(CheckError, match="There is no file"):
        OnnxProgram.load(tmp_path / "none.onnx")
    with pytest.raises(CheckError, match=r"is a folder\. Expected an \.onnx file"):
        OnnxProgram.load(tmp_path)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(CheckError, match="is not a valid ONNX model"):
        OnnxProgram.load(tmp_path / "text.onnx")


class Checked:
    """A node that takes arrays only."""

    def __init__(self, values):
        self.values = [value.astype(np.float32) for value in values]


jax.tree_util.register_pytree_with_keys(
    Checked,
    lambda node: ([(jax.tree_util.DictKey(i), value) for i, value in enumerate(node.values)], None),
    lambda _, values: Checked(values),
)


def test_classes_that_take_arrays_only_and_leaves_without_arrays_are_described(export, tmp_path):
    def fn(x, rest):
        return Checked([x, x + rest["b"]["c"]]), collections.defaultdict(list, {"none": None, "x": x}), ()

    empty = {"a": None, "b": collections.OrderedDict(z=None, c=np.ones(3, np.float32))}
    program = export(fn, [np.ones(3, np.float32), empty])
    loaded = OnnxProgram.load(program.save(tmp_path / "fn.onnx")[0])
    first, second, third = loaded(np.zeros(3, np.float32), empty)
    assert {key: value.tolist() for key, value in first.items()} == {0: [0, 0, 0], 1: [1, 1, 1]}
    assert second == {"none": None, "x": pytest.approx(0)}
    assert third == ()
