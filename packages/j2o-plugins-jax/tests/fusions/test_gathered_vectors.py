"""A place by an index vector, which an update reads and writes, comes by one GatherND; other chains of Gather stay."""

import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from j2o_core.target import Target
from j2o_core.testing import Spec, check
from j2o_core.testing._legalized import rewrite_model
from j2o_plugins_jax import plugin

# An array of few elements is updated by a choice for each place.
SHAPE = (40, 50)
X = np.random.default_rng(0).standard_normal((*SHAPE, 3)).astype(np.float32)


def operators(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("place", [(1, 2), (-1, -50), (40, 0), (-41, 0), (2**31 - 1, -(2**31))])
@pytest.mark.parametrize("update", ["set", "add", "max"])
def test_an_update_reads_its_place_once(place, update):
    def updated(x, i, j):
        return getattr(x.at[i, j, 1], update)(2.5), getattr(x[..., 0].at[i, j], update)(-1)

    program = check(updated, X, *(np.int32(one) for one in place), opsets=(18, 21))
    assert "GatherND" in operators(program)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_, np.float16, jnp.bfloat16])
def test_element_types(dtype):
    check(
        lambda x, i: x.at[i[0], i[1]].set(x[0, 0]),
        Spec(SHAPE, dtype),
        np.array([1, 7], np.int32),
        opsets=(21,),
        contains=["GatherND"],
    )


def chain(nodes, vector="int64[2] v", shape="4,5,3"):
    return f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[{shape}] x, {vector}, int64[2] w) => (y) <int64 zero = {{0}}, int64 one = {{1}}, int64[1] ones = {{1}}>
    {{ {nodes} }}"""


VECTOR = "i = Gather(v, zero) j = Gather(v, one) "
BESIDE = {
    "the first number of a longer vector": chain(VECTOR + "a = Gather <axis=1> (x, j) y = Gather (a, i)", "int64[3] v"),
    "numbers the other way round": chain(VECTOR + "a = Gather <axis=1> (x, i) y = Gather (a, j)"),
    "another axis": chain(VECTOR + "a = Gather <axis=2> (x, j) y = Gather (a, i)"),
    "another axis for the first": chain(VECTOR + "a = Gather <axis=1> (x, j) y = Gather <axis=1> (a, i)"),
    "two vectors": chain("i = Gather(v, zero) j = Gather(w, one) a = Gather <axis=1> (x, j) y = Gather (a, i)"),
    "a part of the vector": chain(
        "i = Gather(v, zero) j = Gather(v, ones) a = Gather <axis=1> (x, j) y = Gather (a, i)"
    ),
    "int32": chain(VECTOR + "a = Gather <axis=1> (x, j) y = Gather (a, i)", "int32[2] v"),
    "one number": chain("i = Gather(v, zero) y = Gather (x, i)", "int64[1] v"),
    "a value between that others read": chain(
        VECTOR + "a = Gather <axis=1> (x, j) b = Gather (a, i) c = ReduceMax <keepdims=0> (a) y = Add(b, c)"
    ),
    "a matrix": chain(VECTOR + "a = Gather <axis=1> (x, j) y = Gather (a, i)", "int64[2,2] v"),
}


def rewritten(text):
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    rewrite_model(model, Target(None, 21), plugin)
    return [node.op_type for node in model.graph]


def test_a_chain():
    assert rewritten(chain(VECTOR + "a = Gather <axis=1> (x, j) y = Gather (a, i)")) == ["GatherND"]


@pytest.mark.parametrize("name", BESIDE)
def test_beside(name):
    assert "GatherND" not in rewritten(BESIDE[name])
