"""Odd input of every kind ends in one of our errors, which says what, where and what to do."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import J2oError, RewriteError, SaveError, SpecError, TraceError, VerifyError, to_onnx


@pytest.fixture
def program(export):
    return export(lambda x: x + 1, [("B", 3)])


@pytest.mark.parametrize("name", ["a\0b.onnx", "a\ud800b.onnx", "x" * 250 + ".onnx", None, 3])
def test_paths_that_no_file_can_have(program, tmp_path, name):
    with pytest.raises(SaveError, match="Cannot save to"):
        program.save(f"{tmp_path}/{name}" if isinstance(name, str) else name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("weights", [None, "data"])
def test_pipes_devices_and_links_to_open_files_are_not_replaced(program, tmp_path, weights):
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "stdout.onnx").symlink_to("/proc/self/fd/1")
    for name in ("pipe.onnx", "stdout.onnx"):
        with pytest.raises(SaveError, match=r"it is a device or a pipe, which a file would replace\. Give another"):
            program.save(tmp_path / name, weights=weights)
    assert (tmp_path / "pipe.onnx").is_fifo()
    assert (tmp_path / "stdout.onnx").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_data_files_are_named_in_text(program, tmp_path):
    with pytest.raises(SaveError, match="as text"):
        program.save(f"{tmp_path}/a\udc80b.onnx", weights="data")


@pytest.mark.parametrize("name", ["a\nb.onnx", "λ.onnx", b"bytes.onnx"])
def test_odd_paths(program, tmp_path, name):
    path = bytes(tmp_path) + b"/" + name if isinstance(name, bytes) else tmp_path / name
    (written,) = program.save(path)
    assert (tmp_path / (name.decode() if isinstance(name, bytes) else name)).samefile(written)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_model_can_have(export, name, tmp_path):
    with pytest.raises(SpecError, match="Expected names in Unicode"):
        export(lambda x: x + 1, [(3,)], input_names=[name])
    program = export(lambda x: {name: x + 1}, [(3,)])
    program.save(tmp_path / "m.onnx")
    np.testing.assert_array_equal(program(np.ones(3, np.float32))[name], [2, 2, 2])


@pytest.mark.parametrize("sizes", [5, "a", [1.5], [-1], None, {"B": 1.5}, {}])
def test_sizes_that_are_none(program, sizes):
    with pytest.raises(SpecError, match=r"Expected integers >= 0 in a sequence, such as sizes=\(1, 2, 5\)"):
        program.verify(sizes=sizes)


@pytest.mark.parametrize("text", ["+".join(f"a{i}" for i in range(3000)), "*".join(["a"] * 3000)], ids=["sum", "power"])
def test_a_dimension_of_thousands_of_terms(export, text):
    with pytest.raises(SpecError, match=r"too many to be read: .* Give it a name of its own"):
        export(lambda x: x + 1, [(text,)])


@pytest.mark.parametrize("text", ["(" * 3000 + "a" + ")" * 3000 + " >= 1", "a >= \0", "a"], ids=["nested", "null", "a"])
def test_constraints_that_cannot_be_read(export, text):
    with pytest.raises(SpecError, match=r"(?s)The constraint .* cannot be read: .* Expected"):
        export(lambda x: x + 1, [("a",)], constraints=[text])


@pytest.mark.parametrize("name", ["constraints", "state", "plugins", "progress"])
def test_arguments_of_another_kind(name):
    with pytest.raises(J2oError, match=rf"{name} is 5\. Expected"):
        to_onnx(lambda x: x + 1, [(3,)], **{name: 5})


def test_sizes_that_no_model_can_hold(export):
    with pytest.raises(SpecError, match=r"is not a size\. Expected an integer >= 0 that 64 bits hold"):
        export(lambda x: x + 1, [(2**63,)])


@pytest.mark.parametrize("kind", [list, dict])
def test_trees_without_end(export, kind):
    endless = kind()
    endless.append(endless) if kind is list else endless.update(a=endless)
    with pytest.raises(SpecError, match="inside each other without end"):
        export(lambda x: x, [endless])
    program = export(lambda x: x + len(endless), [(3,)])
    assert len(list(program.model.graph)) == 1


def test_arrays_deleted_before_the_export(export):
    weight = jnp.ones(3) + 1
    weight.delete()
    with pytest.raises(TraceError, match=r"closes over weight \(float32\[3\]\), an array that was deleted or donated"):
        export(lambda x: x + weight, [(3,)])


def test_arrays_deleted_after_the_export(export):
    weight = jnp.ones(3000) + 1
    program = export(lambda x: x + weight, [(3000,)])
    weight.delete()
    with pytest.raises(VerifyError, match="may have been deleted or donated"):
        program.verify()


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_tracers_of_a_surrounding_transform(export, transform):
    def outer(y):
        export(lambda x: x + y, [()])
        return y.sum()

    with pytest.raises(TraceError, match=r"closes over y .* surrounding jit, grad or vmap"):
        transform(outer)(jnp.ones(3) if transform is not jax.grad else 1.0)


@pytest.mark.parametrize("result", [3, "x", [1], (), [None, None], object()], ids=lambda value: type(value).__name__)
def test_rewrites_that_return_nonsense(export, plugin, result):
    plugin.rewrite("Add")(lambda rw, node: result)
    with pytest.raises(RewriteError, match=r"The rewrite .*lambda.* of plugin 'fake' returned"):
        export(lambda x: x + 1, [(3,)])
