"""Graphs beside those of norms: each differs from one in an operand, an axis, a shape or a dtype."""

import jax.numpy as jnp
import pytest

import j2o_core

from ..graphs import fused, graph

A, E, ONE, TWO = "int64[1] a = {-1}", "float e = {1e-5}", "float one = {1}", "float two = {2}"
CENTRED = "m = ReduceMean(x, a) d = Sub(x, m)"
VARIANCE = "q = Mul(d, d) v = ReduceMean(q, a)"
ROOT = "w = Add(v, e) s = Sqrt(w)"
ROWS = "float[4] g = {1, 2, 3, 4}"


LAYER_NORM = graph("float[2,4] x", [A, E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)")


def test_the_graphs_differ_from_a_layer_norm():
    assert fused(LAYER_NORM) == ["LayerNormalization"]


OF_LAYER_NORM = {
    "a weight of a higher rank": graph(
        "float[2,4] x",
        [A, E, ONE, "float[1,1,4] g = {1, 2, 3, 4}"],
        *(CENTRED, VARIANCE, ROOT, "i = Div(one, s) k = Mul(i, g) y = Mul(d, k)"),
    ),
    "twice the inverse": graph("float[2,4] x", [A, E, TWO], CENTRED, VARIANCE, ROOT, "i = Div(two, s) y = Mul(d, i)"),
    "the variance of another": graph(
        "float[2,4] x, float[2,4] other",
        [A, E],
        *(CENTRED, "c = Sub(other, m) q = Mul(c, c) v = ReduceMean(q, a)", ROOT, "y = Div(d, s)"),
    ),
    "a variance about another mean": graph(
        "float[2,4] x, float[2,4] other",
        [A, E],
        *(CENTRED, "n = ReduceMean(other, a) c = Sub(x, n) q = Mul(c, c) v = ReduceMean(q, a)", ROOT, "y = Div(d, s)"),
    ),
    "the mean square of another": graph(
        "float[2,4] x, float[2,4] other",
        [A, "float e = {9}"],
        *(CENTRED, "q = Mul(other, other) n = ReduceMean(q, a) p = Mul(m, m) v = Sub(n, p)", ROOT, "y = Div(d, s)"),
    ),
    "the squared mean of another": graph(
        "float[2,4] x, float[2,4] other",
        [A, "float e = {9}"],
        *(CENTRED, "q = Mul(x, x) n = ReduceMean(q, a) o = ReduceMean(other, a) p = Mul(o, o) v = Sub(n, p)"),
        *(ROOT, "y = Div(d, s)"),
    ),
    "a mean over no axes that are named": graph(
        "float[2,4] x", ["int64[0] a = {}", E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"
    ),
    "the mean square in bfloat16": graph(
        "bfloat16[2,4] x",
        [A, "bfloat16 e = {9}"],
        *(CENTRED, "q = Mul(x, x) n = ReduceMean(q, a) p = Mul(m, m) v = Sub(n, p)", ROOT, "y = Div(d, s)"),
    ),
    "squares in float16": graph(
        "float16[2,4] h",
        [A, E],
        "x = Cast <to=1> (h)",
        *(CENTRED, "n = ReduceMean(h, a) c = Sub(h, n) p = Mul(c, c) q = Cast <to=1> (p) v = ReduceMean(q, a)"),
        *(ROOT, "y = Div(d, s)"),
    ),
}


@pytest.mark.parametrize("name", OF_LAYER_NORM)
def test_no_layer_norm(name):
    assert "LayerNormalization" not in fused(OF_LAYER_NORM[name])


def test_a_weight_of_a_higher_rank_stays_behind_a_layer_norm():
    constants = ["float[4] one = {1, 1, 1, 1}", "float[1,1,4] g = {1, 2, 3, 4}"]
    text = graph("float[2,4] x", constants, "n = LayerNormalization <axis=-1> (x, one) y = Mul(n, g)")
    assert fused(text) == ["LayerNormalization", "Mul"]


def test_a_weight_of_no_rows():
    nodes = "i = Div(one, s) k = Mul(i, g) y = Mul(d, k)"
    fused(graph("float[0,1,4] x", [A, E, ONE, "float[0,1,4] g = {}"], CENTRED, VARIANCE, ROOT, nodes))


def test_only_what_subtracts_a_mean_is_said_to_be_nearly_a_layer_norm():
    def fn(x, y):
        return (x - y) / jnp.sqrt(jnp.abs(x.mean(-1, keepdims=True)) + 1)

    program = j2o_core.to_onnx(fn, [(2, 4), (2, 4)])
    assert "LayerNormalization" not in program.report()


OF_RMS_NORM = {
    "a weight of a higher rank": graph(
        "float[2,4] x",
        [A, E, ONE, "float[1,1,4] g = {1, 2, 3, 4}"],
        *("q = Mul(x, x) v = ReduceMean(q, a)", ROOT, "i = Div(one, s) k = Mul(i, g) y = Mul(x, k)"),
    ),
}


@pytest.mark.parametrize("name", OF_RMS_NORM)
def test_no_rms_norm(name):
    assert "RMSNormalization" not in fused(OF_RMS_NORM[name])


RMS = ("q = Mul(x, x) v = ReduceMean(q, a)", ROOT)


def test_two_weights_below_opset_23():
    nodes = (*RMS, "i = Div(one, s) k = Mul(i, t) z = Mul(x, k) y = Mul(z, g)")
    fused(graph("float[2,4] x, float[4] t", [A, E, ONE, ROWS], *nodes), opset=21)


def test_what_is_read_without_its_weight_too_is_computed_once_below_opset_23():
    text = graph("float[2,4] x", [A, E, ONE, ROWS], *RMS, "i = Div(one, s) z = Mul(x, i) y = Mul(z, g)", outputs="y, z")
    assert fused(text, opset=21).count("ReduceMean") == 1


# Groups of channels that come first


ONES = "float[3] one = {1, 1, 1}"
NORM = "n = LayerNormalization <axis=2> (r, one)"
IN = "n = InstanceNormalization(x, w, b)"
CHANNELS, ZEROS, FULL = "float[2] w = {1, 1}", "float[2] b = {0, 0}", "float[2] b = {1, 5}"
EACH = "float[2,1] g = {2, 3}"

OF_GROUP_NORM = {
    "a result of another shape": graph(
        "float[2,4,3] x",
        ["float[6] one = {1, 1, 1, 1, 1, 1}", "int64[3] to = {2, 2, 6}", "int64[2] back = {2, 12}"],
        *("r = Reshape(x, to)", NORM, "y = Reshape(n, back)"),
    ),
    "a bias": graph(
        "float[2,4,3] x",
        [
            *("float[6] one = {1, 1, 1, 1, 1, 1}", "float[6] b = {0, 1, 2, 3, 4, 5}"),
            *("int64[3] to = {2, 2, 6}", "int64[3] back = {2, 4, 3}"),
        ],
        "r = Reshape(x, to) n = LayerNormalization <axis=2> (r, one, b) y = Reshape(n, back)",
    ),
    "a weight": graph(
        "float[2,4,3] x",
        ["float[6] one = {2, 2, 2, 2, 2, 2}", "int64[3] to = {2, 2, 6}", "int64[3] back = {2, 4, 3}"],
        *("r = Reshape(x, to)", NORM, "y = Reshape(n, back)"),
    ),
    "no groups": graph(
        "float[2,0,3,2] x",
        ["float[6] one = {1, 1, 1, 1, 1, 1}", "int64[3] to = {2, 0, 6}", "int64[4] back = {2, 0, 3, 2}"],
        *("r = Reshape <allowzero=1> (x, to)", NORM, "y = Reshape <allowzero=1> (n, back)"),
    ),
    "symbolic groups": graph(
        "float[B,C,3,2] x",
        ["float[6] one = {1, 1, 1, 1, 1, 1}", "int64[3] to = {0, 0, 6}", "int64[4] back = {0, 0, 3, 2}"],
        *("r = Reshape(x, to)", NORM, "y = Reshape(n, back)"),
    ),
    "groups of another batch": graph(
        "float[2,4,6] x",
        ["float[6] one = {1, 1, 1, 1, 1, 1}", "int64[3] to = {4, 2, 6}", "int64[3] back = {2, 4, 6}"],
        *("r = Reshape(x, to)", NORM, "y = Reshape(n, back)"),
    ),
    "a number for all channels": graph(
        "float[2,4,3] x", [ONES, "float two = {2}"], "n = LayerNormalization <axis=2> (x, one) y = Mul(n, two)"
    ),
    "symbolic channels": graph(
        "float[B,C,3] x, float[C,1] g", [ONES], "n = LayerNormalization <axis=2> (x, one) y = Mul(n, g)"
    ),
}


@pytest.mark.parametrize("name", OF_GROUP_NORM)
def test_no_group_norm(name):
    assert "InstanceNormalization" not in fused(OF_GROUP_NORM[name])


@pytest.mark.parametrize("shape", ["2,4,3", "B,4,3"])
def test_groups_need_not_be_whole_channels(shape):
    constants = ["float[2] one = {1, 1}", "int64[3] to = {0, 6, 2}", "int64[3] back = {0, 4, 3}"]
    text = graph(f"float[{shape}] x", constants, "r = Reshape(x, to)", NORM, "y = Reshape(n, back)")
    assert fused(text) == ["Reshape", "InstanceNormalization", "Reshape"]


# name: (graph, operators that are left)
OF_INSTANCE_NORM = {
    "a weight that adds a batch": (
        graph("float[1,2,3] x", [CHANNELS, ZEROS, "float[2,2,1] g = {2, 3, 2, 3}"], IN, "y = Mul(n, g)"),
        ["InstanceNormalization", "Mul"],
    ),
    "a bias before a weight": (
        graph("float[1,2,3] x", [CHANNELS, FULL, EACH], IN, "y = Mul(n, g)"),
        ["InstanceNormalization", "Mul"],
    ),
    "two biases": (
        graph("float[1,2,3] x", [CHANNELS, FULL, EACH], IN, "y = Add(n, g)"),
        ["InstanceNormalization", "Add"],
    ),
    "two weights": (
        graph("float[1,2,3] x", ["float[2] w = {5, 7}", ZEROS, EACH], IN, "y = Mul(n, g)"),
        ["InstanceNormalization", "Mul"],
    ),
    "a number of the caller's": (
        graph("float[1,2,3] x, float[1] g", [CHANNELS, ZEROS], IN, "y = Mul(n, g)"),
        ["InstanceNormalization", "Mul"],
    ),
    "weights of each example": (
        graph("float[2,2,3] x, float[2,2,1] g", [CHANNELS, ZEROS], IN, "y = Mul(n, g)"),
        ["InstanceNormalization", "Mul"],
    ),
}


@pytest.mark.parametrize("name", OF_INSTANCE_NORM)
def test_weights_behind_an_instance_norm(name):
    text, operators = OF_INSTANCE_NORM[name]
    assert fused(text) == operators


# Channels that come last

IMAGE = "float[2,5,7,4] x"
IMAGE_AXES = "int64[2] a = {1, 2}"
GROUPED = ["int64[5] to = {2, 5, 7, 2, 2}", "int64[3] a = {1, 2, 4}", "int64[4] channels = {2, 1, 1, 4}", E]


def in_groups(*nodes):
    """A norm in two groups of two channels, whose numbers come to the channels of x by nodes."""
    spread = [node.replace("from", name).replace("each", f"each_{name}") for name in "ms" for node in nodes]
    return (
        "r = Reshape(x, to) m = ReduceMean <keepdims=0> (r, a) k = ReduceMean(r, a) c = Sub(r, k) q = Mul(c, c)",
        f"v = ReduceMean <keepdims=0> (q, a) w = Add(v, e) s = Sqrt(w) {' '.join(spread)}",
        "d = Sub(x, each_m) y = Div(d, each_s)",
    )


def test_numbers_of_groups_for_their_channels():
    constants = [*GROUPED, "int64[3] more = {2, 2, 1}", "int64[3] wide = {2, 2, 2}"]
    nodes = ("each_1 = Reshape(from, more)", "each_2 = Expand(each_1, wide)", "each = Reshape(each_2, channels)")
    assert "InstanceNormalization" in fused(graph(IMAGE, constants, *in_groups(*nodes)))


def test_numbers_of_groups_for_channels_that_are_apart():
    constants = [*GROUPED, "int64[3] more = {2, 1, 2}", "int64[3] wide = {2, 2, 2}"]
    nodes = ("each_1 = Reshape(from, more)", "each_2 = Expand(each_1, wide)", "each = Reshape(each_2, channels)")
    assert "InstanceNormalization" not in fused(graph(IMAGE, constants, *in_groups(*nodes)))


OF_LAST_CHANNELS = {
    "float64": graph("double[2,5,7,4] x", [IMAGE_AXES, "double e = {1e-5}"], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"),
    "all axes": graph(
        IMAGE, [E], "m = ReduceMean(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q)", ROOT, "y = Div(d, s)"
    ),
    "the last axis alone": graph(IMAGE, [A, E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"),
    "one axis": graph(IMAGE, ["int64[1] a = {2}", E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"),
    "symbolic images": graph("float[2,H,W,4] x", [IMAGE_AXES, E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"),
    "two symbolic batches": graph(
        "float[B,H,7,2,4] x", ["int64[2] a = {2, 3}", E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"
    ),
    "no channels": graph("float[2,5,7,0] x", [IMAGE_AXES, E], CENTRED, VARIANCE, ROOT, "y = Div(d, s)"),
    "means of other groups, as many": graph(
        "float[2,4,3,3,2] x",
        ["int64[3] a = {1, 3, 4}", "int64[5] to = {2, 1, 1, 3, 1}", E],
        *("n = ReduceMean(x, a) m = Reshape(n, to) d = Sub(x, m)", VARIANCE, "o = Reshape(v, to) w = Add(o, e)"),
        "s = Sqrt(w) y = Div(d, s)",
    ),
    "the variance of another": graph(
        "float[2,5,7,4] x, float[2,5,7,4] other",
        [IMAGE_AXES, E],
        *(CENTRED, "c = Sub(other, m) q = Mul(c, c) v = ReduceMean(q, a)", ROOT, "y = Div(d, s)"),
    ),
}


@pytest.mark.parametrize("name", OF_LAST_CHANNELS)
def test_no_norm_of_last_channels(name):
    assert "InstanceNormalization" not in fused(OF_LAST_CHANNELS[name])


TURNED = "n = InstanceNormalization(x, w, b) z = Transpose <perm=[0,2,1]> (n)"


def test_weights_in_front_of_a_transpose():
    text = graph("float[2,2,3] x, float[2] g", [CHANNELS, ZEROS], TURNED, "y = Mul(z, g)")
    assert fused(text) == ["InstanceNormalization", "Transpose"]


def test_a_weight_of_a_higher_rank_stays_behind_a_transpose():
    text = graph("float[2,2,3] x, float[1,1,1,2] g", [CHANNELS, ZEROS], TURNED, "y = Mul(z, g)")
    assert fused(text) == ["InstanceNormalization", "Transpose", "Mul"]


def test_what_is_transposed_for_another_reader_is_transposed_once():
    text = graph("float[2,2,3] x, float[2] g", [CHANNELS, ZEROS], TURNED, "y = Mul(z, g)", outputs="y, z")
    assert fused(text) == ["InstanceNormalization", "Transpose", "Mul"]


# Batch norm of kept weights


def batch_norm(dtype="float", shape="2,3,5", inputs="float[3,1] weight_m", constants=(), centre="weight_m"):
    weights = "float[3,1] weight_v, float[3,1] weight_g, float[3,1] weight_b"
    return graph(
        f"float[{shape}] x, {weights}, {inputs}".replace("float[", f"{dtype}["),
        [f"{dtype} e = {{1e-5}}", *constants],
        f"d = Sub(x, {centre}) w = Add(weight_v, e) s = Sqrt(w) i = Div(d, s) k = Mul(i, weight_g)",
        "y = Add(k, weight_b)",
    )


def test_batch_norm():
    assert fused(batch_norm()) == [*["Reshape"] * 4, "BatchNormalization"]
    assert "BatchNormalization" in fused(batch_norm(inputs="float[1,3,1] weight_m"))


OF_BATCH_NORM = {
    "float64": batch_norm("double"),
    "a weight of the caller's": batch_norm(inputs="float[3,1] given", centre="given"),
    "one number for all channels": batch_norm(inputs="float[1] weight_m"),
    "a mean along the last axis": batch_norm(shape="2,3,3", inputs="float[3] weight_m"),
    "symbolic channels": batch_norm(shape="2,W,5"),
    "a mean of more rows": batch_norm(shape="1,3,5", inputs="float[2,3,1] weight_m"),
    "rows": graph(
        "float[2,4] x, float[4] weight",
        [E],
        "d = Sub(x, weight) w = Add(weight, e) s = Sqrt(w) i = Div(d, s) k = Mul(i, weight) y = Add(k, weight)",
    ),
}


@pytest.mark.parametrize("name", OF_BATCH_NORM)
def test_no_batch_norm(name):
    assert "BatchNormalization" not in fused(OF_BATCH_NORM[name])
