import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.simplify import simplify
from j2o_core.simplify._fold import _evaluate
from j2o_core.simplify._nested import all_jaxprs
from j2o_core.simplify._numpy_rules import numpy_values

FLOATS = ("float16", "float32", "float64", "bfloat16")
INTEGERS = ("int8", "int32", "uint32")
_ROWS = lax.GatherDimensionNumbers((1,), (0,), (0,))
_WINDOWS = lax.GatherDimensionNumbers((0, 2), (), (1, 0))
_BATCHED = lax.GatherDimensionNumbers((), (1,), (1,), (0,), (0,))


def operands(dtype, count, seed, shape=(3, 4)):
    """Random numbers, among them zeros, the largest, NaN and infinities."""
    rng = np.random.default_rng(seed)
    dtype = jnp.dtype(dtype)
    made = []
    for _ in range(count):
        if dtype.name == "bool":
            made.append(rng.integers(0, 2, shape).astype(bool))
        elif jnp.issubdtype(dtype, jnp.integer):
            info = np.iinfo(dtype)
            x = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
            x[0] = rng.choice(np.asarray([0, 1, 2, info.max, info.min], dtype), x[0].shape)
            made.append(x)
        else:
            x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)).astype(dtype)
            if seed % 3 == 0:
                special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, jnp.finfo(dtype).max, jnp.finfo(dtype).tiny]
                x[0] = rng.choice(np.asarray(special).astype(dtype), x[0].shape)
            made.append(x)
    return made


def compare(fn, args):
    """The one equation of a function, by NumPy and by JAX: the same bits (True), or left to JAX (False)."""
    jaxpr = jax.make_jaxpr(fn)(*args)
    if not jaxpr.jaxpr.eqns:
        return False
    (eqn,) = jaxpr.jaxpr.eqns
    atoms = iter(args)
    values = [next(atoms) if type(atom).__name__ == "Var" else np.asarray(atom.val) for atom in eqn.invars]
    expected = eqn.primitive.bind(*values, **eqn.params)
    results = numpy_values(eqn, values)
    if results is None:
        return False
    expected = expected if eqn.primitive.multiple_results else [expected]
    for result, right in zip(results, expected, strict=True):
        right = np.asarray(right)
        assert (result.dtype, result.shape) == (right.dtype, right.shape)
        nan = np.asarray(right != right)
        np.testing.assert_array_equal(np.asarray(result != result), nan)
        same = [np.ascontiguousarray(np.where(nan, 0, x).astype(x.dtype)).view(np.uint8) for x in (result, right)]
        np.testing.assert_array_equal(*same)
    return True


