import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError, TraceError

X = np.linspace(-1, 1, 3, dtype=np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    weight: jax.Array

    def __call__(self, x):
        return x * self.weight

    def twice(self, x):
        return self(self(x))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Net:
    layers: list

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


NET = Net([Layer(jnp.arange(1.0, 4)), Layer(jnp.arange(2.0, 5))])


def initializers(program):
    return list(program.model.graph.initializers)


def test_every_kind_of_callable(check):
    def fn(x, scale=2.0):
        return x * scale

    for callable_ in (
        fn,
        lambda x: x + 1,
        functools.partial(fn, scale=3.0),
        NET,
        NET.__call__,
        NET.layers[0].twice,
        jax.jit(fn),
        jax.vmap(fn),
        jax.jit(jax.vmap(NET)),
        functools.partial(jax.jit(fn), scale=jnp.ones(3)),
        jax.checkpoint(fn),
        jnp.sin,
    ):
        check(callable_, X, opsets=[21])


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f)), lambda f: f.__call__])
def test_weights_have_their_path_however_the_module_is_wrapped(export, wrap):
    program = export(wrap(NET), [("B", 3) if wrap(NET) is not NET else (3,)])
    assert initializers(program) == ["layers.0.weight", "layers.1.weight"]


def test_weights_in_closures_partials_defaults_and_globals(export):
    local = jnp.arange(3.0) + 7
    assert initializers(export(lambda x: x * local, [(3,)])) == ["local"]
    assert initializers(export(functools.partial(lambda w, x: x * w, local), [(3,)])) == ["arg_0"]
    assert initializers(export(functools.partial(lambda x, w: x * w, w=local), [(3,)])) == ["w"]
    assert initializers(export(lambda x, w=local: x * w, [(3,)])) == ["default_0"]
    other = {"deep": [jnp.arange(3.0) + 9]}
    assert initializers(export(lambda x: NET(x) + other["deep"][0], [(3,)])) == [
        "NET.layers.0.weight",
        "NET.layers.1.weight",
        "other.deep.0",
    ]


def test_a_tied_weight_is_one_initializer(export):
    tied = Layer(jnp.arange(3.0))
    assert initializers(export(Net([tied, tied]), [(3,)])) == ["layers.0.weight"]


def test_constants_and_arguments_keep_their_places(check):
    """A captured array is an initializer, an argument is an input; neither is baked into a node."""
    weight = jnp.arange(3.0)
    program = check(lambda x, w: x * w + weight, X, X + 1, opsets=[21])
    assert program.input_names == ["x", "w"]
    assert initializers(program) == ["weight"]
    assert [node.op_type for node in program.model.graph] == ["Mul", "Add"]


def test_an_argument_that_nobody_reads_is_an_input_all_the_same(check):
    program = check(lambda x, unused: x + 1, X, X)
    assert program.input_names == ["x", "unused"]


def test_outputs_are_any_pytree(check):
    def fn(x):
        return {"mean": x + 1, "all": [x, (x * 2, NET)]}

    program = check(fn, X, opsets=[21])
    assert program.output_names == ["all.0", "all.1.0", "all.1.1.layers.0.weight", "all.1.1.layers.1.weight", "mean"]
    result = program(X)
    np.testing.assert_array_equal(result["mean"], X + 1)
    assert isinstance(result["all"][1][1], Net)


def test_python_numbers_are_outputs(check):
    program = check(lambda x: (x, 2.5, 3, True), X, opsets=[21])
    assert program.output_names == ["output_0", "output_1", "output_2", "output_3"]


class Pair(typing.NamedTuple):
    array: object
    number: object


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Record:
    array: object
    number: object


Module = type("Module", (), {"__module__": "equinox._module"})


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layered(Module):
    array: object
    number: object


@pytest.mark.parametrize("number", [2.5, 3, True, np.float32(1), np.arange(2)])
@pytest.mark.parametrize("kind", [Pair, Record])
def test_numbers_in_a_returned_class_are_outputs(check, kind, number):
    """As `jax.jit` returns them."""
    program = check(lambda x: kind(x + 1, number), X, opsets=[21])
    assert program.output_names == ["array", "number"]
    result, expected = program(X), jax.jit(lambda x: kind(x + 1, number))(X)
    assert isinstance(result, kind)
    assert result.number.dtype == expected.number.dtype
    np.testing.assert_array_equal(result.number, expected.number)


def test_numbers_of_equinox_modules_are_settings(check):
    """As `equinox.filter_jit` has them, in and out; the report names those that come out."""
    program = check(lambda layer, x: Layered(layer.array * x + layer.number, layer.number), Layered(X, 2.5), X)
    assert program.input_names == ["layer.array", "x"]
    assert program.output_names == ["array"]
    assert "setting        number = 2.5, fixed in the graph" in program.report()
    assert program(Layered(X, 2.5), X).number == 2.5
    with pytest.raises(SpecError, match=r"'layer.number' is 3.5 in this call, and was 2.5 at export"):
        program(Layered(X, 3.5), X)


