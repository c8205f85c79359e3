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


LARGE = 2**18  # of float32: 1 MB


def set_one(i, x):
    return x.at[7 * i].set(x[i] + 1)


@pytest.mark.parametrize("opset", [18, 21, 26])
def test_elements_of_a_large_carry_are_set_in_place(opset):
    check(
        lambda x: lax.fori_loop(0, 30, set_one, x),
        (LARGE,),
        opsets=(opset,),
        contains=["ScatterElements"],
        absent=LOOPS,
    )


def test_elements_of_a_large_carry_at_places_that_data_say():
    def fn(x, places, values):
        def turn(x, item):
            place, value = item
            block = lax.dynamic_slice(x, (place, 0), (1, 3))
            return lax.dynamic_update_slice(x, block * value, (place, place)), value + x[place, 1]

        return lax.scan(turn, x, (places, values))

    ends = np.iinfo(np.int32)
    places = np.array([0, 5, -1, 5, ends.max, ends.min, 2**12, 2**12 - 1], np.int32)
    check(fn, Spec((2**12, 2**6)), places, Spec((8,)), opsets=(18, 21), absent=LOOPS)
    add = lambda x, i: (x.at[i, 3].add(2.0), None)  # noqa: E731
    check(lambda x, i: lax.scan(add, x, i)[0], Spec((2**12, 2**6)), places, opsets=(21,), absent=LOOPS)


@pytest.mark.parametrize(
    ("size", "turn"),
    [
        (LARGE // 2, set_one),
        (LARGE, lambda i, x: set_one(i, x) * 2),
        (LARGE, lambda i, x: x.at[i].set(x.sum())),
        (LARGE, lambda i, x: x.at[jnp.arange(100) + i].set(x[i])),
        (LARGE, lambda i, x: lax.dynamic_update_slice(x, x[:100] * 2, (i,))),
        (LARGE, lambda i, x: set_one(i + 1, set_one(i, x))),
    ],
    ids=["small", "all changed", "all read", "many places", "many elements", "twice"],
)
def test_what_copies_anyway_stays_a_loop(size, turn):
    loops = [node.op_type for node in to_onnx(lambda x: lax.fori_loop(0, 30, turn, x), [(size,)]).model.graph]
    assert "Loop" in loops
    options = {"unroll": False, "opsets": (21,), "contains": ["Loop"]}
    check(lambda x: lax.fori_loop(0, 30, set_one, x), (LARGE,), **options)