UNARY = {
    name: lambda x, name=name: getattr(lax, name)(x)
    for name in ("neg", "abs", "sign", "floor", "ceil", "sqrt", "square", "is_finite", "bitwise_not")
}
UNARY |= {f"to {dtype}": lambda x, dtype=dtype: lax.convert_element_type(x, dtype) for dtype in (*FLOATS, *INTEGERS)}
UNARY |= {"to bool": lambda x: lax.convert_element_type(x, bool), "power": lambda x: lax.integer_pow(x, 2)}
UNARY |= {f"power {y}": lambda x, y=y: lax.integer_pow(x, y) for y in (1, 3, 4, 5, 7, 11, -1, -2)}
UNARY |= {
    name: lambda x, name=name: getattr(lax, name)(x, (1,))
    for name in ("reduce_max", "reduce_min", "reduce_sum", "reduce_prod", "reduce_and", "reduce_or")
}
BINARY = {
    name: lambda x, y, name=name: getattr(lax, name)(x, y)
    for name in (
        *("add", "sub", "mul", "div", "rem", "max", "min", "eq", "ne", "lt", "le", "gt", "ge"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    )
}


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_numbers_are_jax_s_to_the_last_bit(name, dtype):
    fn, count = (UNARY[name], 1) if name in UNARY else (BINARY[name], 2)
    with jax.enable_x64(True):
        try:
            jax.make_jaxpr(fn)(*operands(dtype, count, 0))
        except TypeError:
            return  # no operation of this dtype
        found = [compare(fn, operands(dtype, count, seed)) for seed in range(8)]
    if dtype == "float32" and name in ("add", "mul", "sub", "div", "sqrt", "lt", "eq", "to bool", "reduce_max", "max"):
        assert sum(found) >= 4, "NumPy was not asked"


@pytest.mark.parametrize("x", [1e-40, 1e-20])
def test_subnormal_numbers_are_left_to_jax(x):
    """XLA takes them for zero, and gives zero in their place."""
    x, tiny = np.float32([x, 1]), np.finfo(np.float32).tiny
    assert compare(lax.sub, (np.float32(1), tiny))
    for fn in (lax.mul, lax.sub, lax.div, lax.ne, lax.max):
        compare(fn, (x, np.float32([1, 3])))
        compare(fn, (x, x[::-1].copy()))
    assert not compare(lax.mul, (x, x))
    values = _evaluate(jax.make_jaxpr(lax.mul)(x, x).jaxpr.eqns[0], [x, x])
    np.testing.assert_array_equal(values[0], lax.mul(x, x))


def test_what_some_releases_round_twice_is_left_to_jax():
    with jax.enable_x64(True):
        between = np.float64([1 + 2**-11 + 2**-30])
        assert not compare(lambda x: lax.convert_element_type(x, np.float16), (between,))
        assert compare(lambda x: lax.convert_element_type(x, np.float32), (between,))


MOVES = {
    "slice": lambda x: lax.slice(x, (1, 0), (3, 4), (1, 2)),
    "slice without strides": lambda x: lax.slice(x, (1, 0), (3, 0)),
    "dynamic slice": lambda x: lax.dynamic_slice_p.bind(x, np.int32(-7), np.int32(9), slice_sizes=(2, 3)),
    "pad": lambda x: lax.pad(x, x.dtype.type(1), ((1, 2, 0), (0, 1, 2))),
    "pad by less than nothing": lambda x: lax.pad(x, x.dtype.type(1), ((-1, 2, 1), (3, -2, 1))),
    "pad that leaves nothing": lambda x: lax.pad(x, x.dtype.type(1), ((-2, -1, 0), (0, 0, 0))),
    "concatenate": lambda x: lax.concatenate([x, x], 1),
    "reverse": lambda x: lax.rev(x, (0, 1)),
    "transpose": lambda x: lax.transpose(x, (1, 0)),
    "reshape": lambda x: lax.reshape(x, (2, 6)),
    "reshape of a transpose": lambda x: lax.reshape(x, (2, 6), (1, 0)),
    "squeeze": lambda x: lax.squeeze(lax.slice(x, (0, 0), (1, 4)), (0,)),
    "broadcast": lambda x: lax.broadcast_in_dim(x, (3, 2, 4), (0, 2)),
    "split": lambda x: lax.split(x, (1, 0, 3), 1),
    "stack": lambda x: jnp.stack([x, x], 1),
    "unstack": lambda x: jnp.unstack(x, axis=1),
    "tile": lambda x: jnp.tile(x, (2, 3)),
    "iota": lambda x: lax.broadcasted_iota(x.dtype, (3, 4), 1),
    "rows": lambda x: lax.gather(x, np.int32([[2], [0]]), _ROWS, (1, 4), mode="clip"),
    "windows": lambda x: lax.gather(x, np.int32([[1, 0], [2, 2]]), _WINDOWS, (1, 2), mode="fill"),
    "batched": lambda x: lax.gather(x, np.int32([[3], [0], [1]]), _BATCHED, (1, 1), mode="clip"),
    "beyond the end": lambda x: lax.gather(x, np.int32([[3], [-1]]), _ROWS, (1, 4), mode="fill"),
    "clamped": lambda x: lax.gather(x, np.int32([[3], [-1]]), _ROWS, (1, 4), mode="clip"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
@pytest.mark.parametrize("name", MOVES)
def test_elements_that_move_are_jax_s(name, dtype):
    if dtype == "bool" and name == "iota":
        return
    (x,) = operands(dtype, 1, 0)
    closed = jax.make_jaxpr(MOVES[name])(x)
    known = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)) | {closed.jaxpr.invars[0]: x}
    asked = 0
    for eqn in closed.jaxpr.eqns:
        values = [known[atom] if type(atom).__name__ == "Var" else np.asarray(atom.val) for atom in eqn.invars]
        expected = eqn.primitive.bind(*values, **eqn.params)
        results = numpy_values(eqn, values)
        expected = expected if eqn.primitive.multiple_results else [expected]
        for result, right in zip(results or [], expected, strict=results is not None):
            asked += 1
            assert (result.dtype, result.shape) == (right.dtype, right.shape)
            np.testing.assert_array_equal(result.astype(np.float32), np.asarray(right).astype(np.float32))
        known.update(zip(eqn.outvars, expected, strict=True))
    assert asked or name in ("beyond the end", "clamped", "reshape of a transpose")


def test_a_choice_takes_jax_s_case():
    which, x, y = operands("bool", 1, 1)[0], *operands("float32", 2, 3)
    assert compare(lax.select_n, (which, x, y))
    assert compare(lax.select_n, (np.bool_(True), x, y))
    assert not compare(lax.select_n, (which.astype(np.int32), x, y))


def test_counters_of_random_bits_are_jax_s():
    bits = jax.extend.random.threefry_prng_impl.random_bits
    jaxpr = jax.make_jaxpr(lambda key: bits(key, 32, (3, 5)))(np.uint32([0, 0]))
    eqns = [eqn for closed in all_jaxprs(jaxpr) for eqn in closed.jaxpr.eqns]
    (counters,) = (eqn for eqn in eqns if eqn.primitive.name == "iota_2x32_shape")
    results = numpy_values(counters, [])
    for result, right in zip(results, counters.primitive.bind(**counters.params), strict=True):
        assert result.dtype == right.dtype
        np.testing.assert_array_equal(result, right)


def test_folding_compiles_no_program_for_what_numpy_rounds_alike():
    compiled = []
    table = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)

    def fn(x):
        rows = table[1:] * 2 - np.float32(0.5)
        positive = jnp.where(rows > 0, jnp.sqrt(jnp.abs(rows)), -rows)
        return x * jnp.concatenate([positive, jnp.flip(rows, 0)])[jnp.array([0, 3])].max(1)

    jaxpr = jax.make_jaxpr(fn)(np.ones(2, np.float32))
    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    assert [eqn.primitive.name for eqn in simplify(jaxpr).jaxpr.eqns] == ["mul"]
    assert not compiled


BFLOAT16 = jnp.dtype("bfloat16")


def _largest(x):
    return lax.reduce_max(x, (0,))


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (lax.max, [np.array([0.0, -0.0], BFLOAT16), np.array([-0.0, 0.0], BFLOAT16)]),
        (_largest, [np.array([1e-40, 0], np.float32)]),
        (_largest, [np.zeros(0, np.float32)]),
        (_largest, [np.array([0.0, -0.0], np.float32)]),
        (lambda x: x.astype(jnp.int32), [np.array([1.5, 2], jnp.float8_e4m3fn)]),
    ],
    ids=["zeros of bfloat16", "subnormal", "nothing", "zeros", "float8"],
)
def test_left_to_jax(fn, args):
    (eqn,) = jax.make_jaxpr(fn)(*args).eqns
    assert numpy_values(eqn, args) is None
