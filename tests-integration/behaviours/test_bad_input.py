"""Bad input is refused by an error that says what, where and what to do; no file is left."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import j2o_core
import j2o_plugins_jax

broken = j2o_core.Plugin("broken")


@broken.lowering("asinh", opset=19)  # newer than the right one
def _asinh(ctx: j2o_core.LoweringContext, x: object, **_: object) -> object:
    return ctx.cast(ctx.op.Asinh(x), np.int32)


def missing(x: jax.Array) -> jax.Array:
    return jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def export(fn: Callable[..., object], inputs: object, **options: object) -> j2o_core.OnnxProgram:
    return j2o_core.to_onnx(fn, inputs, plugins=[j2o_plugins_jax.plugin, broken], **options)


HERE = os.path.basename(__file__)
# The argument, the kind of error, and the words of its message.
CASES: dict[str, tuple[Callable[[Path], object], type[Exception], list[str]]] = {
    "unknown opset": (
        lambda path: export(jnp.sin, [(3,)], opset=99).save(path),
        j2o_core.SpecError,
        ["99", "18 to 26", "21 is the default"],
    ),
    "wrong spec": (
        lambda path: export(jnp.sin, [{"a": ("B", 2.5)}]).save(path),
        j2o_core.SpecError,
        ["'x.a.0' is 'B'", "Expected an array", "2.5 is no size in ('B', 2.5)"],
    ),
    "non-array output": (
        lambda path: export(lambda x: {"y": x, "note": "text"}, [(3,)]).save(path),
        j2o_core.TraceError,
        ["'text'", "note", HERE, "Return only arrays"],
    ),
    "missing primitive": (
        lambda path: export(missing, [(3,)]).save(path),
        j2o_core.UnsupportedError,
        ["pure_callback", f"{HERE}:{missing.__code__.co_firstlineno + 1}", "write their code with jax.numpy"],
    ),
    "wrong dtype of a rule": (
        lambda path: export(jnp.arcsinh, [(3,)]).save(path),
        j2o_core.LoweringError,
        ["asinh", "plugin 'broken'", "INT32", "FLOAT"],
    ),
    "folder that is missing": (
        lambda path: export(jnp.sin, [(3,)]).save(path.parent / "gone" / "m.onnx"),
        j2o_core.SaveError,
        [os.path.join("gone", "m.onnx"), "does not exist", "Create it first"],
    ),
    "folder in place of a file": (
        lambda path: export(jnp.sin, [(3,)]).save(path.parent),
        j2o_core.SaveError,
        ["it is a folder", "Give the path of the file"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_says_what_where_and_what_to_do(name: str, tmp_path: Path) -> None:
    """And nothing is left: no file, and no setting of JAX that differs."""
    run, kind, said = CASES[name]
    before = dict(jax.config.values)
    with pytest.raises(kind) as failure:
        run(tmp_path / "m.onnx")
    assert isinstance(failure.value, j2o_core.J2oError)
    text = str(failure.value)
    assert [part for part in said if part not in text] == [], text
    assert list(tmp_path.iterdir()) == []
    assert dict(jax.config.values) == before
    np.testing.assert_allclose(jax.jit(jnp.sin)(jnp.ones(3)), np.sin(np.ones(3)), rtol=1e-6)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    """The error names the file and the difference; nothing is written beside it."""
    from j2o_examples_dino import CheckpointError, load, variant

    path = tmp_path / "x.npz"
    np.savez(path, cls_token=np.zeros((1, 1, 5), np.float32))
    with pytest.raises(CheckpointError, match=r"(?s)does not fit.*missing"):
        load(path, variant("vits16"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]
