import asyncio
import collections
import dataclasses
import pickle
import subprocess
import sys
import threading
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx
import pytest

from j2o_runtime import ArgumentError, FileError, Record, RunError, Runner

from .conftest import array, model

X = np.arange(12, dtype=np.float32).reshape(4, 3)


class Carry(NamedTuple):
    h: Any
    rest: Any


@dataclasses.dataclass
class Scale:
    by: Any
    mode: str = "fast"


START = Carry(np.zeros(3, np.float32), [np.float32(0), None])


def test_a_runner_takes_and_returns_trees(total):
    result = Runner(total)(X, START, scale=Scale(2.0))
    np.testing.assert_array_equal(result["carry"].h, 2 * X.sum(0))
    np.testing.assert_array_equal(result["y"], X - 2 * X.sum(0))
    assert result["carry"]._fields == ("h", "rest")
    assert result["carry"].rest == [1, None]


def test_results_are_arguments_again(total):
    runner = Runner(total)
    first = runner(X, START, scale={"by": 1})
    second = runner(X, carry=first["carry"], scale={"by": np.float64(1)})
    np.testing.assert_array_equal(second["carry"].h, 2 * X.sum(0))
    copy = pickle.loads(pickle.dumps(second))
    assert type(copy["carry"]) is type(second["carry"])


