"""The numbers are JAX's: values, shapes, dtypes, indices, bits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.testing import Spec, check

F64 = np.array([1 + 1e-12, 1e300, -1e-300, np.nan, np.inf])
I64 = np.array([2**53 + 1, -(2**62), 2**40, 0, 7])


def dtypes(program: j2o_core.OnnxProgram) -> list[str]:
    values = [*program.model.graph.inputs, *program.model.graph.outputs]
    return [str(value.dtype.numpy()) for value in values]


@pytest.mark.parametrize("x64", [False, True])
def test_64_bits_stay_64_and_32_stay_32(x64: bool) -> None:
    """Inputs, outputs, weights and what lies between have JAX's dtype, whatever `jax_enable_x64` says."""
    with jax.enable_x64(x64):
        weight = jnp.asarray(np.array([1 + 1e-12, 3.0]))
        assert weight.dtype == (np.float64 if x64 else np.float32)

        def fn(x: jax.Array, n: jax.Array) -> tuple[jax.Array, ...]:
            return x * weight[0], n + 1, x.astype(int), n.astype(float), jnp.arange(3) * n[0], x.sum()

        for wide in (np.float32, np.float64):
            for integer in (np.int32, np.int64):
                specs = Spec((4,), wide), Spec((3,), integer)
                if not x64 and (wide, integer) != (np.float32, np.int32):
                    with pytest.raises(j2o_core.SpecError, match="64-bit"):
                        j2o_core.to_onnx(fn, specs)
                    continue
                program = check(fn, *specs, opsets=(21,))
                out = jax.eval_shape(fn, *(jax.ShapeDtypeStruct(s.shape, s.dtype) for s in specs))
                assert dtypes(program)[2:] == [str(o.dtype) for o in out]