@pytest.mark.parametrize("kind", [Pair, Record])
def test_numbers_in_an_argument_are_inputs(check, kind):
    """As `jax.jit` takes them: what was there at export is not fixed, and gives way to other dtypes."""
    program = check(lambda record, x: record.array * record.number + x, kind(X, 2.5), X.astype(np.float16))
    assert program.input_names == ["record.array", "record.number", "x"]
    np.testing.assert_array_equal(program(kind(X, 4.0), X.astype(np.float16)), X * 4 + X.astype(np.float16))
    halves = check(lambda record: record.array * record.number, kind(X.astype(np.float16), 2.5))
    assert halves.model.graph.outputs[0].dtype.name == "FLOAT16"


def test_sizes_in_a_result_are_outputs(check):
    program = check(lambda x: Pair(x + 1, x.shape[0]), ("N",), opsets=[21])
    assert program(X).number == 3


def test_names_of_outputs(export):
    assert export(lambda x: x + 1, [(3,)]).output_names == ["output"]
    assert export(lambda x: [x + 1], [(3,)]).output_names == ["output_0"]
    assert export(lambda x: (x, x), [(3,)], output_names=["a", "b"]).output_names == ["a", "b"]
    with pytest.raises(SpecError, match=r"output_names has 1 name, \['a'\]\. Expected 2"):
        export(lambda x: (x, x), [(3,)], output_names=["a"])
    with pytest.raises(SpecError, match="name twice"):
        export(lambda x: (x, x), [(3,)], output_names=["a", "a"])
    with pytest.raises(SpecError, match="output_names has 'x', as inputs are named"):
        export(lambda x: x * 2, [(3,)], output_names=["x"])


def test_outputs_and_inputs_never_share_a_name(export, check):
    program = check(lambda x: {"x": x + 1}, X, opsets=[21])
    assert program.input_names == ["x"]
    assert program.output_names == ["x_1"]
    weight = jnp.arange(3.0)
    program = check(lambda x: {"weight": x * weight}, X, opsets=[21])
    names = [*program.input_names, *program.output_names, *initializers(program)]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", r"returned 'text' \(of type str\) at output 0"),
        (object, r"\(of type type\)"),
        (None, "returns no array"),
        ({"a": "text"}, r"at output \['a'\]"),
        ([], "returns no array"),
    ],
)
def test_what_is_no_array_is_refused(export, value, message):
    def model(x):
        return value

    with pytest.raises(TraceError, match=message) as failure:
        export(model, [(3,)])
    assert "model" in str(failure.value)
    assert "test_trace.py:" in str(failure.value)


def test_a_function_as_output_is_refused(export):
    with pytest.raises(TraceError, match="which is not an array"):
        export(lambda x: jnp.sin, [(3,)])


def test_what_jax_rejects_export_rejects(export):
    def model(x, y):
        return x @ y

    with pytest.raises(TraceError) as failure:
        export(model, [("B", 3), (4, 2)])
    message = str(failure.value)
    assert "JAX cannot trace model (" in message
    assert "float32[B, 3], float32[4, 2]" in message
    assert "TypeError" in message
    assert isinstance(failure.value.__cause__, TypeError)


def test_python_control_flow_on_values_is_jax_error(export):
    with pytest.raises(TraceError, match="TracerBoolConversionError"):
        export(lambda x: x if x[0] > 0 else -x, [(3,)])


def test_the_wrong_number_of_arguments(export):
    with pytest.raises(SpecError, match=r"takes \(x\), inputs has 2 specs\.\n.* 1 positional argument"):
        export(lambda x: x, [(3,), (3,)])
    with pytest.raises(SpecError, match=r"takes \(x, y\), inputs has 2 specs with the names x, z\."):
        export(lambda x, y: x, {"x": (3,), "z": (3,)})


def test_x64_is_as_it_is_set(check, export):
    program = export(lambda x: x + jnp.arange(3), [jnp.arange(3)])
    assert program.model.graph.outputs[0].dtype.name == "INT32"
    with jax.enable_x64(True):
        program = check(lambda x: x * 2, np.linspace(0, 1, 5), opsets=[21])
        assert program.model.graph.outputs[0].dtype.name == "DOUBLE"
        program = check(lambda x: x.astype(jnp.float32) + 1, np.arange(3, dtype=np.int64), opsets=[21])
        assert program.model.graph.inputs[0].dtype.name == "INT64"
        assert program.model.graph.outputs[0].dtype.name == "FLOAT"


def test_a_weight_given_as_numpy_is_an_initializer_too(check):
    weight = np.arange(3, dtype=np.float32) + 100
    program = check(lambda x: x * weight, X, opsets=[21])
    assert len(initializers(program)) == 1


def test_a_large_numpy_weight_keeps_its_name(export):
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    assert initializers(export(lambda x: x @ weight, [(2, 64)])) == ["weight"]
