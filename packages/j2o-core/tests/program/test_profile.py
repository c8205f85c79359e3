"""The time of modules and operators in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest

from j2o_core import SpecError
from j2o_core.program._profile import _by_kernel, _Places
from j2o_core.trace._modules import MODULE


def model(x):
    """Two parts, one with a product and one with a sine."""
    with jax.named_scope("first"):
        x = x @ WEIGHT
    with jax.named_scope("second"):
        return jnp.sin(x)


WEIGHT = np.ones((3, 3), np.float32)


def test_each_module_has_its_share(export):
    program = export(model, [("B", 3)])
    assert program.times is None
    before = str(program).splitlines()
    times = program.profile(runs=3)
    assert program.times is times
    assert times.runs == 3
    assert times.operators.keys() == {"MatMul", "Sin"}
    assert times.modules == {"first": times.operators["MatMul"], "second": times.operators["Sin"]}
    assert times.seconds == pytest.approx(sum(times.modules.values()))
    after = str(program).splitlines()
    assert after[-1] == f"  time     {str(times).splitlines()[0]}"
    assert [line[: len(old)] for line, old in zip(after, before, strict=False)] == before
    assert all(line.endswith("of the time") for line in after[len(before) - 2 : len(before)])
    assert str(times).splitlines()[0] in program._repr_html_()
    assert "<h2>Time of a run</h2>" in program.report(html=True)


def test_arguments_are_those_of_the_function(export):
    program = export(model, [("B", 3)])
    assert program.profile(np.ones((4, 3), np.float32), runs=1).runs == 1
    assert export(lambda: jnp.sin(WEIGHT), []).profile(runs=1).runs == 1
    with pytest.raises(SpecError, match="float32"):
        program.profile(np.ones((4, 2), np.float32))
    for runs in (0, 1.5):
        with pytest.raises(SpecError, match="how often the program is run"):
            program.profile(runs=runs)


def event(name, start, duration, operator=None):
    """An event as the runtime writes it."""
    if operator is None:
        return {"name": name, "ts": start, "dur": duration}
    return {"name": f"{name}_kernel_time", "cat": "Node", "ts": start, "dur": duration, "args": {"op_name": operator}}


def test_times_are_those_of_a_kernel_alone_without_the_first_run():
    events = [event("model_run", 0, 100), event("a", 10, 50, "Loop"), event("b", 20, 10, "Mul")]
    for start, duration in ((100, 6), (200, 2)):
        events += [event("model_run", start, 100), event("a", start, 50, "Loop")]
        events += [event("b", start + 5 + turn * 10, duration, "Mul") for turn in range(3)]
    assert _by_kernel(events) == {("a", "Loop"): [32, 44], ("b", "Mul"): [18, 6]}


def test_a_kernel_of_several_nodes_belongs_to_the_module_of_its_product():
    def node(op_type, name, module, *inputs):
        made = ir.Node("", op_type, inputs, name=name, metadata_props={MODULE: module})
        return made

    x = ir.Value(name="x")
    conv = node("Conv", "net.conv/Conv_0", "net.conv", x)
    relu = node("Relu", "net/Relu_0", "net", conv.outputs[0])
    gelu = node("Gelu", "Gelu", "other", x)
    graph = ir.Graph([x], relu.outputs, nodes=[conv, relu, gelu], opset_imports={"": 21})
    place_of = _Places(ir.Model(graph, ir_version=10))
    assert place_of("net/Relu_0_0_nchwc", "Conv") == "net.conv"
    assert place_of("net.conv/Conv_0", "Conv") == "net.conv"
    assert place_of("fused net.conv/Conv_0/SomeFusion", "FusedConv") == "net.conv"
    assert place_of("net/Relu_0", "Relu") == "net"
    assert place_of("Gelu", "Conv") == ""
    assert place_of("ReorderOutput", "ReorderOutput") == ""


def test_kernels_of_a_function_belong_to_the_module_of_its_calls():
    def call(name, module):
        return ir.Node("j2o.functions", name, [x], metadata_props={MODULE: module})

    x = ir.Value(name="x")
    nodes = [call("Block", "blocks.0"), call("Block", "blocks.1"), call("Block_1", "head")]
    graph = ir.Graph([x], nodes[0].outputs, nodes=nodes, opset_imports={"": 21})
    bodies = [ir.Graph([ir.Value()], [], nodes=[], name=name) for name in ("Block", "Block_1")]
    functions = [ir.Function("j2o.functions", body.name, graph=body, attributes={}) for body in bodies]
    place_of = _Places(ir.Model(graph, ir_version=10, functions=functions))
    assert place_of("_inlfunc_Block_token_3_attention/MatMul_0", "MatMul") == "blocks"
    assert place_of("_inlfunc_Block_1_token_3_attention/MatMul_0", "MatMul") == "head"
    assert place_of("_inlfunc_Another_MatMul_0", "MatMul") == ""