def test_64_bit_values_are_exact() -> None:
    """Digits that 32 bits do not have are there after the way through the graph and its constants."""
    with jax.enable_x64(True):
        added, kept = jnp.asarray(I64), jnp.asarray(F64)
        program = check(lambda x, n: (x + kept, n + added, n * added, x[::-1], n // 3), F64, I64, opsets=(21,))
        outputs = program(F64, I64)
        np.testing.assert_array_equal(np.asarray(outputs[1]), I64 * 2)
        assert np.asarray(outputs[0])[0] == 2 * F64[0]
        model = eqx.nn.MLP(3, 2, 4, 1, dtype=jnp.float64, key=jax.random.key(0))
        exported = check(jax.vmap(model), Spec(("B", 3), np.float64), opsets=(21,))
        weights = [v for v in exported.model.graph.initializers.values() if v.dtype.numpy().kind == "f"]
        assert weights
        assert {str(value.dtype.numpy()) for value in weights} == {"float64"}


@pytest.mark.parametrize("start", [-9, -3, -1, 0, 2, 4, 99])
def test_slices_clamp(start: int) -> None:
    """`dynamic_slice` and `dynamic_update_slice` move a window back inside."""

    def fn(x: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lax.dynamic_slice(x, (i, i), (2, 3)), lax.dynamic_update_slice(x, x[:2, :2] * 10, (i, -i))

    check(fn, Spec((4, 5)), Spec((), np.int32), args=(np.arange(20, dtype=np.float32).reshape(4, 5), np.int32(start)))


@pytest.mark.parametrize("mode", ["clip", "fill", "drop", "promise_in_bounds", "wrap", None])
def test_indices_clip_fill_or_drop_as_asked(mode: str | None) -> None:
    """Negative indices count from the end; those that are out of range do what the mode says."""
    index = np.array([0, -1, 3, 4, -4, -5, 100, -100], np.int32)
    if mode == "promise_in_bounds":
        index = index[:3]

    def fn(x: jax.Array, i: jax.Array) -> tuple[jax.Array, ...]:
        read = (
            x.at[i].get() if mode is None else x.at[i].get(mode=mode) if mode != "wrap" else jnp.take(x, i, mode=mode)
        )
        writing = None if mode == "wrap" else mode
        at = x.at[i]
        return read, at.add(1.0, mode=writing), at.max(0.5, mode=writing), at.multiply(2.0, mode=writing)

    check(fn, Spec((4,)), Spec(index.shape, np.int32), args=(np.linspace(-1, 1, 4, dtype=np.float32), index))
    if mode is None:
        check(
            lambda x, i: x[i, i], Spec((4, 4)), Spec(index.shape, np.int32), args=(np.eye(4, dtype=np.float32), index)
        )


def test_one_hot_of_what_is_out_of_range_is_zero() -> None:
    """Negative positions too: they do not count from the end."""
    index = np.array([[0, 2, -1], [3, 4, -7]], np.int32)
    program = check(lambda i: (jax.nn.one_hot(i, 3), jax.nn.one_hot(i, 3, axis=0, dtype=jnp.int8)), index)
    np.testing.assert_array_equal(program(index)[0].sum(-1), [[1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_wrap(dtype: type) -> None:
    """In sums, differences, products, powers, running sums, matrix products and reductions."""
    info = np.iinfo(dtype)
    x = np.array([info.max, info.max, info.min, info.max // 3 + 1, 3, 0], dtype)
    with jax.enable_x64(True):
        check(
            lambda x: (
                x + x,
                x - x[::-1] - 1,
                x * x,
                x**3,
                -x,
                x.sum(dtype=dtype),
                x.prod(dtype=dtype),
                x @ x,
                x.cumsum(dtype=dtype),
            ),
            x,
            opsets=(21,),
        )


def test_nan_propagates() -> None:
    """Through maximum, minimum, their reductions, sorting and pooling, wherever it stands."""
    for place in range(4):
        x = np.array([[1, -2, np.inf, -np.inf], [0, 0, 0, 0]], np.float32)
        x[0, place] = np.nan
        check(
            lambda x: (
                jnp.maximum(x[0], x[1]),
                jnp.minimum(x[0], x[1]),
                x.max(),
                x.min(1),
                jnp.clip(x, -1, 1),
                jnp.sort(x),
                jnp.argmax(x, 1),
                jax.nn.relu(x),
                jnp.cumsum(x, 1),
            ),
            x,
            opsets=(18, 21),
        )
        # Max pooling takes three times as long if it keeps NaN: that is asked for.
        pooled = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 1), "SAME")  # noqa: E731
        check(pooled, x, opsets=(18, 21), nonfinite="exact")


@pytest.mark.parametrize("target", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.bool_])
def test_floats_saturate_when_they_become_integers(target: type) -> None:
    """Numbers that are too large become the largest, NaN becomes zero, and others are truncated."""
    x = np.array([0.5, -0.5, 1.9, -1.9, 127.5, -129, 255.9, 300, 7e4, -7e4, 3e9, -3e9, 5e9, np.nan, np.inf, -np.inf])
    check(lambda x: x.astype(target), x.astype(np.float32))


def test_complex_numbers_travel_as_pairs() -> None:
    """Inside the graph and at its interface a last axis of two holds the real and the imaginary part."""
    check(lambda x: (jnp.abs(jnp.fft.rfft(x)), jnp.fft.irfft(jnp.fft.rfft(x) * 2)), ("B", 8), opsets=(21,))

    def fn(z: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        return z * x + 1j, z / (1 + jnp.abs(z)), jnp.conj(z) @ z, jnp.exp(z), z.real, jnp.angle(z), jnp.fft.fft(x)

    program = check(fn, Spec((3,), np.complex64), (3,), opsets=(21,))
    assert [list(value.shape) for value in program.model.graph.inputs] == [[3, 2], [3]]
    assert list(program.model.graph.outputs[0].shape) == [3, 2]
    z = np.array([1 + 2j, -1j, 3], np.complex64)
    np.testing.assert_array_equal(program(z, np.ones(3, np.float32))[0], [[1, 3], [0, 0], [3, 1]])
    with jax.enable_x64(True):
        check(lambda z: z * z, Spec((3,), np.complex128), opsets=(21,))


def draws(key: jax.Array) -> tuple[jax.Array, ...]:
    first, second, third, fourth, fifth = jax.random.split(key, 5)
    return (
        jax.random.bits(first, (5,)),
        jax.random.uniform(second, (2, 3)),
        jax.random.randint(third, (7,), -3, 100),
        jax.random.permutation(fourth, 6),
        jax.random.bernoulli(jax.random.fold_in(fifth, 3), 0.3, (5,)),
    )


def test_random_numbers_obey_their_key_bit_for_bit() -> None:
    """Keys that are constants, typed keys and raw ones that come at run time."""
    keys = [jax.random.key(seed) for seed in (0, 1, 123456789)]
    with jax.debug_key_reuse(False):  # the same key goes to JAX and to the graph
        typed = check(draws, keys[0], opsets=(21,))
        raw = check(lambda key: draws(jax.random.wrap_key_data(key)), Spec((2,), np.uint32), opsets=(21,))
        for key in keys:
            wanted = draws(key)
            constant = j2o_core.to_onnx(lambda x, key=key: (*draws(key), x), [()])
            words = np.asarray(jax.random.key_data(key))
            for got in (typed(key), raw(words), constant(np.float32(0))[:-1]):
                for mine, theirs in zip(got, wanted, strict=True):
                    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    assert not np.array_equal(typed(keys[0])[0], typed(keys[1])[0])


def test_a_normal_sample_follows_its_key() -> None:
    """The bits are the same, and the functions that make them normal round as usual."""
    check(lambda key: jax.random.normal(key, (4, 3)), jax.random.key(3), opsets=(21,))


def test_dead_code_is_not_lowered() -> None:
    """Unused keys, dropout in inference and results that nobody reads leave no node, and need no lowering."""

    class Net(eqx.Module):
        linear: eqx.nn.Linear
        dropout: eqx.nn.Dropout

        def __call__(self, x: jax.Array, key: jax.Array) -> jax.Array:
            first, second = jax.random.split(key)
            unused = jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), np.float32), x.sum())  # has no lowering
            del unused
            x = self.dropout(jax.nn.relu(self.linear(x)), key=first)
            return self.dropout(x, key=second)

    net = eqx.nn.inference_mode(Net(eqx.nn.Linear(3, 4, key=jax.random.key(0)), eqx.nn.Dropout(0.5)))
    program = j2o_core.to_onnx(lambda x: net(x, jax.random.key(1)), [(3,)])
    program.verify()
    assert [node.op_type for node in program.model.graph] == ["MatMul", "Add", "Relu"]
    at_run_time = j2o_core.to_onnx(net, [(3,), jax.random.key(1)])
    assert [node.op_type for node in at_run_time.model.graph] == ["MatMul", "Add", "Relu"]
    both = j2o_core.to_onnx(lambda x: jnp.linalg.svd(x)[1] * 0 + lax.top_k(x, 2)[0].sum(), [(3, 3)])
    assert "TopK" in [node.op_type for node in both.model.graph]


def test_arrays_stay_what_they_are() -> None:
    """Captured arrays are named initializers, arguments are inputs, and nothing is baked in."""
    table = jnp.arange(300, dtype=jnp.float32).reshape(100, 3)

    def fn(x: jax.Array, *, scale: jax.Array, shift: jax.Array) -> jax.Array:
        return x @ table.T * scale + shift

    program = j2o_core.to_onnx(fn, {"x": ("B", 3), "scale": jnp.ones(100), "shift": ()})
    assert sorted(program.input_names) == ["scale", "shift", "x"]
    assert [name for name in program.model.graph.initializers if "table" in name]
    x, scale = np.ones((2, 3), np.float32), np.full(100, 5, np.float32)
    for shift in (np.float32(1), np.float32(-2)):
        wanted = fn(x, scale=scale, shift=shift)
        np.testing.assert_allclose(program(x=x, scale=scale, shift=shift), wanted, rtol=1e-5)
    example = jnp.full(3, 7.0)  # an array given as a spec is no constant
    doubled = j2o_core.to_onnx(lambda x: x * 2, [example])
    np.testing.assert_array_equal(doubled(np.ones(3, np.float32)), [2, 2, 2])
