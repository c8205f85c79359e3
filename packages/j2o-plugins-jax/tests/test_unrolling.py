"""Scans and counted loops over the layers of a network are unrolled: their products have constant weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core import SpecError, to_onnx
from j2o_core.testing import Spec, check

RNG = np.random.default_rng(0)
LAYERS, SIZE = 12, 4
WEIGHTS = {
    "w": RNG.standard_normal((LAYERS, SIZE, SIZE)).astype(np.float32),
    "b": RNG.standard_normal((LAYERS, SIZE)).astype(np.float32),
}
LOOPS = ("Scan", "Loop")


def layer(x, p):
    x = jnp.tanh(x @ p["w"] + p["b"])
    return x / (1 + jnp.abs(x)) + jnp.sin(x) * 0.5


def by_items(x, weights=WEIGHTS, reverse=False):
    return lax.scan(lambda x, p: (layer(x, p), x.sum()), x, weights, reverse=reverse)


def by_counter(x, weights=WEIGHTS):
    return lax.fori_loop(0, LAYERS, lambda i, x: layer(x, {name: jnp.asarray(w)[i] for name, w in weights.items()}), x)


def unrolled(x):
    for i in range(LAYERS):
        x = layer(x, {name: w[i] for name, w in WEIGHTS.items()})
    return x


def operators(program):
    return [node.op_type for node in program.model.graph]


@pytest.mark.parametrize("rows", [3, "T"])
@pytest.mark.parametrize("fn", [by_items, lambda x: by_items(x, reverse=True), by_counter])
def test_layers_are_written_out(fn, rows):
    program = check(fn, (rows, SIZE), opsets=(21,), absent=LOOPS)
    assert operators(program).count("MatMul") == LAYERS
    assert not {"Slice", "Gather"} & set(operators(program)) or rows == "T"


def test_the_graph_is_that_of_the_program_written_out():
    assert operators(to_onnx(by_counter, [(3, SIZE)])) == operators(to_onnx(unrolled, [(3, SIZE)]))


def test_each_layer_has_a_weight_of_its_name():
    names = set(to_onnx(lambda x: by_items(x)[0], [(3, SIZE)]).model.graph.initializers)
    assert {f"w[{i}]" for i in range(LAYERS)} < names


def test_kept_weights():
    check(by_items, (3, SIZE), opsets=(21,), weights="keep", absent=LOOPS)


def test_weights_in_another_form():
    def fn(x):
        def step(x, w):
            return layer(x, {"w": w.astype(jnp.float32).T, "b": 1.0}), None

        return lax.scan(step, x, WEIGHTS["w"].astype(np.float16))[0]

    check(fn, (3, SIZE), opsets=(21,), absent=LOOPS)


def test_weights_that_are_inputs_stay_items():
    specs = {name: Spec(w.shape) for name, w in WEIGHTS.items()}
    check(by_items, (3, SIZE), specs, opsets=(21,), contains=["Scan"])


def test_one_weight_for_all_turns_stays_in_the_loop():
    def fn(x):
        return lax.scan(lambda x, b: (layer(x, {"w": WEIGHTS["w"][0], "b": b}), None), x, WEIGHTS["b"])[0]

    check(fn, (3, SIZE), opsets=(21,), contains=["Scan"])


def test_as_many_layers_as_make_a_graph_too_large_stay_a_loop():
    many = np.zeros((2000, 2, 2), np.float32)
    program = to_onnx(lambda x: lax.scan(lambda x, w: (layer(x, {"w": w, "b": 1.0}), None), x, many)[0], [(3, 2)])
    assert operators(program) == ["Scan"]


@pytest.mark.parametrize(("unroll", "loops"), [("auto", 1), (False, 2), (True, 0)])
def test_on_request(unroll, loops):
    def fn(x, xs):
        x = lax.scan(lambda x, y: (x * 0.5 + y, None), x, xs[:5])[0]
        return lax.scan(lambda x, y: (jnp.sin(x) * y + x, None), x, xs)[0]

    program = check(fn, Spec((3,)), Spec((40, 3)), opsets=(21,), unroll=unroll)
    assert operators(program).count("Scan") == loops


def test_other_values_of_the_option_are_errors():
    with pytest.raises(SpecError, match="unroll is 3"):
        to_onnx(jnp.sin, [(3,)], unroll=3)


def test_gradients_of_layers():
    check(jax.grad(lambda x: by_items(x)[0].sum()), (3, SIZE), opsets=(21,))
