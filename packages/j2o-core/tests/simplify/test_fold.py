import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.simplify import ConstantTable, fold_constants, simplify
from j2o_core.simplify._fold import FOLD_LIMIT_BYTES

X = np.linspace(-1, 1, 3, dtype=np.float32)


def simplified(fn, *args, names=None):
    table = ConstantTable(names or {})
    return simplify(jax.make_jaxpr(fn)(*args), table), table


def primitives(jaxpr):
    return [eqn.primitive.name for eqn in jaxpr.jaxpr.eqns]


@pytest.mark.parametrize(
    "constant",
    [
        lambda: jnp.arange(3) * 2.0,
        lambda: jnp.sin(jnp.linspace(0, 1, 3)),
        lambda: jnp.ones((3, 3)).sum(0),
        lambda: jnp.where(jnp.arange(3) > 1, 1.0, jnp.nan),
        lambda: jnp.array([1.0, 2.0, 3.0], jnp.bfloat16).astype(jnp.float32) / 3,
        lambda: jnp.float32(1e38) * jnp.float32(10) + jnp.zeros(3),
        lambda: (jnp.int8(100) + jnp.int8(100)).astype(jnp.float32) + jnp.zeros(3),
        lambda: (jnp.float8_e8m0fnu(2.0**-21) * jnp.float8_e8m0fnu(2.0**-127)).astype(jnp.float32) + jnp.zeros(3),
    ],
    ids=range(8),
)
def test_constants_are_computed_with_jax_s_own_numbers(constant):
    jaxpr, _ = simplified(lambda x: x + constant(), X)
    assert primitives(jaxpr) == ["add"]
    expected = X + constant()
    np.testing.assert_array_equal(jax.extend.core.jaxpr_as_fun(jaxpr)(X)[0], expected)


def test_a_constant_result_is_a_constant():
    jaxpr, _ = simplified(lambda x: jnp.arange(4) * 2, X)
    assert primitives(jaxpr) == []
    np.testing.assert_array_equal(jax.extend.core.jaxpr_as_fun(jaxpr)(X)[0], np.arange(4) * 2)


def test_large_results_are_left_to_the_graph():
    size = FOLD_LIMIT_BYTES // 4 + 1
    jaxpr, _ = simplified(lambda x: x[0] + jnp.sin(jnp.zeros(size) + jnp.arange(size)), X)
    assert "sin" in primitives(jaxpr)
    jaxpr, _ = simplified(lambda x: x[0] + jnp.sin(jnp.arange(100.0)), X)
    assert "sin" not in primitives(jaxpr)


