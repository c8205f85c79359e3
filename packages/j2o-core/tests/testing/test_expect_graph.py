import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core.testing import Spec, expect_graph, graph_text
from j2o_core.testing import emit_expect_graph as emit


def test_a_chain_is_one_line_with_types_where_they_change(export):
    program = export(lambda x: jnp.sin(x + 1).astype(jnp.float16).reshape(-1), [(2, 3)])
    expect_graph(program, "x:f32[2,3] -> Add(1) -> Sin -> Cast:f16[2,3] -> Reshape([6])[6] -> output")


def test_what_several_nodes_read_gets_a_label(export):
    def f(x, y):
        z = x * y
        return {"a": jnp.sin(z) - z, "b": x - z}

    program = export(f, [("B", 3), (3,)])
    expect_graph(
        program,
        """
        y:f32[3] -> Reshape([1,3])[1,3] -> Mul(x:f32[B,3], _)[B,3] -> %1
        %1 -> Sin -> Sub(%1) -> a
        x -> Sub(%1) -> b
        """,
    )


def test_named_weights_small_constants_and_large_ones(export):
    class Model:
        def __init__(self):
            self.w = jnp.ones((3, 4))

        def __call__(self, x):
            return (x @ self.w + np.arange(4, dtype=np.float32)) * np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)

    jax.tree_util.register_pytree_with_keys(
        Model, lambda m: (((jax.tree_util.GetAttrKey("w"), m.w),), None), lambda _, w: None
    )
    expect_graph(
        export(Model(), [(3, 3)]),
        "x:f32[3,3] -> MatMul(w)[3,4] -> Add([[0,1,2,3]]) -> Mul(f32[3,4]) -> output",
    )


def test_the_text_does_not_depend_on_the_order_of_nodes(export):
    program = export(lambda x, y: jnp.sin(x) * jnp.cos(y), [(2,), (2,)])
    before = graph_text(program.model)
    graph = program.model.graph
    cosine = next(node for node in graph if node.op_type == "Cos")
    graph.remove(cosine)
    graph.insert_before(next(iter(graph)), cosine)
    assert [node.op_type for node in graph] == ["Cos", "Sin", "Mul"]
    assert graph_text(program.model) == before
    expect_graph(
        program,
        """
        y:f32[2] -> Cos -> %1
        x:f32[2] -> Sin -> Mul(%1) -> output
        """,
    )


def test_nested_graphs_are_indented_and_may_read_outer_values(export):
    def f(flag, x):
        y = jnp.sin(x)
        return jax.lax.cond(flag, lambda: y + 1, lambda: jnp.cos(y))

    program = export(f, [jax.ShapeDtypeStruct((), np.bool_), (3,)])
    text = graph_text(program.model)
    expect_graph(program, text)
    assert "If.else_branch:" in text
    assert "-> Cos ->" in text


def test_an_input_that_nobody_reads_is_said(export):
    assert "y:f32[2] is not read" in graph_text(export(lambda x, y: x + 1, [(2,), (2,)]).model)


def test_a_deep_graph_is_no_problem(export):
    def f(x):
        for _ in range(3000):
            x = jnp.sin(x)
        return x

    text = graph_text(export(f, [(2,)]).model)
    assert text.count("Sin") == 3000
    assert "\n" not in text


def test_operators_say_enough_of_a_large_model(export):
    program = export(lambda x: jnp.sin(x) + jnp.sin(x + 1), [(2,)])
    expect_graph(program, "2 Add, 2 Sin", detail="operators")
    with pytest.raises(ValueError, match='Expected "graph" or "operators"'):
        expect_graph(program, "", detail="nodes")


def test_the_difference_and_the_command_are_shown(export):
    program = export(lambda x: jnp.sin(x), [(2,)])
    with pytest.raises(AssertionError) as failure:
        expect_graph(program, "x:f32[2] -> Cos -> output")
    message = str(failure.value)
    assert "-x:f32[2] -> Cos -> output" in message
    assert "+x:f32[2] -> Sin -> output" in message
    assert "emit_expect_graph.py" in message
    assert "test_expect_graph.py" in message


