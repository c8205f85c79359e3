"""Negative zeros that a condition chooses: kept wherever one operand cannot be one."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

CONDITION = np.array([True, False, True, False, True, False])
YES = np.array([-0.0, -0.0, 0.0, 0.0, np.nan, 1.0])
NO = np.array([0.0, -0.0, -0.0, 1.0, 2.0, np.nan])
PLAIN = np.array([1.0, 0.0, 0.0, 2.0, 3.0, 4.0])
TYPES = ["float32", "float64", "float16"]


def same_zeros(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.array_equal(got, want, equal_nan=True) and (np.signbit(got) == np.signbit(want))[want == 0].all())


def chosen(kit, operands, optimize=True, target="onnxruntime", opset=21):
    expected = np.where(*(getattr(o, "array", o) for o in operands))
    model = kit.node_model("Where", operands, [expected], {}, opset)
    kit.legalize(model, target=target)
    (got,) = kit.run(model, [o for o in operands if not isinstance(o, kit.Static)], optimize=optimize)
    return model, same_zeros(got, expected)


@pytest.mark.xfail(strict=True, reason="a defect of the runtime; the file can go when this passes")
def test_the_kernel_keeps_negative_zeros(kit):
    assert chosen(kit, [CONDITION, YES, NO], target=None)[1]


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_the_operand_that_may_be_negative_zero_comes_second(kit, dtype, optimize):
    yes, plain = YES.astype(dtype), PLAIN.astype(dtype)
    model, right = chosen(kit, [CONDITION, yes, kit.Static(plain)], optimize)
    assert right
    assert [node.op_type for node in model.graph] == ["Xor", "Where"]
    assert chosen(kit, [CONDITION, yes, kit.Static(np.ones((), dtype))], optimize, opset=26)[1]
    assert chosen(kit, [kit.Static(CONDITION), yes, kit.Static(plain)], optimize)[1]
    model, right = chosen(kit, [CONDITION, kit.Static(plain), yes], optimize)
    assert right
    assert [node.op_type for node in model.graph] == ["Where"]


def test_what_may_be_negative_zero_on_both_sides_is_left_alone(kit):
    for no in (NO, kit.Static(NO)):
        model, _ = chosen(kit, [CONDITION, YES, no])
        assert [node.op_type for node in model.graph] == ["Where"]


FINITE = np.array([-0.0, 0.0, 1.5, -1.5, 1e-40, -1e-40, 3e38, -3e38])


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("specials", [(), (np.nan,), (np.inf,), (-np.inf, np.inf)])
@pytest.mark.parametrize("fill", [0.0, 2.5, -2.5, -3e38, np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_numbers_or_a_constant(kit, dtype, fill, specials, optimize):
    """A product, unless the constant or one of the numbers is not finite."""
    random = np.random.default_rng(0)
    numbers = random.choice(FINITE, (2, 9000)).astype(dtype)
    numbers.flat[: len(specials)] = specials
    condition = random.random(numbers.shape) < 0.5
    constant = kit.Static(np.full((), fill, dtype))
    for operands in ([condition, numbers, constant], [condition, constant, numbers]):
        model, right = chosen(kit, operands, optimize)
        assert right
        assert ("If" in [node.op_type for node in model.graph]) == np.isfinite(fill)


def test_few_numbers_and_masks_that_are_repeated_or_known_are_chosen(kit):
    numbers, zero = np.ones((128, 128), np.float32), kit.Static(np.zeros((), np.float32))
    mask = np.tri(128, dtype=bool)
    for condition, x in ((mask[:, :100], numbers[:, :100]), (mask[:1], numbers), (kit.Static(mask), numbers)):
        model, right = chosen(kit, [condition, x, zero])
        assert right
        assert "If" not in [node.op_type for node in model.graph]
    model, _ = chosen(kit, [mask, numbers, kit.Static(np.full((), -0.0, np.float32))])
    assert "If" not in [node.op_type for node in model.graph]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_have_one_zero(kit, dtype):
    x = np.array([0, 1, 0, 1, 1, 0]).astype(dtype)
    model, right = chosen(kit, [CONDITION, x, kit.Static(x)])
    assert right
    assert "Xor" not in [node.op_type for node in model.graph]


def graph(kit, nodes, inputs, dtype, initializers=()):
    for node in nodes:
        kind = {"Not": "bool", "Cast": "int32"}.get(node.op_type, dtype)
        node.outputs[0].type = ir.TensorType(ir.DataType.from_numpy(np.dtype(kind)))
        node.outputs[0].shape = ir.Shape(CONDITION.shape)
    return kit.model_of(inputs, nodes, nodes[-1].outputs, 21, initializers)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("negated", ["yes", "no"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_number_or_its_negation(kit, dtype, negated, count, optimize):
    x = np.array([0.0, 0.0, -0.0, -0.0, np.nan, np.inf], dtype)
    condition, number = kit.value("c", CONDITION), kit.value("x", x)
    nodes, chooses = [], condition
    for _ in range(count):
        nodes.append(ir.Node("", "Not", [chooses]))
        chooses = nodes[-1].outputs[0]
    negative = ir.Node("", "Neg", [number])
    pair = (negative.outputs[0], number) if negated == "yes" else (number, negative.outputs[0])
    model = graph(kit, [*nodes, negative, ir.Node("", "Where", [chooses, *pair])], [condition, number], dtype)
    kit.legalize(model)
    pair = (-x, x) if negated == "yes" else (x, -x)
    expected = np.where(CONDITION ^ bool(count % 2), *pair)
    assert [node.op_type for node in model.graph] == ["Where", "Mul"]
    assert same_zeros(kit.run(model, [CONDITION, x], optimize=optimize)[0], expected)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("constant_first", [False, True])
def test_a_condition_that_is_negated(kit, constant_first, optimize):
    """The runtime takes the Not out by changing the operands for one another."""
    condition, number = kit.value("c", CONDITION), kit.value("x", YES)
    plain = kit.initializer("k", PLAIN)
    opposite = ir.Node("", "Not", [condition])
    pair = (plain, number) if constant_first else (number, plain)
    model = graph(
        kit,
        [opposite, ir.Node("", "Where", [opposite.outputs[0], *pair])],
        [condition, number],
        "float64",
        [plain],
    )
    kit.legalize(model)
    expected = np.where(~CONDITION, *((PLAIN, YES) if constant_first else (YES, PLAIN)))
    assert same_zeros(kit.run(model, [CONDITION, YES], optimize=optimize)[0], expected)


def test_where_nobody_sees_the_sign_nothing_is_done(kit):
    condition, number, plain = kit.value("c", CONDITION), kit.value("x", YES), kit.initializer("k", PLAIN)
    where = ir.Node("", "Where", [condition, number, plain])
    cast = ir.Node("", "Cast", where.outputs, [ir.AttrInt64("to", int(ir.DataType.INT32))])
    model = graph(kit, [where, cast], [condition, number], "float64", [plain])
    kit.legalize(model)
    assert [node.op_type for node in model.graph] == ["Where", "Cast"]


def test_symbolic_and_empty_sizes(kit):
    for count in (0, 1, 6):
        model = kit.node_model(
            "Where", [CONDITION[:count], YES[:count], kit.Static(np.ones(()))], [YES[:count]], {}, 21
        )
        for value in (*model.graph.inputs, *model.graph.outputs):
            value.shape = ir.Shape(["N"])
        kit.legalize(model)
        (got,) = kit.run(model, [CONDITION[:count], YES[:count]])
        assert same_zeros(got, np.where(CONDITION[:count], YES[:count], 1.0))


def test_an_operand_of_a_node_without_inputs(kit):
    model = kit.node_model("Where", [CONDITION[:3], YES[:3], NO[:3]], [NO[:3]], {}, 21)
    where = next(node for node in model.graph if node.op_type == "Where")
    noise = ir.node("RandomUniform", [], {"shape": [3], "dtype": int(ir.DataType.DOUBLE)})
    noise.outputs[0].dtype, noise.outputs[0].shape = ir.DataType.DOUBLE, ir.Shape([3])
    model.graph.insert_before(where, noise)
    where.replace_input_with(1, noise.outputs[0])
    kit.legalize(model, target="onnxruntime")
    assert [node.op_type for node in model.graph] == ["RandomUniform", "Where"]


@pytest.mark.parametrize(
    ("op_type", "constant_first", "bound", "may_be_zero"),
    [
        ("Greater", False, 0.0, False),
        ("Greater", False, -1.0, True),
        ("Greater", True, 0.0, False),
        ("Greater", True, 1.0, True),
        ("Less", False, 0.0, False),
        ("Less", False, 1.0, True),
        ("Less", True, 0.0, False),
        ("Less", True, -1.0, True),
    ],
)
def test_what_is_compared_with_zero_is_none_where_it_is_chosen(kit, op_type, constant_first, bound, may_be_zero):
    x = ir.Value(name="x", shape=ir.Shape([6]), type=ir.TensorType(ir.DataType.DOUBLE))
    other = ir.Value(name="bound", const_value=ir.tensor(np.float64(bound), name="bound"))
    fill = ir.Value(name="fill", const_value=ir.tensor(np.float64(0), name="fill"))
    for constant in (other, fill):
        constant.dtype, constant.shape = ir.DataType.DOUBLE, ir.Shape([])
    compare = ir.node(op_type, [other, x] if constant_first else [x, other])
    where = ir.node("Where", [compare.outputs[0], x, fill])
    compare.outputs[0].dtype, where.outputs[0].dtype = ir.DataType.BOOL, ir.DataType.DOUBLE
    compare.outputs[0].shape = where.outputs[0].shape = ir.Shape([6])
    compare.outputs[0].name, where.outputs[0].name = "chosen", "y"
    graph = ir.Graph(
        [x], where.outputs, nodes=[compare, where], initializers=[other, fill], opset_imports={"": 21}, name="g"
    )
    model = ir.Model(graph, ir_version=10)
    kit.legalize(model, target="onnxruntime")
    assert ("Xor" in [node.op_type for node in model.graph]) == may_be_zero
    values = np.array([-0.0, 0.0, 1.0, -1.0, 2.0, -2.0])
    (got,) = kit.run(model, [values])
    compared = (bound, values) if constant_first else (values, bound)
    chosen_there = np.greater(*compared) if op_type == "Greater" else np.less(*compared)
    assert same_zeros(got, np.where(chosen_there, values, 0.0))


NUMBERS = np.array([-0.0, 0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e-40], np.float32)


def of_text(kit, text, dtype="float"):
    """A legalized graph of `x`, `z` and `i`, with -0, NaN and infinities, its operators, and whether -0 stays in it."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> g ({dtype}[8] x, {text}')
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    kit.legalize(model)
    arrays = [NUMBERS.astype("float64" if dtype == "double" else "float32"), NUMBERS[::-1], np.arange(8)]
    arrays = [array.astype(value.dtype.numpy()) for array, value in zip(arrays, model.graph.inputs, strict=False)]
    results = [kit.run(model, arrays, optimize=optimize)[0] for optimize in (False, True)]
    return [node.op_type for node in model.graph], arrays, results


