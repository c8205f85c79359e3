import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import export as jax_export

from j2o_core import SpecError
from j2o_core.trace._names import unique_names
from j2o_core.trace._specs import parse_inputs


def leaves(fn, inputs, **options):
    found = parse_inputs(fn, inputs, **options).leaves
    return [(leaf.name, tuple(map(str, leaf.shape)), str(leaf.dtype)) for leaf in found]


def one(x):
    return x


def two(x, y):
    return x, y


def test_a_shape_is_float32():
    assert leaves(one, [(2, 3)]) == [("x", ("2", "3"), "float32")]
    assert leaves(one, [()]) == [("x", (), "float32")]
    assert leaves(one, [("B", np.int64(3))]) == [("x", ("B", "3"), "float32")]


def test_arrays_and_structs_keep_their_dtype():
    assert leaves(two, [np.zeros((2,), np.int8), jnp.zeros(3, jnp.bfloat16)]) == [
        ("x", ("2",), "int8"),
        ("y", ("3",), "bfloat16"),
    ]
    struct = jax.ShapeDtypeStruct(("B", 4), ml_dtypes.float8_e4m3fn)
    assert leaves(one, [struct]) == [("x", ("B", "4"), "float8_e4m3fn")]


def test_a_typed_key_may_be_given_itself():
    key = jax.random.key(0)
    (leaf,) = parse_inputs(lambda key: key, [key]).leaves
    assert leaf.dtype == key.dtype
    assert leaf.shape == ()


def test_weak_types_survive():
    (leaf,) = parse_inputs(one, [jnp.asarray(1.0)]).leaves
    assert leaf.weak_type
    (leaf,) = parse_inputs(one, [jnp.float32(1)]).leaves
    assert not leaf.weak_type


def test_names_are_tree_paths_below_parameters():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class State:
        mean: jax.Array
        steps: list

    tree = {"image": (2, 2), "rest": [(3,), State(jnp.zeros(1), [jnp.zeros(2)])]}
    names = [name for name, _, _ in leaves(lambda batch, y: None, [tree, (1,)])]
    assert names == ["batch.image", "batch.rest.0", "batch.rest.1.mean", "batch.rest.1.steps.0", "y"]


def test_names_of_the_usual_kinds_of_callables():
    class Model:
        def __call__(self, pixels):
            return pixels

        def features(self, pixels, mask):
            return pixels

    assert leaves(Model(), [(2,)])[0][0] == "pixels"
    assert [name for name, _, _ in leaves(Model().features, [(2,), (3,)])] == ["pixels", "mask"]
    assert leaves(functools.partial(two, y=1), [(2,)])[0][0] == "x"
    assert leaves(jax.jit(jax.vmap(one)), [(2,)])[0][0] == "x"
    assert [name for name, _, _ in leaves(lambda *xs: xs, [(1,), (1,)])] == ["xs_0", "xs_1"]


def test_keywords_are_a_mapping():
    parsed = parse_inputs(two, {"y": (2,), "x": (3,)})
    assert sorted(leaf.name for leaf in parsed.leaves) == ["x", "y"]
    arrays = [np.zeros(leaf.shape) for leaf in parsed.leaves]
    x, y = parsed.call(two, arrays)
    assert (x.shape, y.shape) == ((3,), (2,))


def test_no_arguments_at_all():
    parsed = parse_inputs(lambda: 1, [])
    assert parsed.leaves == ()
    assert parsed.call(lambda: 7, []) == 7
    assert parsed.flatten(()) == []


def test_an_empty_tuple_among_arrays_is_no_scalar():
    """The state of an optimizer is full of them; in a tree of shapes it is the shape of a scalar."""
    state = {"moments": (np.zeros(2, np.float32), ()), "count": np.int32(0)}
    parsed = parse_inputs(one, [state])
    assert [leaf.name for leaf in parsed.leaves] == ["x.count", "x.moments.0"]
    assert len(parsed.flatten((state,))) == 2
    scalars = {"weight": (2, 3), "scale": (), "lines": [()]}
    assert [leaf.shape for leaf in parse_inputs(one, [scalars]).leaves] == [(), (), (2, 3)]
    assert parse_inputs(one, [()]).leaves[0].shape == ()
    assert [leaf.shape for leaf in parse_inputs(two, [np.zeros(2, np.float32), ()]).leaves] == [(2,), ()]