def test_a_bare_model_can_be_expected():
    x = ir.Value(name="x", shape=ir.Shape(["B"]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("my.domain", "Thing", [x, None, x], num_outputs=2)
    node.outputs[0].name = "out"
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], opset_imports={"": 21})
    expect_graph(ir.Model(graph, ir_version=10), "x:f32[B] -> my.domain::Thing(_, , _):?[?] -> out, _")


TEST_FILE = """
    import jax.numpy as jnp
    import j2o_core
    from j2o_core import Plugin
    from j2o_core.testing import expect_graph

    plugin = Plugin("p")
    for name, op in (("sin", "Sin"), ("add", "Add"), ("mul", "Mul")):
        plugin.lowering(name)(lambda ctx, *xs, op=op, **_: ctx.op(op, *xs))


    def export(fn):
        return j2o_core.to_onnx(fn, [(2,)], plugins=[plugin])


    def test_one():
        expect_graph(export(jnp.sin), "")


    def test_two():
        expect_graph(
            export(lambda x: jnp.sin(x) * (x + 1)),
            '''old
            text''',
        )
"""


@pytest.mark.slow
def test_regenerated_tests_pass(tmp_path):
    file = tmp_path / "test_graphs.py"
    file.write_text(textwrap.dedent(TEST_FILE))
    assert emit.main([str(file), "--", "-p", "no:cacheprovider"]) == 0
    written = file.read_text()
    assert 'expect_graph(export(jnp.sin), "x:f32[2] -> Sin -> output")' in written
    assert "        x:f32[2] -> Sin ->" in written or "        x:f32[2] -> Add(1) ->" in written
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", str(file)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_checking_writes_nothing(tmp_path, monkeypatch, capsys):
    file = tmp_path / "test_graphs.py"
    file.write_text('expect_graph(p, "old")\n')
    record = {"file": str(file), "line": 1, "text": "new"}
    monkeypatch.setattr(emit, "_run_tests", lambda paths, arguments: ([record], 0))
    assert emit.main(["--check", str(file)]) == 1
    assert file.read_text() == 'expect_graph(p, "old")\n'
    assert emit.main([str(file)]) == 0
    assert file.read_text() == 'expect_graph(p, "new")\n'
    assert emit.main(["--check", str(file)]) == 0
    assert "0 files differ" in capsys.readouterr().out


def test_a_call_that_sees_two_graphs_is_refused():
    with pytest.raises(emit.NotRegenerated, match="2 different graphs"):
        emit.regenerate('expect_graph(p, "")\n', {1: {"a", "b"}}, "t.py")


def test_a_text_that_is_no_literal_is_refused():
    with pytest.raises(emit.NotRegenerated, match=r"t.py:2: the expected graph is not a string literal"):
        emit.regenerate("text = ''\nexpect_graph(p, text)\n", {2: {"a"}}, "t.py")
    with pytest.raises(emit.NotRegenerated, match="no call"):
        emit.regenerate("x = 1\n", {1: {"a"}}, "t.py")


def test_regeneration_keeps_what_stands_around_the_text():
    source = 'testing.expect_graph(p, "é", detail="graph")  # why\n'
    assert emit.regenerate(source, {1: {"y"}}) == 'testing.expect_graph(p, "y", detail="graph")  # why\n'
    assert emit.regenerate(source, {1: {'"q"\\'}}) == 'testing.expect_graph(p, "\\"q\\"\\\\", detail="graph")  # why\n'
    assert emit.regenerate("expect_graph(p, expected='')\n", {1: {"y"}}) == 'expect_graph(p, expected="y")\n'


def test_check_and_expect_graph_work_together(check):
    expect_graph(check(lambda x: x + 1, Spec(("B", 2))), "x:f32[B,2] -> Add(1) -> output")