def test_nodes_and_ordered_mappings_come_back_with_their_names():
    text = "(float x) => (float a, float b, float c) { a = Neg(x) b = Abs(x) c = Exp(x) }"
    node = {"node": "Layer", "fields": [["w", array("a")], ["size", {"fixed": 3}]]}
    results = {"tuple": [node, {"dict": [["z", array("b")], ["a", array("c")]]}, {"list": []}, None]}
    layer, ordered, empty, nothing = Runner(model(text, [["x", array("x")]], results))(0.0)
    assert isinstance(layer, Record)
    assert (layer.w, layer.size) == (0, 3)
    assert repr(layer).startswith("Layer(w=")
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert isinstance(ordered, collections.OrderedDict)
    assert list(ordered) == ["z", "a"]
    assert (empty, nothing) == ([], None)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((X[:, :2], START), {"scale": Scale(1)}, r"'x' is float32\[4, 2\], the program takes float32\[2\*B, 3\]"),
        ((X[:3], START), {"scale": Scale(1)}, r"'x' is float32\[3, 3\].*: 3 is not 2\*B for any size"),
        ((np.ones((18, 3)), START), {"scale": Scale(1)}, r"with the constraint B <= 8, and here B = 9"),
        ((X.astype(int), START), {"scale": Scale(1)}, r"'x' is int64\[4, 3\].* Convert it"),
        ((np.ma.masked_array(X, X > 0), START), {"scale": Scale(1)}, "'x' is a masked array"),
        ((X, START), {"scale": Scale(1j)}, r"'scale' is the number 1j, the program takes float32\[\]"),
        ((X, START), {"scale": Scale(1, "slow")}, r"'scale.mode' is 'slow', and was 'fast' at export"),
        ((X, START), {"scale": 1.0}, r"'scale' has no 'by': the program takes 'by', 'mode' there"),
        ((X, START), {}, r"'scale' is missing; f takes carry, scale, x"),
        ((X, START, 1), {}, r"3 arguments are given by position; f takes carry, scale, x, 2 of them by position"),
        ((X, (1, 2)), {"scale": Scale(1)}, r"'carry' has no 'h'"),
        ((X, Carry(X[0], [1])), {"scale": Scale(1)}, r"'carry.rest' is 1 values, the program takes a list of 2"),
        ((X, Carry(X[0], [None, None])), {"scale": Scale(1)}, r"'carry.rest.0' is None, the program takes float32\[\]"),
        ((X, START), {"scale": Scale(1), "y": 1}, r"'y' is unknown; f takes carry, scale, x"),
    ],
)
def test_arguments_that_do_not_fit_are_named(total, args, kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        Runner(total)(*args, **kwargs)


def test_equal_names_are_equal_sizes():
    text = "(float[N] a, float[N] b) => (float[N] c) { c = Add(a, b) }"
    runner = Runner(model(text, [["a", array("a", "N")], ["b", array("b", "N")]], array("c", "N")))
    with pytest.raises(ArgumentError, match=r"'b' is float32\[1\], .*: N is 6 by the other sizes \(N = 6\), not 1"):
        runner(np.ones(6), np.ones(1))


@pytest.mark.parametrize("size", ["N//2", "max(N, 3)", "floordiv(N, 2)", "mod(N, 4)", "N*N - 1", "N%4 + 1"])
def test_sizes_are_expressions(size):
    text = "(float[N] a, float[X] b) => (float[N] c) { s = ReduceSum(b) c = Add(a, s) }"
    runner = Runner(model(text, [["a", array("a", "N")], ["b", array("b", size)]], array("c", "N")))
    names = {"N": 6, "max": max, "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b}
    expected = eval(size, names)
    assert runner(np.ones(6), np.ones(expected))[0] == expected + 1
    with pytest.raises(ArgumentError, match=rf"is {expected} by the other sizes"):
        runner(np.ones(6), np.ones(expected + 1))


def test_complex_numbers_are_complex_and_keys_are_words():
    text = "(uint32[2] k, float[N, 2] z) => (float[N, 2] w, uint32[2] q) { w = Add(z, z) q = Identity(k) }"
    key, z = array("k", 2, dtype="uint32", of="key<threefry2x32>"), array("z", "N", 2, of="complex64")
    results = {"tuple": [array("w", "N", 2, of="complex64"), array("q", 2, dtype="uint32", of=key["of"])]}
    runner = Runner(model(text, [["key", key], ["z", z]], results))
    given = np.array([1 + 2j, 3j], np.complex64)
    doubled, words = runner(np.array([7, 8], np.uint32), given)
    assert doubled.dtype == np.complex64
    np.testing.assert_array_equal(doubled, 2 * given)
    assert words.tolist() == [7, 8]
    with pytest.raises(ArgumentError, match=r"'k' is float64\[\], the program takes key<threefry2x32>\[\]"):
        runner(np.float64(1), given)
    with pytest.raises(ArgumentError, match="'k' is the number 1"):
        runner(1, given)


def test_narrow_floats_pass_as_they_are():
    text = "(bfloat16[N] x) => (bfloat16[N] y) { y = Identity(x) }"
    wanted = array("x", "N", dtype="bfloat16")
    runner = Runner(model(text, [["x", wanted]], array("y", "N", dtype="bfloat16")))
    for count in (3, 0):
        given = np.arange(count).astype(ml_dtypes.bfloat16)
        got = runner(given)
        assert got.dtype == given.dtype
        np.testing.assert_array_equal(got, given)


@pytest.mark.parametrize(("value", "fits"), [(2**31 - 1, True), (2**31, False), (np.int64(2**31), False), (True, True)])
def test_integers_that_a_narrower_dtype_does_not_hold_are_refused(value, fits):
    text = "(int32 x) => (int32 y) { y = Identity(x) }"
    runner = Runner(model(text, [["x", array("x", dtype="int32")]], array("y", dtype="int32")))
    if fits:
        assert runner(value) == value
    else:
        with pytest.raises(ArgumentError, match=r"'x' (is 2147483648, the program takes|has integers that int32)"):
            runner(value)


def test_files_of_others_are_refused(tmp_path, total):
    with pytest.raises(FileError, match="There is no file"):
        Runner(tmp_path / "none.onnx")
    with pytest.raises(FileError, match=r"is a folder\. Expected an \.onnx file"):
        Runner(tmp_path)
    with pytest.raises(FileError, match=r"The model is refused by ONNX Runtime \d"):
        Runner(b"no model")
    made = onnx.load_from_string(total)
    entry = made.metadata_props[0]
    for text, message in (
        (entry.value.replace('"h"', '"other"'), "was changed after the export|cannot be read"),
        (entry.value.replace('"version": 1', '"version": 9'), "of version 9, this reads 1"),
        ("{}", "cannot be read: KeyError"),
    ):
        entry.value = text
        with pytest.raises(FileError, match=message):
            Runner(made.SerializeToString())
    del made.metadata_props[:]
    with pytest.raises(FileError, match=r"no entry j2o\.signature in its metadata"):
        Runner(made.SerializeToString())
    with pytest.raises(FileError, match=r"has no TurboProvider. It has .*CPUExecutionProvider"):
        Runner(total, providers=["TurboProvider"])


def test_failures_of_the_runtime_say_the_shapes():
    text = "(float[N] x, float[M] y) => (float[K] z) { z = Add(x, y) }"
    runner = Runner(model(text, [["x", array("x", "N")], ["y", array("y", "M")]], array("z", "K")))
    with pytest.raises(RunError, match=r"ONNX Runtime failed on x \[2\], y \[3\]"):
        runner(np.ones(2), np.ones(3))


def test_large_batches_run_in_pieces(rows):
    runner, table, x = Runner(rows), np.ones((3, 2)), np.random.default_rng(0).random((10, 3))
    for batch in (1, 3, 10, 64):
        for got, want in zip(runner.map(table, x, batch=batch), runner(table, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
    assert runner.map(table, x[:0], batch=4)[0].shape == (0, 2)


def test_pieces_need_a_batch(rows, total):
    runner = Runner(rows)
    with pytest.raises(ArgumentError, match=r"batch is 0. Expected the number of rows"):
        runner.map(np.ones((3, 2)), X, batch=0)
    with pytest.raises(ArgumentError, match=r"has no batch: .* these are 2\*B"):
        Runner(total).map(X, START, scale=Scale(1), batch=2)
    summed = model(
        "(float[N, 3] x) => (float[3] y) { a = Constant<value = int64[1] {0}>() y = ReduceSum<keepdims = 0>(x, a) }",
        [["x", array("x", "N", 3)]],
        array("y", 3),
    )
    with pytest.raises(ArgumentError, match=r"result 'y' is float32\[3\]: the batch N must be its first size"):
        Runner(summed).map(X, batch=2)
    square = model(
        "(float[N, N] x) => (float[N, N] y) { y = Neg(x) }", [["x", array("x", "N", "N")]], array("y", "N", "N")
    )
    with pytest.raises(ArgumentError, match=r"input 'x' is float32\[N, N\]: the batch N must be its first size"):
        Runner(square).map(X[:3], batch=2)


def test_calls_are_awaited(rows):
    runner = Runner(rows)

    async def both():
        return await asyncio.gather(*(runner.call_async(np.ones((3, 2)), X * i) for i in range(4)))

    for i, (_, z) in enumerate(asyncio.run(both())):
        np.testing.assert_array_equal(z, -X * i)


def test_runners_are_pickled_by_bytes_or_path(tmp_path, rows):
    (tmp_path / "rows.onnx").write_bytes(rows)
    for given in (rows, tmp_path / "rows.onnx"):
        runner = Runner(given, threads=1)
        copy = pickle.loads(pickle.dumps(runner))
        np.testing.assert_array_equal(copy(np.ones((3, 2)), X)[0], runner(np.ones((3, 2)), X)[0])
        assert repr(copy) == "<Runner f(table: float32[3, 2], x: float32[N, 3]) -> y: float32[N, 2], z: float32[N, 3]>"


def test_state_is_kept_between_calls(total):
    start = np.zeros(3, np.float32)
    steps = Runner(total).steps(carry=Carry(start, [0.0, None]))
    assert steps.state["carry"].h is start
    first = steps(X, scale=Scale(1))
    start += 100  # the state is a copy
    second = steps(x=X, scale=Scale(1))
    np.testing.assert_array_equal(first["y"], X - X.sum(0))
    np.testing.assert_array_equal(second["y"], X - 2 * X.sum(0))
    assert first["carry"] == (None, [None, None])
    np.testing.assert_array_equal(steps.state["carry"].h, 2 * X.sum(0))
    assert steps.state["carry"].rest == [2, None]


def test_state_is_checked(total, rows):
    runner = Runner(total)
    steps = runner.steps(carry=START)
    with pytest.raises(ArgumentError, match="'carry' is state, which is kept"):
        steps(X, carry=START, scale=Scale(1))
    with pytest.raises(ArgumentError, match="2 arguments are given by position; those that are no state are x"):
        steps(X, START, scale=Scale(1))
    with pytest.raises(ArgumentError, match="'x' is given twice"):
        steps(X, x=X, scale=Scale(1))
    with pytest.raises(ArgumentError, match=r"The state of f is carry: .* given are none"):
        runner.steps()
    with pytest.raises(ArgumentError, match=r"'carry_h' is float32\[2\], the program takes float32\[3\]"):
        runner.steps(carry=Carry(np.zeros(2, np.float32), [0.0, None]))(X, scale=Scale(1))
    with pytest.raises(ArgumentError, match="f has no state"):
        Runner(rows).steps()


def test_a_call_that_fails_leaves_the_state(total):
    steps = Runner(total).steps(carry=START)
    steps(X, scale=Scale(1))
    with pytest.raises(ArgumentError):
        steps(X[:, :1], scale=Scale(1))
    np.testing.assert_array_equal(steps.state["carry"].h, X.sum(0))


def test_steps_of_several_threads_follow_each_other(total):
    steps = Runner(total, threads=1).steps(carry=START)
    threads = [threading.Thread(target=lambda: [steps(X, scale=Scale(1)) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps.state["carry"].rest[0] == 80


def test_the_import_brings_neither_jax_nor_onnx():
    code = (
        "import numpy, onnxruntime, sys; before = set(sys.modules); import j2o_runtime; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "onnx", "ml_dtypes", "asyncio", "j2o_core"} & set(eval(done.stdout))
