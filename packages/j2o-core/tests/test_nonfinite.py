import dataclasses

import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

import j2o_core
from j2o_core import SpecError

DIFFERENCE = "NaN counts as 0"


@pytest.fixture
def plain_sin(plugin):
    """A plugin whose Sin is plain by default, and exact, as Sin of Abs, when asked for."""

    @plugin.lowering("sin", opset=20)
    def _sin(ctx, x, **_):
        if ctx.exact_nonfinite:
            return ctx.op.Sin(ctx.op.Abs(x))
        return ctx.only_finite(ctx.op.Sin(x), DIFFERENCE)

    return plugin


def operators(program):
    return [node.op_type for node in program.model.graph]


def test_rules_are_told_and_say_what_differs(plain_sin):
    export = lambda **options: j2o_core.to_onnx(lambda x: jnp.sin(x), [(3,)], plugins=[plain_sin], **options)  # noqa: E731
    plain, exact = export(), export(nonfinite="exact")
    assert operators(plain) == ["Sin"]
    assert operators(exact) == ["Abs", "Sin"]
    assert plain.model.metadata_props["j2o.nonfinite"] == "default"
    assert exact.model.metadata_props["j2o.nonfinite"] == "exact"
    assert plain.model.graph.node(0).metadata_props["j2o.nonfinite"] == f"Sin: {DIFFERENCE}"
    report = plain.report()
    assert 'nonfinite      default; operators that differ from JAX: 1 (nonfinite="exact" makes them exact)\n' in report
    assert f"  Sin: {DIFFERENCE} (" in report
    assert "test_nonfinite.py:" in report.partition(DIFFERENCE)[2].partition("\n")[0]
    assert "nonfinite      exact; operators that differ from JAX: 0\n" in exact.report()


def test_nested_graphs_and_code_of_rules_are_told(plain_sin):
    import jax

    def fn(x, yes):
        return jax.lax.cond(yes, jnp.sin, jnp.cos, x) + jax.scipy.special.erf(x)

    specs = [(3,), jax.ShapeDtypeStruct((), bool)]
    plain = j2o_core.to_onnx(fn, specs, plugins=[plain_sin])
    assert plain.report().count(f"Sin: {DIFFERENCE}") == 2
    exact = j2o_core.to_onnx(fn, specs, plugins=[plain_sin], nonfinite="exact")
    assert DIFFERENCE not in exact.report()


@pytest.mark.parametrize("exact", [False, True])
def test_rewrites_are_told(plugin, exact):
    @plugin.rewrite("Sin")
    def _sin(rw, node):
        assert rw.exact_nonfinite is exact
        return None if exact else rw.only_finite(rw.op.Cos(node.inputs[0]), DIFFERENCE)

    program = j2o_core.to_onnx(jnp.sin, [(3,)], plugins=[plugin], nonfinite="exact" if exact else None)
    assert operators(program) == ["Sin" if exact else "Cos"]
    assert (f"Cos: {DIFFERENCE}" in program.report()) is not exact


def test_workarounds_are_told(monkeypatch, export):
    from j2o_core.legalize.workarounds import REPLACEMENTS
    from j2o_core.target import WORKAROUNDS, _target

    def sin(rw, node):
        if rw.exact_nonfinite:
            return rw.op.plain("Sin", rw.op.Abs(node.inputs[0]))
        rw.only_finite(node.outputs[0], DIFFERENCE)
        return None

    row = dataclasses.replace(WORKAROUNDS[0], name="sin", op_types=("Sin",), dtypes=(ir.DataType.FLOAT,))
    monkeypatch.setattr(_target, "WORKAROUNDS", (row,))
    monkeypatch.setitem(REPLACEMENTS, "sin", sin)
    plain = export(jnp.sin, [(3,)])
    assert operators(plain) == ["Sin"]
    assert f"Sin: {DIFFERENCE}" in plain.report()
    assert operators(export(jnp.sin, [(3,)], nonfinite="exact")) == ["Abs", "Sin"]


def test_other_values_are_refused(export):
    with pytest.raises(SpecError, match=r"nonfinite is 'fast'\. Expected \"exact\", or None"):
        export(jnp.sin, [(3,)], nonfinite="fast")


def test_the_option_survives_saving(export, tmp_path):
    export(lambda x: x + 1, [np.ones(3, np.float32)], nonfinite="exact").save(tmp_path / "m.onnx")
    assert ir.load(tmp_path / "m.onnx").metadata_props["j2o.nonfinite"] == "exact"