def test_duplicate_names_are_numbered():
    assert unique_names(["a", "a", "a_1", "b", "a"]) == ["a", "a_2", "a_1", "b", "a_3"]
    names = [name for name, _, _ in leaves(lambda x: None, [{"a.b": (1,), "a": {"b": (2,)}}])]
    assert len(set(names)) == 2


def test_names_can_be_given():
    assert [name for name, _, _ in leaves(two, [(1,), (2,)], input_names=["a", "b"])] == ["a", "b"]
    for names, message in (
        (["a"], r"input_names has 1 name, \['a'\]\. Expected 2: for x, y"),
        (["a", "a"], "has a name twice"),
        (["a", ""], "Expected a list of 2 names"),
        ("ab", "Expected a list of 2 names"),
        (["a", 1], "Expected a list of 2 names"),
    ):
        with pytest.raises(SpecError, match=message):
            parse_inputs(two, [(1,), (2,)], input_names=names)


def test_settings_of_modules_are_no_inputs():
    @functools.partial(jax.tree_util.register_dataclass, data_fields=["weight", "act"], meta_fields=[])
    @dataclasses.dataclass
    class Layer:
        weight: object
        act: object

    layer = Layer(jnp.ones(3), jnp.sin)
    parsed = parse_inputs(lambda layer, x: layer.act(layer.weight * x), [layer, (3,)])
    assert [leaf.name for leaf in parsed.leaves] == ["layer.weight", "x"]
    result = parsed.call(lambda layer, x: layer.act(layer.weight * x), [np.ones(3), np.ones(3)])
    np.testing.assert_allclose(result, np.sin(np.ones(3)), rtol=1e-6)


def test_equal_names_are_equal_sizes_and_expressions_work():
    parsed = parse_inputs(two, [("B", "2*T", "T"), ("B", "T//2 + 1", "(B + 1) * T % 3", "max(B, 2*T)", "2*3")])
    assert parsed.symbols == ["B", "T"]
    (x, y) = (leaf.shape for leaf in parsed.leaves)
    b, t = x[0], x[2]
    assert y[0] == b
    assert x[1] == 2 * t
    assert y[1] == t // 2 + 1
    assert y[2] == (b + 1) * t % 3
    assert str(y[3]) in ("max(B, 2*T)", "max(2*T, B)")
    assert y[4] == 6


def test_symbols_made_by_the_user_join_the_others():
    b, t = jax_export.symbolic_shape("B, T")
    parsed = parse_inputs(two, [jax.ShapeDtypeStruct((b, t), jnp.float32), ("B", 3)])
    (x, y) = (leaf.shape for leaf in parsed.leaves)
    assert x[0] == y[0]


def test_what_is_known_of_the_users_symbols_is_kept():
    (t,) = jax_export.symbolic_shape("T", constraints=["T <= 8"])
    parsed = parse_inputs(one, [{"a": jax.ShapeDtypeStruct((t, 3), jnp.float32)}], constraints=["T >= 2"])
    (leaf,) = parsed.leaves
    assert leaf.shape[0] <= 8
    assert leaf.shape[0] >= 2


def test_a_tree_with_a_shape_and_a_dtype_is_a_tree():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Quantized:
        values: object
        scale: object
        shape = property(lambda self: self.values.shape)
        dtype = property(lambda self: self.scale.dtype)

    given = Quantized(np.ones((2, 3), np.int8), np.float32(0.5))
    for spec, name in ((given, "x"), ({"w": given}, "x.w"), ([given, (2,)], "x.0")):
        parsed = parse_inputs(one, [spec])
        assert [leaf.name for leaf in parsed.leaves[:2]] == [f"{name}.values", f"{name}.scale"]
        assert parsed.leaves[0].dtype == np.int8


