"""Weights that are not in memory: leaves with a shape, a dtype and numbers that are read when the file is written."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import RunError, SaveError, SpecError, VerifyError
from j2o_core.program import _pieces
from j2o_core.testing import NotInMemory

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6)).astype(np.float32)


ARRAYS = {
    "proj": RNG.standard_normal((8, 6)).astype(np.float32),
    "scale": RNG.random(8).astype(np.float32),
    "packed": RNG.standard_normal((3, 8)).astype(np.float32),
    "order": np.array([3, 0, 1, 2, 7, 6, 5, 4], np.int32),
}


def apply(params, x):
    y = jnp.sin(x @ params["proj"].T) * params["scale"]
    return y @ params["packed"].T, y + params["order"].astype(jnp.float32)


def held(kind, arrays=ARRAYS):
    """The parameters as one kind of leaves."""
    return {name: kind(array) for name, array in arrays.items()}


def abstract(array):
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def content(program, path):
    return [Path(file).read_bytes() for file in program.save(path / "model.onnx")]


def test_their_numbers_are_read_when_the_file_is_written(export, tmp_path):
    params = held(NotInMemory)
    program = export(functools.partial(apply, params), [("B", 6)])
    assert {name: params[name].reads for name in params} == {"proj": 0, "scale": 0, "packed": 0, "order": 1}
    assert not any(node.op_type == "Transpose" for node in program.model.graph)
    kept = export(functools.partial(apply, held(jnp.asarray)), [("B", 6)], weights="keep")
    assert content(program, tmp_path) == content(kept, tmp_path)
    program.verify(X)


params = held(NotInMemory)


@jax.jit
def with_globals(x):
    return apply(params, x)


class Model:
    """A pytree with a method."""

    def __init__(self, params):
        self.params = params

    def __call__(self, x):
        return apply(self.params, x)

    def forward(self, x):
        return self(x)


jax.tree_util.register_pytree_with_keys(
    Model, lambda m: ([(jax.tree_util.GetAttrKey("params"), m.params)], None), lambda _, children: Model(*children)
)


def _in_lambda(x):
    return jax.vmap(lambda row: apply(params, row))(x)


def _by_default(x, *, scale=1.0, params=params):
    return apply(params, x * scale)


def _recursive(x, depth=2):
    return apply(params, x) if depth == 0 else _recursive(x, 0)


@pytest.mark.parametrize(
    "fn",
    [
        with_globals,
        Model(params),
        Model(params).forward,
        jax.jit(Model(params)),
        jax.vmap(Model(params)),
        jax.jit(jax.vmap(lambda x: Model(params)(x))),
        functools.partial(lambda p, x, *, q: apply({**p, **q}, x), {"proj": params["proj"]}, q=params),
        _by_default,
        _in_lambda,
    ],
    ids=["globals", "model", "method", "jit", "vmap", "closure", "partial", "default", "lambda"],
)
def test_wherever_a_function_holds_them(export, fn):
    program = export(fn, [("B", 6)])
    for found, wanted in zip(program(X), apply(ARRAYS, X), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    names = {name for name in program.model.graph.initializers if name.endswith(("proj", "scale", "packed"))}
    assert len(names) == 3
    program.verify(X)


def test_the_function_itself_stays_as_it_is(export):
    closure = with_globals.__wrapped__.__globals__
    export(with_globals, [("B", 6)])
    assert with_globals.__wrapped__.__globals__ is closure
    assert params["proj"] is closure["params"]["proj"]


def test_a_wider_leaf_is_cast_as_jax_casts_it(export, tmp_path, monkeypatch):
    monkeypatch.setattr(_pieces, "_BLOCK_BYTES", 64)
    wide = RNG.standard_normal((6, 5))
    program = export(lambda p, x: x @ p, [(6, 5), (2, 6)])  # the same product without a weight
    assert len(program.model.graph.initializers) == 0
    record = NotInMemory(wide)
    program = export(lambda x: x @ record, [(2, 6)])
    (tensor,) = (value.const_value for value in program.model.graph.initializers.values())
    assert b"".join(_pieces.pieces(tensor)) == wide.astype(np.float32).tobytes()
    assert json.loads(tensor.metadata_props["j2o.weight"]) == {"leaf": "record", "dtype": "float64"}
    np.testing.assert_allclose(program(X), X @ wide.astype(np.float32), rtol=1e-5)


def test_shapes_alone_make_the_graph_and_values_come_later(export, tmp_path):
    program = export(Model(held(abstract)), [("B", 6)])
    program.check()
    assert "params.proj" in program.model.graph.initializers
    for action, error in ((lambda: program.save(tmp_path / "m.onnx"), SaveError), (lambda: program(X), RunError)):
        with pytest.raises(
            error, match=r"4 of its weights have no values, params.*exported from shapes alone.*\n.*with_"
        ):
            action()
    assert not list(tmp_path.iterdir())
    with pytest.raises(VerifyError, match="weights without values"):
        program.verify(X)
    filled = program.with_weights(Model(held(jnp.asarray)))
    for found, wanted in zip(filled(X), apply(ARRAYS, X), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    filled.verify(X)
    lazy = program.with_weights(Model(held(NotInMemory)))
    assert content(lazy, tmp_path) == content(filled, tmp_path)
    with pytest.raises(SpecError, match=r"params.proj is missing"):
        program.with_weights({"params.scale": ARRAYS["scale"]})


def test_shapes_alone_give_the_bytes_of_the_concrete_export(export, tmp_path):
    floats = {name: array for name, array in ARRAYS.items() if name != "order"}
    order = {"order": jnp.asarray(ARRAYS["order"])}  # integers may decide about a graph
    shapes = export(functools.partial(apply, held(abstract, floats) | order), [("B", 6)], weights="keep")
    concrete = export(functools.partial(apply, held(jnp.asarray)), [("B", 6)], weights="keep")
    assert content(shapes.with_weights(ARRAYS), tmp_path) == content(concrete, tmp_path)


def test_shapes_with_weights_by_their_paths_are_verified(export):
    def fn(params, x):
        assert all(isinstance(leaf, jax.Array) for leaf in params.values())  # as in the user's own runs
        return jnp.sin(x @ params["proj"].T) * params["scale"]

    weights = {name: ARRAYS[name] for name in ("proj", "scale")}
    program = export(functools.partial(fn, held(abstract, weights)), [("B", 6)])
    program.with_weights(weights).verify(X)
    other = program.with_weights(weights | {"scale": weights["scale"] + 1})
    mixed = program.with_weights(weights)
    mixed.model.graph.initializers.update(other.model.graph.initializers)
    with pytest.raises(VerifyError):
        mixed.verify(X)
    partly = held(abstract, weights) | {"scale": jnp.asarray(weights["scale"])}
    program = export(functools.partial(fn, partly), [("B", 6)], weights="keep")
    with pytest.raises(VerifyError, match="other weights than the function"):
        program.with_weights(weights).verify(X)


def test_objects_of_other_libraries_are_left_to_jax(export):
    class Foreign:
        shape, dtype = (6, 2), "no such dtype"

        def __jax_array__(self):
            return jnp.ones((6, 2))

    foreign = Foreign()
    np.testing.assert_allclose(
        export(lambda x: jnp.sin(x @ jnp.asarray(foreign)), [(2, 6)])(X), np.sin(X @ np.ones((6, 2))), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(70, 33), (3, 65, 5), (0, 40), (40, 1)])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.bool_])
def test_the_pieces_of_a_transposed_array_are_its_bytes_in_order(shape, dtype):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype).T
    assert (
        b"".join(_pieces.pieces(ir.Tensor(array, dtype=ir.DataType.from_numpy(array.dtype))))
        == np.ascontiguousarray(array).tobytes()
    )
