import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from jax.extend.core import Primitive

import j2o_core
from j2o_core import J2oError, LoweringError, UnsupportedError, _errors


def test_every_error_is_a_j2o_error():
    kinds = [value for value in vars(_errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) == 13
    assert all(issubclass(kind, J2oError) for kind in kinds)
    assert issubclass(j2o_core.SpecError, ValueError)
    assert issubclass(j2o_core.SaveError, OSError)


def model(x):
    y = jnp.linalg.qr(x)[0]  # line A
    z = jnp.sort(x)  # line B
    return y + z + jnp.sort(x * 2)


def line_of(text):
    with open(__file__, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def test_all_missing_primitives_are_listed_with_line_count_and_plugins(export):
    with pytest.raises(UnsupportedError) as failure:
        export(model, [(3, 3)], opset=19)
    lines = str(failure.value).splitlines()
    assert lines[0] == "2 primitives have no ONNX lowering at opset 19."
    table = {line.split()[0]: line for line in lines[1:-1]}
    assert table["qr"].split()[1:3] == ["1", "equation"]
    assert table["sort"].split()[1:3] == ["2", "equations"]
    assert f"{__file__}:{line_of('# line A')} in model" in table["qr"]
    assert f"{__file__}:{line_of('# line B')} in model" in table["sort"]
    assert lines[-1].startswith("Loaded plugins: fake")
    assert "docs/write-a-plugin.md" in lines[-1]


def test_primitives_in_control_flow_and_calls_are_found_before_any_rule_runs(plugin, export):
    plugin.lowering("log")(lambda ctx, x, **_: pytest.fail("a rule ran"))

    @jax.jit
    def inner(x):
        return jnp.sort(x)

    def fn(flag, x):
        x = jnp.log(x)
        return jax.lax.cond(flag, lambda: inner(x), lambda: jnp.cumsum(x))

    with pytest.raises(UnsupportedError) as failure:
        export(fn, [jax.ShapeDtypeStruct((), np.bool_), (3,)])
    assert "sort " in str(failure.value)
    assert "cumsum" in str(failure.value)


def test_a_rule_from_a_later_opset_is_advice(plugin, export):
    plugin.lowering("sort", opset=24)(lambda ctx, x, **_: x)
    with pytest.raises(UnsupportedError, match=r"sort .* \(has a lowering from opset 24 on\)"):
        export(jnp.sort, [(3,)], opset=21)


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3b11fnuz, ml_dtypes.float8_e3m4])
def test_types_that_onnx_does_not_have(export, dtype):
    def fn(x):
        return x.astype(dtype).astype(x.dtype)  # narrow

    where = rf"convert_element_type at .*test_errors\.py:{line_of('# narrow')} in "
    with pytest.raises(UnsupportedError, match=rf"{where}.* is {np.dtype(dtype)}\[3\], a type that ONNX does not"):
        export(fn, [(3,)])
    with pytest.raises(UnsupportedError, match=rf"An argument is {np.dtype(dtype)}\[3\]"):
        export(lambda x: x, [jax.ShapeDtypeStruct((3,), dtype)])


def test_derivatives_of_integers_are_no_results(export):
    with pytest.raises(UnsupportedError, match=r"A result is float0\[3\], .* of integers .* do not return them"):
        export(lambda x, n: jax.jvp(lambda x: -n, (x,), (x,)), [(3,), jax.ShapeDtypeStruct((3,), np.int32)])


def test_dead_code_is_not_missed(check):
    def fn(x):
        jnp.sort(x)
        jax.random.split(jax.random.key(0))
        return x + 1

    check(fn, np.ones(3, np.float32), opsets=[21])


def broken_rule(ctx, x, **_):
    raise KeyError("axis")


def wrong_dtype(ctx, x, **_):
    return ctx.cast(x, np.int32)


def wrong_shape(ctx, x, **_):
    return ctx.op.Unsqueeze(x, ctx.const([0], np.int64))


def wrong_count(ctx, x, **_):
    return x, x


def no_value(ctx, x, **_):
    return 3


def arithmetic(ctx, x, **_):
    return x * 2


def jax_code(ctx, x, **_):
    return jnp.cos(x)


def numpy_code(ctx, x, **_):
    return np.cos(x)


def sizes_of_the_graph(ctx, x, **_):
    return [x for _ in range(ir.SymbolicDim("B"))]


