"""Programs computed in float16 or bfloat16, with policies of this file's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import Plugin, PluginError, SpecError
from j2o_core.plugin._registry import Registry
from j2o_core.simplify import ConstantTable, Narrowing, simplify
from j2o_core.testing import NotInMemory

POLICIES = {
    "dot_general": ("narrow", ""),
    "add": ("operands", ""),
    "mul": ("operands", ""),
    "neg": ("operands", ""),
    "select_n": ("operands", ""),
    "gather": ("operands", ""),
    "reduce_sum": ("float32", "a sum"),
    "exp": ("float32", "it grows"),
    "sin": ("inside", "an angle"),
}
W = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
F16 = np.float16


@pytest.fixture
def x64():
    """64-bit types for one test."""
    with jax.enable_x64(True):
        yield


def narrowed(fn, *args, dtype="float16", names=None):
    table, narrowing = ConstantTable(names or {}), Narrowing(dtype, POLICIES)
    return simplify(jax.make_jaxpr(fn)(*args), table, narrowing=narrowing), narrowing


def dtypes(jaxpr, name):
    """The dtypes of the results of a primitive, in order."""
    return [eqn.outvars[0].aval.dtype.name for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == name]


def run(jaxpr, *args):
    return jax.extend.core.jaxpr_as_fun(jaxpr)(*args)


def casts(jaxpr):
    return len(dtypes(jaxpr, "convert_element_type"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_are_narrow_and_inputs_and_outputs_are_not(dtype):
    jaxpr, narrowing = narrowed(lambda x: x @ W, X, dtype=dtype)
    assert dtypes(jaxpr, "dot_general") == [dtype]
    assert jaxpr.consts[0].dtype.name == dtype
    assert [aval.dtype.name for aval in (*jaxpr.in_avals, *jaxpr.out_avals)] == ["float32", "float32"]
    assert narrowing.equations == {dtype: 1, "float32": 0}
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(run(jaxpr, X)[0], X @ W, atol=4 * eps * np.abs(X @ W).max())


def test_what_nobody_knows_stays_in_float32_and_is_named():
    jaxpr, narrowing = narrowed(lambda x: jnp.tanh(x @ W) @ W, X)
    assert dtypes(jaxpr, "tanh") == ["float32"]
    assert narrowing.reasons == {("tanh", "no plugin says that it may be narrow"): 1}


def test_arithmetic_follows_its_operands():
    jaxpr, _ = narrowed(lambda x: (x @ W + x @ W.T) @ W, X)
    assert dtypes(jaxpr, "add") == ["float16"]
    jaxpr, _ = narrowed(lambda x: (x @ W + jnp.exp(x)) @ W, X)
    assert dtypes(jaxpr, "add") == ["float32"]
    jaxpr, _ = narrowed(lambda x: x + 1, X)
    assert dtypes(jaxpr, "add") == ["float32"]
    assert casts(jaxpr) == 0


def test_arithmetic_with_an_argument_is_narrow_where_products_read_it():
    def residual(x):
        y = x + x @ W
        return y @ W, y

    assert dtypes(narrowed(residual, X)[0], "add") == ["float16"]


def test_what_only_float32_reads_is_computed_there():
    jaxpr, _ = narrowed(lambda x: jnp.exp(-(x @ W)).sum(), X)
    assert dtypes(jaxpr, "neg") == ["float32"]
    assert casts(jaxpr) == 2  # of the argument and of the product


def test_a_parameter_is_updated_in_float32():
    def step(p, x):
        return p + -0.001 * (x.T @ (x @ p))

    jaxpr, _ = narrowed(step, W, X)
    assert dtypes(jaxpr, "mul") == dtypes(jaxpr, "add") == ["float32"]


def test_inside_is_float32_with_a_narrow_result():
    jaxpr, _ = narrowed(lambda x: (jnp.sin(x @ W) * (x @ W)) @ W, X)
    assert dtypes(jaxpr, "sin") == ["float32"]
    assert dtypes(jaxpr, "mul") == ["float16"]


@pytest.mark.parametrize("number", [-1e30, float(np.finfo(np.float32).min)])
def test_constants_beyond_the_range_keep_float32(number):
    def masked(x):
        return jnp.where(X > 0, x @ W, number) @ W

    jaxpr, narrowing = narrowed(masked, X)
    assert dtypes(jaxpr, "select_n") == dtypes(jaxpr, "dot_general")[1:] == ["float32"]
    assert narrowing.reasons["dot_general", "a constant is beyond the range of the narrow dtype"] == 1
    np.testing.assert_allclose(run(jaxpr, X)[0], masked(X), rtol=1e-2, atol=1e-2)


def test_constants_that_are_nearly_zero_keep_float32_up_to_the_next_product():
    def scaled(x):
        return (1e-6 * (x @ W)) @ W, x @ (1e-6 * W), 1e-6 * (x @ W)

    jaxpr, narrowing = narrowed(scaled, X)
    assert sorted(dtypes(jaxpr, "dot_general")) == ["float16", "float16", "float16", "float32"]
    assert set(dtypes(jaxpr, "mul")) == {"float32"}
    assert narrowing.reasons["mul", "a constant is beyond the range of the narrow dtype"] == 2
    for got, want in list(zip(run(jaxpr, X), scaled(X), strict=True))[1:]:
        np.testing.assert_allclose(got, want, rtol=0, atol=4e-3 * np.abs(want).max())


def test_infinity_is_a_number_of_every_float():
    jaxpr, _ = narrowed(lambda x: jnp.where(X > 0, x @ W, -jnp.inf) @ W, X)
    assert dtypes(jaxpr, "select_n") == ["float16"]


def test_a_weight_beyond_the_range_keeps_its_product_in_float32():
    jaxpr, _ = narrowed(lambda x: x @ (W * 1e6), X)
    assert dtypes(jaxpr, "dot_general") == ["float32"]
    np.testing.assert_allclose(run(jaxpr, X)[0], X @ (W * 1e6), rtol=1e-5, atol=1)


def test_a_large_weight_is_narrow_even_where_float32_reads_it():
    table = np.random.default_rng(1).standard_normal((8192, 4)).astype(np.float32)
    index = np.array([3, 8000], np.int32)
    jaxpr, _ = narrowed(lambda i: jnp.exp(jnp.asarray(table)[i]), index)
    assert [const.dtype.name for const in jaxpr.consts if const.size > 100] == ["float16"]
    np.testing.assert_allclose(run(jaxpr, index)[0], np.exp(table[index]), rtol=4e-3)


def test_a_small_weight_is_stored_as_it_is_read():
    scale = np.linspace(1, 2, 4, dtype=np.float32)
    jaxpr, _ = narrowed(lambda x: jnp.exp(x) * scale, X)
    assert [const.dtype.name for const in jaxpr.consts] == ["float32"]
    jaxpr, _ = narrowed(lambda x: (x @ W * scale) @ W, X)
    assert {const.dtype.name for const in jaxpr.consts} == {"float16"}


@pytest.mark.usefixtures("x64")
def test_integers_float64_and_casts_of_the_user_stay():
    def fn(x, i, d):
        return i + 1, d * 2, (x @ W).astype(jnp.bfloat16) * 3, x.astype(jnp.float64) * d[0]

    args = (X, np.arange(3), np.linspace(0, 1, 3))
    jaxpr, narrowing = narrowed(fn, *args)
    assert jaxpr.out_avals == jax.make_jaxpr(fn)(*args).out_avals
    assert set(dtypes(jaxpr, "mul")) == {"float64", "bfloat16"}
    assert narrowing.equations["float16"] == 1


def test_booleans_and_bytes_become_whatever_is_needed_integers_float32():
    mask = np.array([[True, False, True, True]])
    jaxpr, _ = narrowed(lambda x, m: (x @ W * m.astype(jnp.float32)) @ W, X, mask)
    assert dtypes(jaxpr, "mul") == ["float16"]
    jaxpr, _ = narrowed(lambda x, m: (x @ W * m.astype(jnp.float32)) @ W, X, np.arange(4, dtype=np.int32))
    assert dtypes(jaxpr, "mul") == ["float32"]


def test_what_a_loop_carries_stays_in_float32_and_its_weights_do_not():
    layers = np.stack([W, W.T, W]) / 4

    def fn(x):
        return lax.scan(lambda c, w: (c + c @ w, c @ w), x, layers)

    jaxpr, narrowing = narrowed(fn, X)
    scan = next(eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "scan")
    assert [atom.aval.dtype.name for atom in scan.invars] == ["float32", "float16"]
    assert [var.aval.dtype.name for var in scan.outvars] == ["float32", "float16"]
    assert ("scan", "what a loop carries may be a sum over its turns") in narrowing.reasons
    for got, want in zip(run(jaxpr, X), fn(X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)


def test_a_weight_that_a_loop_returns_and_multiplies_by():
    def fn(x):
        return lax.scan(lambda c, _: (c @ W, W), x, None, length=3)

    jaxpr, _ = narrowed(fn, X)
    for got, want in zip(run(jaxpr, X), fn(X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("sign", [1, -1])
def test_branches_agree_on_their_dtypes(sign):
    def fn(x):
        return lax.cond(x.sum() > 0, lambda a: (a @ W, a @ W), lambda a: (jnp.exp(a), a @ W.T), x)

    x = np.abs(X) * np.float32(sign)
    jaxpr, _ = narrowed(fn, x)
    cond = next(eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "cond")
    assert [var.aval.dtype.name for var in cond.outvars] == ["float32", "float16"]
    for got, want in zip(run(jaxpr, x), fn(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)


def test_while_loops_keep_their_condition_exact():
    def fn(x):
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1] @ W)), (0, x))[1]

    jaxpr, _ = narrowed(fn, X)
    np.testing.assert_allclose(run(jaxpr, X)[0], fn(X), rtol=2e-2, atol=2e-2)


def test_a_narrow_primitive_with_a_dtype_among_its_parameters():
    def fn(x):
        return jnp.dot(x, W, preferred_element_type=jnp.float32)

    jaxpr, _ = narrowed(fn, X)
    assert jaxpr.jaxpr.eqns[1].params["preferred_element_type"] == F16


# Policies of plugins, and the whole export.


def test_policies_are_stated_by_plugins(new_plugin):
    plugin = new_plugin()
    plugin.precision("dot_general", "narrow")
    plugin.precision(lax.exp_p, "float32", "it grows")
    assert Registry([plugin]).precisions == {"dot_general": ("narrow", ""), "exp": ("float32", "it grows")}
    with pytest.raises(PluginError, match=r"computes exp 'wide'\. Expected one of 'narrow', 'operands'"):
        plugin.precision("exp", "wide")
    with pytest.raises(PluginError, match="states two precisions of exp"):
        plugin.precision("exp", "narrow")
    other = Plugin("other")
    other.precision("exp", "narrow")
    with pytest.raises(PluginError, match="Two plugins state how precise exp is; one is 'other'"):
        Registry([plugin, other])


@pytest.fixture
def export_narrow(plugin, export):
    for name, (policy, why) in POLICIES.items():
        plugin.precision(name, policy, why)
    return lambda *args, dtype="float16", **options: export(*args, dtype=dtype, **options)


def layer(x):
    return jnp.exp(x @ W).sum(1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", jnp.float16, jnp.bfloat16, np.dtype(np.float16)])
def test_an_export_in_a_narrow_dtype(export_narrow, dtype):
    program = export_narrow(layer, [("B", 4)], dtype=dtype)
    name = np.dtype(dtype).name if dtype != "bfloat16" else dtype
    program.check()
    assert program.model.graph.inputs[0].dtype.numpy() == np.float32
    standard = export_narrow(layer, [("B", 4)], dtype=dtype, target=None)  # without the casts of a runtime
    weights = [value.const_value.dtype.numpy().name for value in standard.model.graph.initializers.values()]
    assert weights.count(name) == 1
    result = program.verify()
    assert f"computed in {name}" in result.notes[0]
    report = program.report()
    assert f"dtype          {name}; equations in {name}: 1, in float32: 2; float32 begins at" in report
    assert "       1 exp: it grows" in report
    assert "<h2>Float32 in" in program.report(html=True)


def test_the_tolerance_is_that_of_the_dtype_and_only_then(export, export_narrow):
    assert export(layer, [(2, 4)]).verify().notes == ()
    with pytest.raises(Exception, match="differs from JAX"):
        export_narrow(layer, [(2, 4)]).verify(rtol=1e-6, atol=1e-6)


def test_a_saved_program_says_its_dtype(export_narrow, plugin, tmp_path):
    from j2o_core import OnnxProgram

    path = tmp_path / "narrow.onnx"
    export_narrow(layer, [("B", 4)]).save(path)
    loaded = OnnxProgram.load(path, layer)
    assert "computed in float16" in loaded.verify().notes[0]
    assert "1 exp: it grows" in loaded.report()


def test_weights_that_are_kept_are_stored_narrow_and_can_be_replaced(export_narrow):
    weights = {"w": W, "scale": np.linspace(1, 2, 4, dtype=np.float32)}

    def model(weights):
        w, scale = weights["w"], weights["scale"]
        return lambda x: jnp.exp(x @ w) * scale

    program = export_narrow(model(weights), [("B", 4)], weights="keep")
    stored = {name: value.const_value.dtype.numpy() for name, value in program.model.graph.initializers.items()}
    assert (stored["w"], stored["scale"]) == (F16, np.float32)
    other = {"w": -W, "scale": weights["scale"] * 2}
    want = export_narrow(model({"w": -W, "scale": weights["scale"] * 2}), [("B", 4)], weights="keep")(X)
    np.testing.assert_array_equal(program.with_weights(other)(X), want)


def test_weights_that_are_not_in_memory_are_cast_while_they_are_written(export_narrow, tmp_path):
    weight = NotInMemory(W)
    program = export_narrow(lambda x: x @ weight, [("B", 4)])
    program.save(tmp_path / "lazy.onnx")
    assert program.model.graph.initializers["weight"].const_value.dtype.numpy() == F16
    np.testing.assert_allclose(program(X), X @ W, rtol=1e-2, atol=1e-2)
    weight.array = W * 1e6
    with pytest.warns(UserWarning, match="weight has numbers beyond the range of float16: they are infinite"):
        program.save(tmp_path / "lazy.onnx")


@pytest.mark.parametrize("dtype", ["float32", "f16", np.int8, 16])
def test_other_dtypes_are_refused(export, dtype):
    with pytest.raises(SpecError, match='Expected "float16", "bfloat16", or None'):
        export(layer, [(2, 4)], dtype=dtype)
