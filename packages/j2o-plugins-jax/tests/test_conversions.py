"""Conversions between dtypes, out-of-range values included."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core import LegalizeError, to_onnx
from j2o_core.testing import DTYPES, Spec, check

FLOATS = (*DTYPES.floats, np.float64)
INTEGERS = (*DTYPES.integers, np.int64, np.uint64)
NARROW = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)


def _to(*dtypes):
    return lambda x: [lax.convert_element_type(x, dtype) for dtype in dtypes]


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_to_integer_saturates(x64, extremes, dtype):
    bounds = [float(2**k) for k in (7, 8, 15, 16, 31, 32, 63, 64)]
    edges = np.array([s * b * f for b in bounds for s in (1, -1) for f in (1, 0.99, 1.01)])
    with np.errstate(over="ignore"):
        x = np.concatenate([extremes(dtype), edges.astype(dtype), np.array([2.9, -2.9, -0.5], dtype)])
    check(_to(*INTEGERS), x, opsets=(21,))


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_integer_to_anything(x64, extremes, dtype):
    check(_to(*INTEGERS, np.bool_, *FLOATS), extremes(dtype), opsets=(21,), atol=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_to_float_and_bool(x64, extremes, dtype):
    with np.errstate(over="ignore"):
        check(_to(*FLOATS, np.bool_), extremes(dtype), opsets=(21,), atol=0)


@pytest.mark.parametrize("narrow", NARROW)
def test_float8(extremes, narrow):
    x = extremes(np.float32)
    # Opset 19 brought the type.
    check(lambda x: lax.convert_element_type(lax.convert_element_type(x, narrow), np.float32), x, opsets=(19, 26))


NARROWEST = {  # by the opset that brought the type
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"), 19),
    **dict.fromkeys(("int4", "uint4"), 21),
    "float8_e8m0fnu": 24,
    **dict.fromkeys(("int2", "uint2"), 25),
    **dict.fromkeys(("bfloat16", "float16"), 18),
}


def every(name):
    """Every value of a type of up to 16 bits."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    if "int" in name:
        info = ml_dtypes.iinfo(dtype)
        return np.arange(int(info.min), int(info.max) + 1).astype(dtype)
    return np.arange(1 << 8 * dtype.itemsize, dtype=f"uint{8 * dtype.itemsize}").view(dtype)


def middles(name):
    """The values of a type, the numbers in the middle of two, and numbers next to these, in float64."""
    with np.errstate(invalid="ignore"):
        known = every(name).astype(np.float64)
    known = np.unique(known[np.isfinite(known)])
    last = known[-1] + (known[-1] - known[-2]) / 2
    exact = np.concatenate([known, (known[1:] + known[:-1]) / 2, [last, -last]])
    return np.concatenate([exact, exact * (1 + 2**-40), exact * (1 - 2**-40), [np.nan, np.inf, -np.inf, -0.0, 1e300]])


# XLA of jaxlib 0.10 rounds twice on its way to eight bits where it is told to spare effort, as the tests' settings do.
OLD = tuple(int(part) for part in jax.__version__.split(".")[:2]) < (0, 12)
EFFORT = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True} if OLD else {}


def same(name, x, opset):
    """Compares values and the signs of zeros."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))

    def fn(x):
        return lax.convert_element_type(x, dtype)

    program = j2o_core.to_onnx(fn, [x], opset=opset)
    reference = jax.jit(fn, compiler_options=EFFORT)
    with np.errstate(invalid="ignore"):
        wanted, got = (np.asarray(result).astype(np.float64) for result in (reference(x), program(x)))
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.signbit(got) & (got == 0), np.signbit(wanted) & (wanted == 0))


def normal(x):
    """Without what is subnormal as float32, which XLA takes for zero."""
    with np.errstate(invalid="ignore"):
        size = np.abs(x.astype(np.float64))
    return x[~((size > 0) & (size < float(np.finfo(np.float32).tiny)))]


PAIRS = [(old, new) for old in ("float64", "float32", *NARROWEST) for new in NARROWEST if old != new]


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_every_value_of_a_narrow_type(x64, old, new):
    """To nearest and never twice: float64 is rounded at once, E8M0 is not rounded up."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = every(old) if old in NARROWEST else middles(new).astype(old)
    if "bfloat16" in (old, new) or new == "float8_e8m0fnu":
        x = normal(x)
    if (old, new) == ("float64", "float16"):
        # The runtime rounds to float32 first, and so does XLA unless the processor has AVX512-FP16.
        with np.errstate(over="ignore"):
            once, twice = x.astype(new), x.astype(np.float32).astype(new)
        differs = (once != twice) & ~np.isnan(x)
        got = j2o_core.to_onnx(lambda x: x.astype(new), [x[differs]])(x[differs])
        np.testing.assert_array_equal(got, twice[differs])
        x = x[~differs]
    for opset in {NARROWEST[new], 26} if old == "float32" else {26}:
        same(new, x, opset)