@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize(
    ("condition", "operators", "function"),
    [
        ("c = Equal (x, x)", ["IsNaN"], lambda x, i: x == x),
        ("a = Abs (x) c = Less (a, inf)", ["Sub", "IsNaN"], lambda x, i: np.isfinite(x)),
        ("a = Abs (x) c = Less (a, one)", ["Abs", "Less", "Xor"], lambda x, i: np.abs(x) < 1),
        ("a = Neg (x) c = Less (a, inf)", ["Neg", "Less", "Xor"], lambda x, i: -x < np.inf),
        ("a = Abs (x) c = LessOrEqual (a, inf)", ["Abs", "LessOrEqual", "Xor"], lambda x, i: np.abs(x) <= np.inf),
        ("c = LessOrEqual (i, three)", ["Greater"], lambda x, i: i <= 3),
        ("c = GreaterOrEqual (i, three)", ["Less"], lambda x, i: i >= 3),
        ("c = Less (three, i)", ["GreaterOrEqual"], lambda x, i: i > 3),
        ("c = Greater (three, i)", ["LessOrEqual"], lambda x, i: i < 3),
        ("c = Equal (i, three)", ["Equal", "Xor"], lambda x, i: i == 3),
        ("c = Less (x, one)", ["Less", "Xor"], lambda x, i: x < 1),
    ],
)
def test_the_opposite_of_a_condition_takes_no_node_where_it_is_exact(kit, condition, operators, function, dtype):
    text = f"""{dtype}[8] z, int32[8] i) => ({dtype}[8] y)
        <{dtype} one = {{1}}, {dtype} inf = {{inf}}, int32 three = {{3}}> {{ {condition} y = Where (c, x, one) }}"""
    found, (x, _, i), results = of_text(kit, text, dtype)
    assert found == [*operators, "Where"]
    with np.errstate(invalid="ignore"):
        expected = np.where(function(x, i), x, 1)
    for got in results:
        assert same_zeros(got, expected)