def test_a_layout_of_a_weight_keeps_its_name_and_its_memory():
    weight = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
    jaxpr, table = simplified(lambda x: x[0] * jnp.asarray(weight).T, X, names={})
    assert "transpose" not in primitives(jaxpr)
    weight = jnp.asarray(weight)
    jaxpr, table = simplified(lambda x: x[0] * weight.T, X, names={id(weight): "weight"})
    (constant,) = jaxpr.consts
    assert table.name(constant) == "weight"
    assert np.shares_memory(np.asarray(constant), np.asarray(weight))


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x: x * 1.0, []),
        (lambda x: 1.0 * x, []),
        (lambda x: x / 1.0, []),
        (lambda x: x - 0.0, []),
        (lambda x: jnp.maximum(x, -jnp.inf), []),
        (lambda x: x + 0.0, ["add"]),
        (lambda x: x * 0.0, ["mul"]),
        (lambda x: 0.0 - x, ["sub"]),
        (lambda x: 1.0 / x, ["div"]),
        (lambda x: x - jnp.float32(-0.0), ["sub"]),
        (lambda x: x + jnp.float32(-0.0), []),
        (lambda x: x ** jnp.ones(3), []),
        (lambda x: jnp.ones(3) ** x, []),
        (lambda x: jnp.maximum(x, x), []),
        (lambda x: jnp.minimum(x, jnp.full(3, -jnp.inf)), ["min"]),
        (lambda x: jnp.maximum(x, jnp.full(3, jnp.inf)), ["max"]),
        (lambda x: jnp.zeros(3) ** x, ["pow"]),
        (lambda x: x - x, ["sub"]),
        (lambda x: x / x, ["div"]),
    ],
    ids=range(19),
)
def test_only_what_holds_for_every_value_is_an_identity(fn, expected):
    """Minus zero plus zero is zero, NaN times zero is NaN: these stay."""
    jaxpr, _ = simplified(fn, X)
    assert primitives(jaxpr) == expected
    special = jnp.array([jnp.nan, -0.0, jnp.inf])
    result = np.asarray(jax.extend.core.jaxpr_as_fun(jaxpr)(special)[0])
    np.testing.assert_array_equal(result, fn(special))
    np.testing.assert_array_equal(np.signbit(result), np.signbit(fn(special)))


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint8, np.uint32])
def test_integers_that_change_nothing_or_are_the_result(dtype):
    info = np.iinfo(dtype)
    zero, ones, low, high = (np.full(5, value, dtype) for value in (0, ~dtype(0), info.min, info.max))

    def identities(x):
        neutral = [x + zero, x - zero, x * dtype(1), x | zero, x ^ zero, x & ones, x << zero, x >> zero]
        extremes = [jnp.maximum(x, low), jnp.minimum(x, high), jnp.maximum(x, high), jnp.minimum(x, low)]
        return neutral, extremes, [x * 0, x & zero, x | ones, x & x, x | x, x - x, x ^ x, x == x, x != x, x <= x]

    def others(x):
        return [zero - x, x & dtype(1), x | dtype(1), x ^ ones, zero << x, x - ones, jnp.maximum(x, dtype(1)), x + x]

    x = np.array([info.min, info.max, 0, 1, 3], dtype)
    for fn, kept in ((identities, 0), (others, 8)):
        jaxpr, _ = simplified(fn, x)
        assert len(jaxpr.jaxpr.eqns) == kept
        got = jax.extend.core.jaxpr_as_fun(jaxpr)(x)
        for one, other in zip(got, jax.tree.leaves(fn(x)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_conditions_that_are_known_decide():
    def fn(p, x):
        decided = p & False, p & True, False | p, True | p, p ^ False, p & p
        return decided, p ^ True, jnp.where(p & False, x, -x)

    jaxpr, _ = simplified(fn, X > 0, X)
    assert primitives(jaxpr) == ["xor", "neg"]


def test_a_float_may_differ_from_itself():
    jaxpr, _ = simplified(lambda x: (x == x, x <= x, x >= x, x != x, x < x, x > x), X)
    assert primitives(jaxpr) == ["eq", "le", "ge", "ne"]


def test_a_number_that_its_new_type_does_not_hold_is_infinite_without_a_warning():
    jaxpr, _ = simplified(lambda x: x.astype(np.float16) * jnp.full(3, 1e30, np.float32).astype(np.float16), X)
    (constant,) = jaxpr.consts
    np.testing.assert_array_equal(constant, np.full(3, np.inf, np.float16))


def test_values_inside_branches_are_folded():
    def fn(flag, x):
        return jax.lax.cond(flag, lambda x: x + jnp.sin(jnp.arange(3.0)), lambda x: x, x)

    jaxpr, _ = simplified(fn, True, X)
    assert "sin" not in str(jaxpr)


def test_folding_in_64_bit():
    with jax.enable_x64(True):
        jaxpr, _ = simplified(lambda x: x + jnp.arange(3) ** 40, np.arange(3))
        assert primitives(jaxpr) == ["add"]
        np.testing.assert_array_equal(
            jax.extend.core.jaxpr_as_fun(jaxpr)(np.arange(3))[0], np.arange(3) + np.arange(3) ** 40
        )


def test_what_is_taken_from_a_large_broadcast_is_a_constant():
    few, shape = jnp.arange(2, dtype=jnp.float32), (2, FOLD_LIMIT_BYTES // 4)
    jaxpr, _ = simplified(lambda x: x + lax.slice(lax.broadcast_in_dim(few, shape, (0,)), (0, 0), (2, 3)), X)
    assert primitives(jaxpr)[-1] == "add"
    assert "slice" not in primitives(jaxpr)


def test_loops_over_constants_are_not_run():
    endless = 2**31 - 1
    jaxpr, _ = simplified(lambda x: x + lax.while_loop(lambda i: i < endless, lambda i: i + 1, 0), X)
    assert "while" in primitives(jaxpr)


@pytest.mark.parametrize("which", [-1, 3])
def test_a_choice_of_none_of_the_cases_stays(which):
    jaxpr, _ = simplified(lambda x, y: lax.select_n(np.int32(which), x, y, x + y), X, X)
    assert primitives(jaxpr) == ["add", "select_n"]


def test_a_choice_between_equal_cases_is_the_case():
    zero = np.zeros(3, np.float32)

    def fn(p, i, x, y):
        same = [lax.select_n(p, x, x), lax.select_n(i, y, y, y), jnp.where(p, zero, zero.copy()), jnp.where(p, 1, 1)]
        other = [lax.select_n(p, x, y), lax.select_n(i, y, y, x), jnp.where(p, zero, -zero), jnp.where(p, 0.0, -0.0)]
        return same, other

    jaxpr, _ = simplified(fn, X > 0, np.int32([-1, 0, 7]), X, X)
    assert primitives(jaxpr).count("select_n") == 4
    assert jaxpr.jaxpr.outvars[:2] == jaxpr.jaxpr.invars[2:]


def test_constant_keys_are_not_compared():
    one, other = jax.random.split(jax.random.key(0))
    jaxpr = jax.make_jaxpr(lambda p: lax.select_n(p, one, other))(True)
    assert primitives(fold_constants(jaxpr, ConstantTable({}))) == ["select_n"]


def test_what_no_branch_of_a_mapped_conditional_changes_is_not_chosen():
    def fn(p, x, y):
        return lax.cond(p, lambda x, y: (x, y + 1), lambda x, y: (x, y), x, y)

    jaxpr, _ = simplified(jax.vmap(fn), X > 0, X, X)
    assert primitives(jaxpr).count("select_n") == 1


def test_a_choice_among_the_elements_of_nothing():
    nothing = np.zeros((0, 2), np.float32)
    jaxpr, _ = simplified(lambda x, y: lax.select_n(np.zeros((0, 2), bool), x, y), nothing, nothing)
    assert [var.aval.shape for var in jaxpr.jaxpr.outvars] == [(0, 2)]


def test_a_symbolic_size_is_no_constant():
    spec = jax.ShapeDtypeStruct(jax.export.symbolic_shape("N"), np.float32)
    jaxpr, _ = simplified(lambda x: x * x.shape[0], spec)
    assert "dim_as_value" in primitives(jaxpr)


def test_callbacks_of_constants_are_not_called():
    seen = []
    jaxpr = jax.make_jaxpr(lambda x: (jax.debug.callback(seen.append, 3.0), x + 1)[1])(X)
    folded = fold_constants(jaxpr, ConstantTable({}))
    assert primitives(folded) == ["debug_callback", "add"]
    assert not seen


def test_keys_are_not_folded():
    jaxpr = jax.make_jaxpr(lambda: jax.random.wrap_key_data(np.zeros(2, np.uint32)))()
    assert primitives(fold_constants(jaxpr, ConstantTable({}))) == ["random_wrap"]


def test_one_is_no_neutral_factor_of_complex_numbers():
    """The imaginary part of an infinite number times one is NaN."""
    jaxpr = jax.make_jaxpr(lambda z: z * np.complex64(1))(np.complex64(2))
    assert primitives(fold_constants(jaxpr, ConstantTable({}))) == ["mul"]


def test_results_without_elements_are_broadcast_zeros():
    rows, _ = jax.export.symbolic_shape("N, M")

    def fn(x):
        a, b = lax.sort((jnp.sin(x), x.astype(jnp.int16)), num_keys=1)
        return a, b, jnp.sum(x, 1)

    jaxpr, _ = simplified(fn, jax.ShapeDtypeStruct((rows, 0), np.float32))
    assert primitives(jaxpr) == ["broadcast_in_dim", "broadcast_in_dim", "reduce_sum"]
    assert [(var.aval.shape, var.aval.dtype) for var in jaxpr.jaxpr.outvars[:2]] == [
        ((rows, 0), np.float32),
        ((rows, 0), np.int16),
    ]