@pytest.mark.parametrize("new", NARROWEST)
@pytest.mark.parametrize("old", [np.int32, np.int64, np.uint32, np.uint64])
def test_integers_to_narrow_types(x64, old, new):
    info = np.iinfo(old)
    powers = [2**e * m // 16 + k for e in range(4, 63) for m in range(16, 32) for k in (-1, 0, 1)]
    numbers = {*range(-300, 300), *powers, *(-number for number in powers), info.min, info.max}
    same(new, np.array(sorted(n for n in numbers if info.min <= n <= info.max), old), 26)


@pytest.mark.parametrize("new", NARROWEST)
def test_narrow_types_to_wide_ones(x64, new):
    x = normal(every(new))
    for wide in ("float64", "float32", "int32", "int64", "uint8", "bool"):
        same(wide, x, max(NARROWEST[new], 26))


@pytest.mark.parametrize(("narrow", "opset"), [("float8_e4m3fn", 18), ("float8_e8m0fnu", 18), ("float8_e8m0fnu", 23)])
def test_a_type_that_a_later_opset_brings_is_refused_by_its_name(narrow, opset):
    with pytest.raises(LegalizeError, match=rf"Cast\({narrow}\) .*test_conversions.py"):
        to_onnx(lambda x: x.astype(narrow).astype(jnp.float32), [(3,)], opset=opset)


def test_every_scale_of_e8m0_is_moved_unchanged():
    """No operator but Cast has a kernel for this type: what moves its numbers goes through float32."""

    def fn(x, i):
        halves = jnp.concatenate([x.reshape(2, 128)[::-1].T, x.reshape(128, 2)], 1)
        return halves.astype(jnp.float32), jnp.where(i > 1, x[i], x[0]).astype(jnp.float32)

    check(fn, every("float8_e8m0fnu"), np.arange(4, dtype=np.int32), opsets=(24, 26), atol=0, rtol=0)


@pytest.mark.parametrize("small", [np.float32(1e5), np.float32(2.9)])
@pytest.mark.parametrize("narrow", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_casts_that_move_before_a_broadcast_round_the_same(narrow, small):
    def fn(x):
        return jnp.broadcast_to(x, (3, 4)).astype(narrow).astype(jnp.float32)

    check(fn, np.full((4,), small), opsets=(24,), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_int4(extremes, dtype):
    # Opset 21 brought the type.
    check(
        lambda x: lax.convert_element_type(lax.convert_element_type(x, ml_dtypes.int4), np.int32),
        extremes(dtype),
        opsets=(21, 26),
    )


def test_same_dtype_is_nothing():
    program = check(lambda x: lax.convert_element_type(x, np.float32) + 1, Spec(("B", 2)), absent=["Cast"])
    assert len(list(program.model.graph)) == 1


@pytest.mark.parametrize("shape", [(0, 2), (), ("B", 3)])
def test_shapes(shape):
    check(_to(np.int8, np.int32, np.bool_, np.float16), Spec(shape), opsets=(21,))


@pytest.mark.parametrize("new", [np.float32, np.int32, np.bool_])
@pytest.mark.parametrize(
    "between", [lambda x: x, lambda x: x.reshape(-1), lambda x: lax.pad(x, np.float16(2), [(1, 0, 0)])]
)
def test_half_precision_is_rounded_before_it_is_converted(new, between):
    """ONNX Runtime multiplies float16 in float32, and leaves out the rounding where a cast follows."""
    x = np.array([300, 1.25, 1e-4, 1.001], np.float16)
    check(lambda x: lax.convert_element_type(between(x * x), new), x, opsets=(18, 21, 26))


def test_half_precision_that_is_not_computed_is_converted_as_it_is():
    program = check(lambda x: x.T.astype(np.float32), Spec((2, "B"), np.float16), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Transpose", "Cast"]


@pytest.mark.parametrize("old", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize(
    "between", [lambda x: x, lambda x: x.reshape(1, -1), lambda x: lax.pad(x, np.float16(2), [(1, 0, 0)])]
)
def test_half_precision_is_rounded_where_it_is_converted_to(old, between):
    """ONNX Runtime computes in float32 with what had more digits, or was too large, unless something is in between."""
    unit = 1 if old in (np.int32, np.int64) else 1 / 2048
    x = (np.array([2049, 4097, 3, 70000]) * unit).astype(old)
    near = np.float16(2048 * unit)
    with jax.enable_x64(old in (np.float64, np.int64)):
        check(lambda x: lax.sign(between(x.astype(np.float16)) - near), x, opsets=(18, 21, 26))


def test_what_becomes_half_precision_without_a_loss_is_converted_once():
    program = check(lambda x: x.astype(np.float16) * 2, Spec(("B",), np.int8), opsets=(21,))
    assert [node.op_type for node in program.model.graph] == ["Cast", "Mul"]


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4], ids=["int4", "uint4"])
@pytest.mark.parametrize("shape", [("N",), ("N", 3), ("M", "N")], ids=str)
def test_sizes_of_int4(dtype, shape):
    """The runtime reads sizes before a cast, from numbers whose shape it has no kernel for."""

    def fn(x):
        wide = x.astype(jnp.int8)
        return jnp.ones(x.shape, jnp.float32), wide * 2, jnp.sum(wide) / x.size, jnp.arange(x.shape[-1])

    check(fn, Spec(shape, dtype), opsets=(21, 26))