def other_operands(ctx, x, y, **_):
    return x


RULES = [
    (arithmetic, r"No magic handler[\s\S]*no arithmetic of Python's: write op.Mul\(x, y\)"),
    (jax_code, r"in jax_code: return jnp.cos\(x\)[\s\S]*in a lowering ctx.lower_fun\(function, x\)"),
    (numpy_code, r"in numpy_code: return np.cos\(x\)[\s\S]*NumPy computes with arrays"),
    (sizes_of_the_graph, r"those of JAX: ctx.avals_in\[0\].shape in a lowering"),
    (other_operands, r"missing 1 required positional argument: 'y'\n  in the rule of .*test_errors.py:\d+ in other_op"),
    (broken_rule, "The rule for sin raised KeyError: 'axis'"),
    (wrong_dtype, "returned dtype INT32, JAX's result is FLOAT"),
    (wrong_shape, r"returned shape \(1, 3\), JAX's result is \(float32\[3\]\)"),
    (wrong_count, "returned 2 values, the equation has 1 result: "),
    (no_value, "returned 3, which is no value of the graph"),
]


@pytest.mark.parametrize(("rule", "message"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_rule_is_named_with_its_plugin_and_the_user_s_line(plugin, export, rule, message):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(rule)

    def fn(x):
        return jnp.sin(x) + 1  # the user's line

    with pytest.raises(LoweringError, match=message) as failure:
        export(fn, [(3,)])
    assert f"{__file__}:{line_of('# the user' + chr(39) + 's line')} in" in str(failure.value)
    assert "plugin 'fake'" in str(failure.value)


SECOND = [
    (lambda ctx, x: x, "returned 1 value, the equation has 2 results"),
    (lambda ctx, x: (x, x), r"FLOAT, JAX's result 1 is INT32: \(int32\[3\]\). .*ctx.avals_out\[1\].dtype"),
    (
        lambda ctx, x: (x, ctx.cast(ctx.op.Unsqueeze(x, ctx.const([0], np.int64)), np.int32)),
        r"shape \(1, 3\), JAX's result 1 is \(int32\[3\]\). Expected ctx.avals_out\[1\].shape",
    ),
]


@pytest.mark.parametrize(("rule", "message"), SECOND, ids=["count", "dtype", "shape"])
def test_of_several_results_the_wrong_one_is_named(plugin, export, rule, message):
    two_p = Primitive("two_results")
    two_p.multiple_results = True
    two_p.def_abstract_eval(lambda x: [x, x.update(dtype=np.dtype(np.int32))])
    plugin.lowering(two_p)(rule)
    with pytest.raises(LoweringError, match=message):
        export(two_p.bind, [(3,)])


def test_the_dtype_of_a_result_is_that_of_jax_where_only_its_shape_is_stated(plugin, export):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.shaped(ctx.op("my.domain::Sin", x), ctx.avals_out[0].shape))
    (node,) = export(jnp.sin, [(3,)]).model.graph
    assert node.outputs[0].dtype == ir.DataType.FLOAT


def test_wrong_symbolic_shapes_are_seen_where_they_can_be(plugin, export):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Transpose(x, perm=[1, 0]))
    with pytest.raises(LoweringError, match="returned shape"):
        export(jnp.sin, [(2, 3)])


def test_a_broken_rule_changes_nothing(plugin, export):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(broken_rule)
    before = dict(jax.config.values)
    with pytest.raises(LoweringError):
        export(jnp.sin, [(3,)])
    assert dict(jax.config.values) == before
    np.testing.assert_allclose(jnp.sin(jnp.ones(3)), np.sin(np.ones(3)), rtol=1e-6)


def test_lines_inside_libraries_are_not_the_user_s(plugin, export, tmp_path, monkeypatch):
    (tmp_path / "layerlib").mkdir()
    (tmp_path / "layerlib" / "__init__.py").write_text(
        "import jax.numpy as jnp\ndef layer(x):\n    return jnp.sort(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import layerlib

    def fn(x):
        return layerlib.layer(x)  # called here

    with pytest.raises(UnsupportedError, match="layerlib"):
        export(fn, [(3,)])
    plugin.libraries = ("layerlib",)
    with pytest.raises(UnsupportedError) as failure:
        export(fn, [(3,)])
    assert f"{__file__}:{line_of('# called here')}" in str(failure.value)