def test_a_condition_that_is_read_elsewhere_is_negated(kit):
    text = """float[8] z) => (float[8] y, bool[8] c) <float one = {1}, float inf = {inf}>
        { a = Abs (x) c = Less (a, inf) y = Where (c, x, one) }"""
    found, (x, _), results = of_text(kit, text)
    assert found == ["Abs", "Less", "Xor", "Where"]
    for got in results:
        assert same_zeros(got, np.where(np.isfinite(x), x, 1).astype(np.float32))


# Of w, which is x where it is at most 1, and 1 elsewhere: what reads it, and whether the sign of its zeros shows.
READERS = {
    "an exponential": ("y = Exp (w)", lambda w, z: np.exp(w), False),
    "an exponential of a difference": ("d = Sub (z, w) y = Exp (d)", lambda w, z: np.exp(z - w), False),
    "a sum with a logarithm": ("l = Log (z) y = Add (l, w)", lambda w, z: np.log(z) + w, False),
    "a logarithm less it": ("l = Log (z) y = Sub (l, w)", lambda w, z: np.log(z) - w, False),
    "it less a logarithm": ("l = Log (z) y = Sub (w, l)", lambda w, z: w - np.log(z), True),
    "a sum with anything": ("y = Add (z, w)", lambda w, z: z + w, True),
    "a product": ("y = Mul (z, w)", lambda w, z: z * w, True),
    "a dividend": ("d = Div (w, z) y = Exp (d)", lambda w, z: np.exp(w / z), False),
    "a divisor": ("d = Div (z, w) y = Exp (d)", lambda w, z: np.exp(z / w), True),
    "the choice of an exponent": (
        "c = Less (z, one) d = Where (c, w, one) y = Exp (d)",
        lambda w, z: np.exp(np.where(z < 1, w, 1)),
        False,
    ),
    "an exponential, and another": ("e = Exp (w) y = Mul (w, e)", lambda w, z: w * np.exp(w), True),
}


@pytest.mark.parametrize("name", READERS)
def test_the_operands_change_places_where_the_sign_of_a_zero_shows(kit, name):
    readers, function, shows = READERS[name]
    text = f"""float[8] z) => (float[8] y) <float one = {{1}}>
        {{ k = LessOrEqual (x, one) w = Where (k, x, one) {readers} }}"""
    found, (x, z), results = of_text(kit, text)
    assert ("Xor" in found) == shows
    with np.errstate(all="ignore"):
        expected = function(np.where(x <= 1, x, 1).astype(np.float32), z)
    for got in results:
        np.testing.assert_allclose(got, expected, rtol=3e-7)
        assert (np.signbit(got) == np.signbit(expected))[expected == 0].all()


def test_the_runtime_takes_out_a_sum_with_0(kit):
    text = """float[8] z) => (float[8] y) <float one = {1}, float zero = {0}>
        { k = LessOrEqual (x, one) w = Where (k, x, one) y = Add (w, zero) }"""
    assert of_text(kit, text)[0] == ["LessOrEqual", "Xor", "Where", "Add"]
