import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.lax import neg

from j2o_core import PluginError, RewriteError
from j2o_core.rewrite import _driver, _tied
from j2o_core.testing import Spec

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def operators(program):
    return [node.op_type for node in program.model.graph]


def test_a_pattern_is_replaced(plugin, check):
    @plugin.rewrite("Mul")
    def _silly(rw, node):
        """Mul(Sin(x), 2) -> Add(Sin(x), Sin(x))."""
        for sine, factor in rw.operands(node, "Sin"):
            if rw.scalar(factor) == 2:
                return rw.op.Add(sine.outputs[0], sine.outputs[0])
        return None

    assert operators(check(lambda x: jnp.sin(x) * 2, X, opsets=[21])) == ["Sin", "Add"]
    assert operators(check(lambda x: 2 * jnp.sin(x), X, opsets=[21])) == ["Sin", "Add"]
    assert operators(check(lambda x: jnp.sin(x) * 3, X, opsets=[21])) == ["Sin", "Mul"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float64", "int8", "int4"])
def test_a_constant_of_any_number_type_is_read_as_a_number(plugin, export, dtype):
    seen = []

    @plugin.rewrite("Mul")
    def _look(rw, node):
        seen.extend(rw.scalar(value) for value in node.inputs)

    with jax.enable_x64(True):
        export(lambda x: x * jnp.full((3,), -2, dtype), [jnp.ones((2, 3), dtype)], opset=23)
        export(lambda x: x * jnp.array([1, 2, 2], dtype), [jnp.ones((2, 3), dtype)], opset=23)
    assert seen == [None, -2, None, None]
    assert type(seen[1]) is (int if dtype.startswith("int") else float)


def test_rewrites_run_until_nothing_changes(plugin, check):
    @plugin.rewrite("Neg")
    def _double_negation(rw, node):
        inner = rw.producer(node.inputs[0], "Neg")
        return inner.inputs[0] if inner is not None else None

    assert operators(check(lambda x: neg(neg(neg(neg(neg(x))))), X, opsets=[21])) == ["Neg"]


def test_a_result_that_becomes_an_input_gets_an_identity(plugin, check):
    @plugin.rewrite("Neg")
    def _double_negation(rw, node):
        inner = rw.producer(node.inputs[0], "Neg")
        return inner.inputs[0] if inner is not None else None

    program = check(lambda x: (neg(neg(x)), x + 1), X, opsets=[21])
    assert sorted(operators(program)) == ["Add", "Identity"]


def test_a_rewrite_is_tried_where_one_of_the_operators_that_it_needs_is_there(plugin, check):
    seen = []

    @plugin.rewrite("Mul", needs=("Sin", "Cos"))
    def _look(rw, node):
        seen.append(rw.scalar(node.inputs[1]))

    check(lambda x: jnp.exp(x) * 2, X, opsets=[21])
    assert seen == []
    check(lambda x: (jnp.cos(x), jnp.exp(x) * 3), X, opsets=[21])
    assert seen == [3]
    check(lambda x: lax.cond(x.sum() > 0, lambda y: jnp.sin(y) + y, lambda y: y * 4, x), X, opsets=[21])
    assert seen == [3, 4]  # the sine is in another branch


def test_what_a_rewrite_adds_may_be_what_another_one_needs(plugin, check):
    @plugin.rewrite("Neg", needs=("Sin",))
    def _of_sine(rw, node):
        sine = rw.producer(node.inputs[0], "Sin")
        return rw.op.Sin(rw.op.Neg(sine.inputs[0])) if sine is not None else None

    @plugin.rewrite("Cos")
    def _as_sine(rw, node):
        return rw.op.Sin(rw.op.Add(node.inputs[0], rw.const(np.pi / 2, node.inputs[0])))

    program = check(lambda x: neg(jnp.cos(x)), X, opsets=[21], atol=1e-6)  # pi / 2 is rounded
    assert operators(program) == ["Add", "Neg", "Sin"]


def test_what_others_read_stays(plugin, check):
    @plugin.rewrite("Mul")
    def _square(rw, node):
        sine = rw.producer(node.inputs[0], "Sin")
        if sine is None or rw.scalar(node.inputs[1]) != 2:
            return None
        return rw.op.Add(node.inputs[0], node.inputs[0])

    program = check(lambda x: (jnp.sin(x) * 2, jnp.sin(x)), X, opsets=[21])
    assert sorted(operators(program)) == ["Add", "Sin"]


def test_rewrites_below_their_opset_do_not_run(plugin, export):
    @plugin.rewrite("Sin", opset=23)
    def _later(rw, node):
        return rw.op.Cos(node.inputs[0])

    assert operators(export(jnp.sin, [(3,)], opset=22)) == ["Sin"]
    assert operators(export(jnp.sin, [(3,)], opset=23)) == ["Cos"]


def test_replacements_keep_line_and_module(plugin, export):
    @plugin.rewrite("Sin")
    def _other(rw, node):
        return rw.op.Cos(node.inputs[0])

    (node,) = export(lambda x: jnp.sin(x), [(3,)]).model.graph
    assert node.metadata_props["j2o.source"].startswith("test_rewrite.py:")


def test_a_rewrite_that_raises_is_named(plugin, export):
    @plugin.rewrite("Sin")
    def _fails(rw, node):
        raise KeyError("axis")

    with pytest.raises(RewriteError, match=r"The rewrite fails of plugin 'fake' raised KeyError at Sin \(.*test_re"):
        export(lambda x: jnp.sin(x), [(3,)])


@pytest.mark.parametrize("wrong", ["dtype", "rank"])
def test_a_rewrite_may_change_neither_dtype_nor_rank(plugin, export, wrong):
    @plugin.rewrite("Sin")
    def _wrong(rw, node):
        if wrong == "dtype":
            return rw.op.Less(node.inputs[0], node.inputs[0])
        return rw.op.Unsqueeze(node.inputs[0], rw.const([0], np.int64))

    with pytest.raises(RewriteError, match="The rewrite wrong of plugin 'fake' replaced Sin of"):
        export(jnp.sin, [(3,)])


def test_a_rewrite_may_not_change_a_known_size(plugin, export):
    @plugin.rewrite("Sin")
    def _wrong(rw, node):
        return rw.op.Concat(node.inputs[0], node.inputs[0], axis=0)

    with pytest.raises(RewriteError, match="replaced Sin"):
        export(jnp.sin, [(3,)])


@pytest.mark.parametrize(("anchor", "needs"), [("Sine", ()), ("Sin", ("Sine",))])
def test_a_misspelt_operator_of_a_rewrite_is_refused(plugin, export, anchor, needs):
    plugin.rewrite(anchor, needs=needs)(lambda rw, node: None)
    message = (
        r"Plugin\('fake'\) has the rewrite <lambda> at 'Sine'. ONNX has no operator Sine. The nearest names? .*Sin"
    )
    with pytest.raises(PluginError, match=message):
        export(jnp.sin, [(3,)])


def test_rewrites_that_undo_each_other_are_stopped(plugin, export):
    plugin.rewrite("Sin")(lambda rw, node: rw.op.Cos(node.inputs[0]))
    plugin.rewrite("Cos")(lambda rw, node: rw.op.Sin(node.inputs[0]))
    with pytest.raises(RewriteError, match="do not settle") as caught:
        export(lambda x: jnp.sin(x), [(3,)])
    for op_type in ("Sin", "Cos"):
        assert re.search(rf"of plugin 'fake' at {op_type} \(.*test_rewrite.py", str(caught.value)), caught.value


def test_a_rewrite_of_its_own_result_is_named_once(plugin, export):
    @plugin.rewrite("Sin")
    def _again(rw, node):
        return rw.op.Sin(node.inputs[0])

    with pytest.raises(RewriteError, match="do not settle") as caught:
        export(lambda x: jnp.sin(x), [(3,)])
    assert str(caught.value).count("again of plugin 'fake' at Sin") == 1


def test_graphs_without_operators_of_rules_get_no_driver(export, monkeypatch):
    monkeypatch.setattr(_driver, "_Driver", None)
    assert operators(export(lambda x: x, [(3,)])) == ["Identity"]
    with pytest.raises(TypeError, match="NoneType"):
        export(jnp.sin, [(3,)])


def test_graphs_of_small_constants_are_not_looked_through_for_tied_weights(export, monkeypatch):
    monkeypatch.setattr(_tied, "used_constants", None)
    assert operators(export(lambda x: x + 1, [(3,)])) == ["Add"]


def test_nodes_that_a_rewrite_removed_are_not_tried(plugin, export):
    tried = []

    @plugin.rewrite("Sin")
    def _both(rw, node):
        (cosine,) = (user for user, _ in node.inputs[0].uses() if user.op_type == "Cos")
        return {node.outputs[0]: rw.op.Exp(node.inputs[0]), cosine.outputs[0]: rw.op.Tanh(node.inputs[0])}

    plugin.rewrite("Cos")(lambda rw, node: tried.append(node))
    assert operators(export(lambda x: (jnp.sin(x), jnp.cos(x)), [(3,)])) == ["Exp", "Tanh"]
    assert tried == []


@pytest.mark.parametrize(
    ("constant", "number"),
    [
        (np.float32(3), 3),
        (np.full((2, 2), 3, np.int8), 3),
        (np.array([3, 4]), None),
        (np.zeros((0,)), None),
        (np.True_, None),
    ],
)
def test_the_number_of_a_constant(plugin, export, constant, number):
    seen = []
    plugin.rewrite("Sin")(lambda rw, node: seen.append(rw.scalar(rw.const(constant))))
    export(jnp.sin, [(3,)])
    assert seen == [number]


def test_branches_are_rewritten_too(plugin, check):
    import jax

    @plugin.rewrite("Mul")
    def _sum(rw, node):
        if rw.scalar(node.inputs[1]) != 2:
            return None
        return rw.op.Add(node.inputs[0], node.inputs[0])

    program = check(
        lambda flag, x: jax.lax.cond(flag, lambda: jnp.sin(x) * 2, lambda: x), np.asarray(True), X, opsets=[21]
    )
    branch = next(node for node in program.model.graph if node.op_type == "If").attributes["then_branch"].as_graph()
    assert "Mul" not in [node.op_type for node in branch]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rw, x: [x, x], "returned 2 values for Sin, which has 1 outputs"),
        (lambda rw, x: 3, r"returned \[3\] for Sin. Expected values of the graph"),
    ],
)
def test_results_are_values_one_for_each_output(plugin, export, make, message):
    @plugin.rewrite("Sin")
    def _wrong(rw, node):
        return make(rw, node.inputs[0])

    with pytest.raises(RewriteError, match=message):
        export(jnp.sin, [(3,)])


