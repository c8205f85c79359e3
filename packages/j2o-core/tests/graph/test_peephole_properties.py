"""Random chains through the builder compute what the operators say, one after the other."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from j2o_core.graph._builder import Builder
from j2o_core.graph._constants import Constants
from j2o_core.graph._values import numpy_dtype, stamp
from j2o_core.target import Target

DTYPES = [np.dtype(name) for name in ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")]


class Chain:
    """A value of a graph being built, and its array."""

    def __init__(self, rng, constant):
        self.rng, self.graph = rng, ir.Graph([], [], nodes=[], opset_imports={"": 21}, name="g")
        self.op = Builder(Constants(), Target(None, 21), append=self.graph.append)
        shape = tuple(int(size) for size in rng.choice([1, 1, 2, 3], rng.integers(1, 4)))
        dtype = rng.choice(DTYPES)
        self.array = rng.choice([0, 1, -1, 3, 100, 1000, 70000, 2**53 + 1], shape).astype(dtype)
        self.x = ir.Value(name="x")
        stamp(self.x, dtype, shape)
        self.fed = self.array
        self.value = self.op.const(self.array) if constant else self.x

    def ints(self, values):
        return self.op.const(np.asarray(values, np.int64))

    def transpose(self):
        perm = [int(axis) for axis in self.rng.permutation(self.array.ndim)]
        self.value, self.array = self.op.Transpose(self.value, perm=perm), self.array.transpose(perm)

    def cast(self):
        dtype = self.rng.choice(DTYPES)
        if self.array.dtype.kind == "f" and dtype.kind in "iu":
            return  # of what does not fit, ONNX says nothing
        with np.errstate(all="ignore"):
            self.array = self.array.astype(dtype)
        self.value = self.op.Cast(self.value, to=ir.DataType.from_numpy(dtype))

    def reshape(self):
        sizes = [int(size) for size in self.rng.permutation(self.array.shape)]
        if self.array.ndim and self.rng.random() < 0.3:
            axis = int(self.rng.integers(self.array.ndim))
            sizes, target = list(self.array.shape), [0 if i == axis else n for i, n in enumerate(self.array.shape)]
        else:
            target = sizes
        self.value, self.array = self.op.Reshape(self.value, self.ints(target)), self.array.reshape(sizes)

    def unsqueeze(self):
        if self.array.ndim < 5:
            axis = int(self.rng.integers(self.array.ndim + 1))
            self.value, self.array = self.op.Unsqueeze(self.value, self.ints([axis])), np.expand_dims(self.array, axis)

    def squeeze(self):
        ones = [axis for axis, size in enumerate(self.array.shape) if size == 1]
        if ones:
            axis = int(self.rng.choice(ones))
            self.value, self.array = self.op.Squeeze(self.value, self.ints([axis])), np.squeeze(self.array, axis)

    def concat(self):
        if self.array.ndim and self.array.size < 100:
            axis = int(self.rng.integers(self.array.ndim))
            empty = self.op.const(np.zeros_like(self.array).take([], axis))
            other = self.rng.choice(["itself", "nothing", "both"])
            operands = {"itself": [self.value] * 2, "nothing": [empty, self.value], "both": [self.value, empty] * 2}
            self.value = self.op.Concat(*operands[other], axis=axis)
            self.array = self.array if other == "nothing" else np.concatenate([self.array] * 2, axis)

    def gather(self):
        if self.array.ndim:
            axis = int(self.rng.integers(self.array.ndim))
            place = int(self.rng.integers(self.array.shape[axis]))
            self.value = self.op.Gather(self.value, self.ints(place), axis=axis)
            self.array = self.array.take(place, axis)

    def invert(self):
        if self.array.dtype == bool:
            self.value, self.array = self.op.Not(self.value), ~self.array

    def add(self):
        if self.array.dtype == np.int64 and self.array.size < 100:
            other = self.array * 2 + 1
            with np.errstate(all="ignore"):
                self.value, self.array = self.op.Add(self.value, self.op.const(other)), self.array + other

    def run(self):
        if self.value.const_value is not None or self.op.constant_value(self.value) is not None:
            return self.op.constant_value(self.value)
        result = self.op("Identity", self.value)
        node = ir.Node("", "Identity", [result])
        node.outputs[0].name = "y"
        stamp(node.outputs[0], numpy_dtype(self.value), self.array.shape)
        self.graph.append(node)
        self.graph.inputs.append(self.x)
        self.graph.outputs.append(node.outputs[0])
        for number, value in enumerate({value for one in self.graph for value in one.inputs if value.const_value}):
            value.name = value.const_value.name = f"c{number}"
            self.graph.initializers.add(value)
        model = ir.to_proto(ir.Model(self.graph, ir_version=10))
        return ReferenceEvaluator(model).run(None, {"x": self.fed})[0]


STEPS = ["transpose", "cast", "reshape", "unsqueeze", "squeeze", "concat", "gather", "invert", "add"]


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")  # of ONNX's evaluator
@pytest.mark.parametrize("constant", [False, True])
def test_chains_compute_what_their_operators_say(constant):
    for seed in range(400):
        rng = np.random.default_rng(seed)
        chain = Chain(rng, constant)
        done = []
        for _ in range(rng.integers(2, 8)):
            done.append(str(rng.choice(STEPS)))
            getattr(chain, done[-1])()
        got = chain.run()
        assert got.dtype == chain.array.dtype, (seed, done)
        np.testing.assert_array_equal(got, chain.array, err_msg=f"{seed} {done}")


@pytest.mark.parametrize("wide", DTYPES, ids=str)
@pytest.mark.parametrize("narrow", DTYPES, ids=str)
def test_a_cast_and_back_goes_only_if_the_wide_type_has_every_value(narrow, wide):
    graph = ir.Graph([], [], nodes=[])
    op = Builder(Constants(), Target(None, 21), append=graph.append)
    x = ir.Value(name="x")
    stamp(x, narrow, (3,))
    back = op.Cast(op.Cast(x, to=ir.DataType.from_numpy(wide)), to=ir.DataType.from_numpy(narrow))
    if narrow.kind == "f":
        every = np.array([np.finfo(narrow).max, np.finfo(narrow).smallest_subnormal, 0.1], narrow)
    elif narrow.kind == "b":
        every = np.array([False, True])
    else:
        every = np.array([np.iinfo(narrow).max, np.iinfo(narrow).min, np.iinfo(narrow).max - 1], narrow)
    with np.errstate(all="ignore"):
        kept = narrow == wide or bool((every.astype(wide).astype(narrow) == every).all() and wide.kind != "b")
    if narrow.kind == "f" and wide.kind in "iu":
        kept = False
    assert (back is x) == ((kept and np.can_cast(narrow, wide)) or narrow == wide)