def test_digits_in_a_string_are_a_size():
    assert leaves(one, [("3", " 4 ")]) == [("x", ("3", "4"), "float32")]


def test_constraints_are_known_while_tracing():
    (leaf,) = parse_inputs(one, [("T",)], constraints=["T >= 4"]).leaves
    assert leaf.shape[0] >= 4
    with pytest.raises(SpecError, match=r"The constraint 'T >=' cannot be read: it is no comparison"):
        parse_inputs(one, [("T",)], constraints=["T >="])
    assert parse_inputs(one, [("T",)], constraints="T >= 4").leaves[0].shape[0] >= 4


WRONG = [
    ("abc", r"inputs is 'abc'\. Expected a sequence with one spec per argument"),
    (3, r"inputs is 3\. Expected a sequence"),
    (("B", 3), r"inputs is the shape \('B', 3\) itself\. Expected .*: \[\('B', 3\)\]"),
    ([3], r"The spec of 'x' is 3, which is not a spec\.\nExpected an array"),
    ([{"a": (2,), "b": 1.5}], r"The spec of 'x.b' is 1.5"),
    ([("B", -1)], r"Dimension -1 of input 'x' \('B', -1\) is not a size"),
    ([("B*",)], r"Dimension 'B\*' of input 'x' .* cannot be read"),
    ([("2 - 3",)], r"Dimension '2 - 3' of input 'x' .* is negative"),
    ([("T/2",)], r"'T / 2' is not an expression of sizes\. Expected integers, names such as B, \+ - \* // %"),
    ([("T if T else 1",)], r"is not an expression of sizes"),
    ([("",)], r"Dimension '' of input 'x' .* cannot be read"),
    ([(2.5, 3)], r"The spec of 'x.0' is 2.5"),
    ([np.array(["a"])], r"Input 'x' has dtype <U1, which JAX does not have"),
    ([np.array([object()])], r"Input 'x' has dtype object"),
    ([np.zeros(2)], r"Input 'x' has dtype float64, but JAX's 64-bit types are off, so JAX would make it float32"),
    ([jax.ShapeDtypeStruct((2,), np.dtype("int64"))], r"jax_enable_x64"),
]


@pytest.mark.parametrize(("inputs", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_is_no_spec_is_refused(inputs, message):
    with pytest.raises(SpecError, match=message):
        parse_inputs(one, inputs)


def test_64_bit_inputs_where_they_are_switched_on():
    with jax.enable_x64(True):
        assert leaves(one, [np.zeros(2)]) == [("x", ("2",), "float64")]


def test_a_call_of_another_structure_is_refused(export):
    program = export(lambda x: x["a"] + 1, [{"a": (2,)}])
    np.testing.assert_array_equal(program({"a": np.ones(2, np.float32)}), [2, 2])
    with pytest.raises(SpecError, match=r"The call lacks 'x\.a' and has 'x'"):
        program(np.ones(2, np.float32))
    with pytest.raises(SpecError, match="The call has 'argument 1', which the program does not take"):
        program({"a": np.ones(2, np.float32)}, 1)


@pytest.mark.parametrize("opset", [17, 27, 0, -1, 21.0, "21", None, True])
def test_an_opset_out_of_range_says_the_range(export, opset):
    with pytest.raises(SpecError, match=r"j2o writes opsets 18 to 26"):
        export(one, [(2,)], opset=opset)


def test_targets_and_functions_are_checked(export):
    with pytest.raises(SpecError, match=r'target is .tensorrt.\. Expected "onnxruntime", .* or None'):
        export(one, [(2,)], target="tensorrt")
    with pytest.raises(SpecError, match="fn is 3, which cannot be called"):
        export(3, [(2,)])