def test_internal_operators_have_to_be_expanded(plugin, export):
    plugin.lowering("sinh")(lambda ctx, x, **_: ctx.shaped(ctx.op("j2o::Mystery", x), (3,), np.float32))
    with pytest.raises(RewriteError, match=r"The internal operators \['.*Mystery'\] are left"):
        export(jnp.sinh, [(3,)])


def test_the_report_says_why_a_rewrite_declined(plugin, export):
    @plugin.rewrite("Sin", makes="Special")
    def _special(rw, node):
        if rw.only_use(node.outputs[0]):
            return rw.op.Cos(node.inputs[0])
        return rw.decline("it is read elsewhere") or rw.decline("a later reason")

    report = export(lambda x: (jnp.sin(jnp.exp(x)) * 2, jnp.cos(x), jnp.sin(x)), [(3,)]).report().splitlines()
    place = report.index("decomposed     1 near miss of a fusion")
    assert report[place + 1].startswith("  Special: it is read elsewhere (")
    assert "test_rewrite.py:" in report[place + 1]


def test_reasons_of_nodes_that_are_gone_are_not_reported(plugin, export):
    @plugin.rewrite("Sin")
    def _declines(rw, node):
        return rw.decline("first")

    @plugin.rewrite("Sin")
    def _replaces(rw, node):
        return rw.op.Cos(node.inputs[0])

    assert "decomposed" not in export(jnp.sin, [(3,)]).report()


def test_a_slice_is_not_moved_to_a_symbolic_axis(plugin, check):
    @plugin.lowering("slice", ignores=("strides",))
    def _slice(ctx, x, *, start_indices, limit_indices):
        return ctx.op.Slice(x, *(ctx.const([index], np.int64) for index in (start_indices[0], limit_indices[0], 0)))

    def fn(x):
        return jnp.sin(lax.slice_in_dim(x.reshape(4, x.shape[0] // 4, 6), 0, 2))

    assert operators(check(fn, Spec(("4*N", 6)), opsets=[21])).count("Slice") == 1


def test_what_only_a_branch_used_is_left_to_its_own_graph(plugin, check):
    @plugin.rewrite("Sin")
    def _nothing(rw, node):
        return rw.const(np.zeros((3,)), node.inputs[0])

    def fn(flag, x):
        return lax.cond(flag, lambda a, b: jnp.sin(a) * 0, lambda a, b: jnp.cos(b), jnp.exp(x), -x)

    program = check(fn, Spec((), np.bool_), Spec((3,)), opsets=[21])
    assert "Exp" not in operators(program)
