"""Choices by one truth value become branches, into which goes what only they need; the bits stay the same.

Graphs are ONNX text. Each is computed before and after by ONNX's reference implementation, for both truth values.
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from j2o_core.graph._constants import Constants
from j2o_core.graph._walk import bodies
from j2o_core.rewrite import _branches
from j2o_core.target import Target
from j2o_core.testing._legalized import rewrite_model

reference = pytest.importorskip("onnx.reference")

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'
X = np.array([1.5, -0.0, np.nan, np.inf], np.float32)
TWO_CONDITIONS = "bool c0, bool c2, float[4] x, float[4] z"
CHOICES = "y = Where(c0, e, x) p = Where(c0, x, z) q = Where(c0, z, x)"
RESULTS = "y, p, q"
EXPENSIVE = "a = Sin(x) b = Exp(a) c = Cos(b) d = Tanh(c) e = Neg(d)"


def graph(nodes, *, inputs="bool c0, float[4] x, float[4] z", results="y", constants=""):
    return f"g ({inputs}) => ({results}) <float one = {{1}}, int64[1] axis = {{0}} {constants}> {{ {nodes} }}"


def run(model, truth):
    feeds = {}
    for value in model.graph.input:
        shape = [size.dim_value or 4 for size in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = np.full(shape, truth) if dtype is np.dtype(bool) else np.resize(X, shape).astype(dtype)
    return reference.ReferenceEvaluator(model).run(None, feeds)


def rewritten(text, target="onnxruntime"):
    """The rewritten graph, of which both truth values give the bits of the graph before."""
    before = onnx.parser.parse_model(HEADER + text)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(before))
    rewrite_model(model, Target(target, 21))
    after = ir.to_proto(model)
    onnx.shape_inference.infer_shapes(after, check_type=True, strict_mode=True)
    with np.errstate(all="ignore"):
        for truth in (True, False):
            for old, new in zip(run(before, truth), run(after, truth), strict=True):
                assert old.dtype == new.dtype
                assert old.tobytes() == new.tobytes()
    return model.graph


def operators(nodes):
    return [node.op_type for node in nodes]


def branches(graph):
    """The operators of a graph, and those of the branches of its only If."""
    (node,) = [node for node in graph if node.op_type == "If"]
    return operators(graph), *(operators(node.attributes[name].as_graph()) for name in ("then_branch", "else_branch"))


CHANGED = {
    "three choices": (
        graph("y = Where(c0, x, z) p = Where(c0, z, x) q = Where(c0, one, x)", results="y, p, q"),
        (["If"], ["Identity"] * 3, ["Identity"] * 3),
    ),
    "one that is expensive": (
        graph(f"{EXPENSIVE} f = Sqrt(e) g = Abs(f) h = Floor(g) y = Where(c0, h, x)"),
        (["If"], ["Sin", "Exp", "Cos", "Tanh", "Neg", "Sqrt", "Abs", "Floor"], ["Identity"]),
    ),
    "one of many numbers": (
        graph("y = Where(c0, x, z)", inputs="bool c0, float[50,100] x, float[50,100] z"),
        (["If"], ["Identity"], ["Identity"]),
    ),
    "both sides": (
        graph(f"{EXPENSIVE} p = Sin(z) q = Cos(p) r = Exp(q) y = Where(c0, e, r)"),
        (["If"], ["Sin", "Exp", "Cos", "Tanh", "Neg"], ["Sin", "Cos", "Exp"]),
    ),
    "a condition and its opposite": (
        graph("n = Not(c0) y = Where(c0, x, z) p = Where(n, x, z) q = Where(c0, z, x)", results="y, p, q"),
        (["If"], ["Identity"] * 3, ["Identity"] * 3),
    ),
    "a condition of one axis": (
        graph("s = Unsqueeze(c0, axis) y = Where(s, x, z) p = Where(s, z, x) q = Where(c0, x, one)", results="y, p, q"),
        (["If"], ["Identity"] * 3, ["Identity"] * 3),
    ),
    "one that follows from another": (
        graph(f"{EXPENSIVE} y = Where(c0, e, x) f = Exp(y) p = Where(c0, f, z) q = Where(c0, z, x)", results="y, p, q"),
        (["If", "Exp", "Where"], ["Sin", "Exp", "Cos", "Tanh", "Neg", "Identity"], ["Identity"] * 2),
    ),
    "a use between two choices": (
        graph(f"{EXPENSIVE} y = Where(c0, e, x) p = Neg(y) q = Where(c0, z, x)", results="p, q"),
        (["If", "Neg"], ["Sin", "Exp", "Cos", "Tanh", "Neg", "Identity"], ["Identity"] * 2),
    ),
    "one value for two choices": (
        graph(f"{EXPENSIVE} y = Where(c0, e, x) p = Where(c0, e, z)", results="y, p"),
        (["If"], ["Sin", "Exp", "Cos", "Tanh", "Neg", "Identity"], ["Identity"] * 2),
    ),
    "two results of one node": (
        graph(
            "v, i = TopK(x, k) a = Sin(v) b = Cast <to=1> (i) d = Mul(b, a) e = Exp(d) f = Neg(e) h = Tanh(f)"
            "y = Where(c0, h, last) p = Where(c0, last, one)",
            inputs="bool c0, float[4] x, float[1] last",
            constants=", int64[1] k = {1}",
            results="y, p",
        ),
        (["If"], ["TopK", "Sin", "Cast", "Mul", "Exp", "Neg", "Tanh", "Identity"], ["Identity"] * 2),
    ),
    "symbolic sizes": (
        graph(
            f"{EXPENSIVE} y = Where(c0, e, x) p = Where(c0, z, x)",
            inputs="bool c0, float[N] x, float[N] z",
            results="y, p",
        ),
        (["If"], ["Sin", "Exp", "Cos", "Tanh", "Neg", "Identity"], ["Identity"] * 2),
    ),
    "what the other side needs stays": (
        graph(
            "a = Sin(x) b = Exp(a) p = Cos(b) q = Neg(b) r = Tanh(q) s = Sqrt(r) t = Abs(s) u = Exp(t)"
            "y = Where(c0, u, p) w = Where(c0, z, x)",
            results="y, w",
        ),
        (["Sin", "Exp", "If"], ["Neg", "Tanh", "Sqrt", "Abs", "Exp", "Identity"], ["Cos", "Identity"]),
    ),
    "a result of the graph stays": (
        graph(
            "a = Sin(x) b = Exp(a) y = Where(c0, b, x) p = Where(c0, z, x) q = Where(c0, x, z)", results="a, y, p, q"
        ),
        (["Sin", "If"], ["Exp", "Identity", "Identity"], ["Identity"] * 3),
    ),
    "what the condition needs stays": (
        graph(
            "a = Sin(x) s = ReduceMax <keepdims=0> (a) c0 = Less(s, one) b = Exp(a) d = Neg(b) e = Cos(d) f = Tanh(e)"
            "h = Abs(f) y = Where(c0, h, x) p = Where(c0, x, one)",
            inputs="float[4] x",
            results="y, p",
        ),
        (["Sin", "ReduceMax", "Less", "If"], ["Exp", "Neg", "Cos", "Tanh", "Abs", "Identity"], ["Identity"] * 2),
    ),
    "a number that is broadcast": (
        graph("y = Where(c0, one, x) p = Where(c0, z, one) q = Where(c0, x, z)", results="y, p, q"),
        (["If"], ["Identity"] * 3, ["Identity"] * 3),
    ),
}
KEPT = {
    "one that is cheap": graph("a = Sin(x) y = Where(c0, a, x)"),
    "two that need nothing": graph("y = Where(c0, x, z) p = Where(c0, z, x)", results="y, p"),
    "several conditions": graph(f"{EXPENSIVE} {CHOICES}", inputs="bool[4] c0, float[4] x, float[4] z", results=RESULTS),
    "a symbolic number of conditions": graph(
        f"{EXPENSIVE} {CHOICES}", inputs="bool[N] c0, float[N] x, float[N] z", results=RESULTS
    ),
    "operands that are broadcast": graph(
        f"{EXPENSIVE} y = Where(c0, e, z) p = Where(c0, z, e) q = Where(c0, x, z)",
        inputs="bool c0, float[4] x, float[1] z",
        results=RESULTS,
    ),
    "float16": graph(f"{EXPENSIVE} {CHOICES}", inputs="bool c0, float16[4] x, float16[4] z", results=RESULTS),
    "one of symbolic sizes": graph("y = Where(c0, x, z)", inputs="bool c0, float[50,N] x, float[50,N] z"),
    "a large array of one number": graph(
        "y = Where(c0, one, x) p = Where(c0, x, one) q = Where(c0, one, z)",
        inputs="bool c0, float[2000] x, float[2000] z",
        results=RESULTS,
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_branches(name):
    text, expected = CHANGED[name]
    assert branches(rewritten(text)) == expected


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    assert "If" not in operators(rewritten(KEPT[name]))


def test_other_runtimes_may_be_slow_to_branch():
    text, _ = CHANGED["three choices"]
    assert operators(rewritten(text, target=None)).count("Where") >= 2
    assert "If" in operators(rewritten(text, target="onnxruntime-web"))


def test_a_chain_in_half_precision_stays_whole():
    half = "h = Cast <to=10> (x) a = Sin(h) b = Exp(a) f = Cast <to=1> (b) p = Neg(f) q = Tanh(p) r = Abs(q)"
    found = rewritten(graph(f"{half} s = Floor(r) t = Sqrt(s) y = Where(c0, t, z) w = Where(c0, z, x)", results="y, w"))
    outside, inside, _ = branches(found)
    assert outside == ["Cast", "Sin", "Exp", "Cast", "If"]
    assert inside == ["Neg", "Tanh", "Abs", "Floor", "Sqrt", "Identity"]


@pytest.mark.parametrize("trips", [0, 3])
def test_in_the_body_of_a_loop(trips):
    text = f"""g (bool c0, float[4] x, float[4] z) => (r) <int64 n = {{{trips}}}, bool go = {{1}}> {{
        r = Loop <body = b (int64 i, bool c, float[4] v) => (bool k, float[4] w) {{
            a = Sin(v) b0 = Exp(a) d = Cos(b0) e = Tanh(d) f = Neg(e) g0 = Floor(f)
            j = Sqrt(g0) h = Sin(j) w = Where(c0, h, z)
            k = Identity(c) }}> (n, go, x) }}"""
    found = rewritten(text)
    (loop,) = [node for node in found if node.op_type == "Loop"]
    assert "If" in operators(bodies(loop)[0])


def test_in_a_branch():
    inner = f"{EXPENSIVE} t = Where(c2, e, x) u = Where(c2, z, x) v = Add(t, u)"
    text = graph(f"{inner} y = Where(c0, v, x) k = Where(c0, z, x)", inputs=TWO_CONDITIONS, results="y, k")
    found = rewritten(text)
    outside, inside, _ = branches(found)
    assert (outside, inside) == (["If"], ["If", "Add", "Identity"])
    (then,) = [node for node in found[0].attributes["then_branch"].as_graph() if node.op_type == "If"]
    assert operators(then.attributes["then_branch"].as_graph()) == ["Sin", "Exp", "Cos", "Tanh", "Neg", "Identity"]


def test_a_choice_that_is_an_operand_of_another():
    inner = f"{EXPENSIVE} p = Where(c2, e, x) q = Where(c2, x, z) y = Where(c0, p, q)"
    found = rewritten(graph(f"k = Where(c0, z, x) {inner}", inputs=TWO_CONDITIONS, results="y, k"))
    assert operators(found) == ["Where", "If", "Where"]
    found = rewritten(
        graph(f"k = Where(c0, z, x) {inner} m = Where(c0, one, x)", inputs=TWO_CONDITIONS, results="y, k, m")
    )
    assert operators(found) == ["If", "If"]


AFTER = "y = Where(c0, f0, z) p = Where(c0, z, x)"


def test_what_a_nested_graph_reads():
    inner = "then_branch = t () => (float[4] m) { m = Neg(b) }, else_branch = f () => (float[4] n) { n = Exp(x) }"
    nodes = (
        f"a = Sin(x) b = Cos(a) d = If <{inner}> (c2) e = Tanh(d) f0 = Abs(e) y = Where(c0, f0, z) p = Where(c0, z, x)"
    )
    found = rewritten(graph(nodes, inputs=TWO_CONDITIONS, results="y, p"))
    outside, inside, _ = branches(found)
    assert outside == ["If"]
    assert inside == ["Sin", "Cos", "If", "Tanh", "Abs", "Identity"]


def test_what_a_nested_graph_reads_beside_the_choice_stays():
    inner = "then_branch = t () => (float[4] m) { m = Neg(b) }, else_branch = f () => (float[4] n) { n = Exp(x) }"
    nodes = (
        f"a = Sin(x) b = Cos(a) d = If <{inner}> (c2) e = Tanh(b) f0 = Abs(e) y = Where(c0, f0, z) p = Where(c0, z, x)"
    )
    found = rewritten(graph(nodes + " q = Where(c0, x, z)", inputs=TWO_CONDITIONS, results="y, p, q, d"))
    assert operators(found) == ["Sin", "Cos", "If", "If"]


def test_the_search_for_choices_that_follow_from_others_is_bounded(monkeypatch):
    monkeypatch.setattr(_branches, "_MOST_NODES", 2)
    chain = " ".join(f"s{i} = Sin(s{i - 1})" for i in range(1, 9))
    nodes = f"{EXPENSIVE} s0 = Where(c0, e, x) {chain} y = Where(c0, s8, z) p = Where(c0, z, x)"
    assert "If" in operators(rewritten(graph(nodes, results="y, p")))


def test_the_number_of_sorts_is_bounded(monkeypatch):
    monkeypatch.setattr(_branches, "_MOST_SORTS", 0)
    more = "f = Sqrt(e) h = Sin(f) j = Tanh(h) y = Where(c0, j, x) p = Neg(y) q = Where(c0, z, x)"
    assert operators(rewritten(graph(f"{EXPENSIVE} {more}", results="p, q"))) == ["If", "Neg", "Where"]


def test_nothing_to_do():
    assert _branches.choose_branches(ir.Graph([], [], nodes=[]), Constants()) == {}
