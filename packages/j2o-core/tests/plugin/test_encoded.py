"""Rules of plugins for complex numbers and random keys, which the graph has as real numbers and words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from j2o_core import LoweringError, Plugin, PluginError, Registry, UnsupportedError
from j2o_core.plugin._plugin import lowering_key

swap_p = Primitive("swap_parts")  # a kernel of a stranger's own, which swaps the real and the imaginary part
swap_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(swap_p, mlir.lower_fun(lambda z: lax.complex(z.imag, z.real), multiple_results=False))
count_p = Primitive("count_of_words")  # and one that sums the words of a key
count_p.def_abstract_eval(lambda key: key.update(shape=key.shape, dtype=jnp.dtype(jnp.uint32), weak_type=False))
taken_p = Primitive("taken")  # some parts of complex numbers
taken_p.def_abstract_eval(lambda z, shape: z.update(shape=shape, dtype=jnp.dtype(jnp.float32), weak_type=False))
Z = np.array([1 + 2j, -3j], np.complex64)


@pytest.fixture
def swapping(plugin):
    """The fake plugin, and the stranger's."""
    stranger = Plugin("stranger")
    stranger.lowering(swap_p)(lambda ctx, x: x)  # of real numbers; JAX's code for it is not looked at then
    stranger.encoded(swap_p, "complex")(lambda eqn, z: z @ jnp.eye(2)[::-1])
    return [plugin, stranger]


def test_a_stranger_s_operation_on_complex_numbers(export, swapping):
    program = export(swap_p.bind, [jax.ShapeDtypeStruct(("N",), np.complex64)], plugins=swapping)
    assert str(program.model.graph.inputs[0].shape) == "[N,2]"
    np.testing.assert_array_equal(program(Z), [[2, 1], [-3, 0]])
    program.verify()


def test_the_equation_has_the_shapes_and_dtypes_of_jax(export, plugin):
    seen = []

    @plugin.encoded(count_p, "key")
    def _count(eqn, words):
        seen.append((eqn.invars[0].aval.shape, eqn.outvars[0].aval.dtype, words.shape))
        return words.sum(-1, dtype=words.dtype)

    keys = jax.random.split(jax.random.key(3), 4)
    program = export(count_p.bind, [keys])
    assert seen == [((4,), np.uint32, (4, 2))]
    np.testing.assert_array_equal(program(keys), np.asarray(jax.random.key_data(keys)).sum(-1, dtype=np.uint32))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda eqn, z: lax.squeeze(lax.slice(z, (0, 0, 1), (1, 3, 2)), (0,)), [[2], [4], [6]]),
        (lambda eqn, z: lax.squeeze(lax.slice(lax.stack(_parts(z), 0), (0, 0, 1), (2, 1, 2)), (2,)), [[2], [4]]),
        (lambda eqn, z: lax.squeeze(lax.slice(z, (0, 1, 1), (1, 3, 2)), (2,)), [[4, 6]]),
    ],
    ids=["taken along another axis", "stacked along another axis", "taken in part"],
)
def test_parts_of_what_is_stacked(export, plugin, rule, expected):
    """Rules split what others have just stacked, which costs nothing: but only where both go along the last axis."""
    plugin.encoded("complex", "complex")(lambda eqn, x, y: lax.stack([x, y], 2))
    plugin.encoded(taken_p, "complex")(rule)
    plugin.lowering("slice")(_slice)
    plugin.lowering("stack")(_stack)
    program = export(lambda x: taken_p.bind(lax.complex(x, 2 * x), shape=np.shape(expected)), [(1, 3)])
    np.testing.assert_array_equal(program(np.array([[1, 2, 3]], np.float32)), expected)


def _parts(z):
    return [lax.squeeze(lax.slice(z, (0, 0, place), (1, 3, place + 1)), (2,)) for place in (0, 1)]


def _slice(ctx, x, *, start_indices, limit_indices, strides):
    assert strides is None
    return ctx.op.Slice(x, *(ctx.const(numbers, np.int64) for numbers in (start_indices, limit_indices)))


def _stack(ctx, *parts, axis):
    return ctx.op.Concat(*(ctx.op.Unsqueeze(x, ctx.const([axis], np.int64)) for x in parts), axis=axis)


def test_without_a_rule_the_operation_is_refused(export):
    with pytest.raises(UnsupportedError, match=r"typed keys that have no lowering:\n  swap_parts +1 equation  "):
        export(swap_p.bind, [Z], plugins=[_real_only()])


def _real_only():
    plugin = Plugin("real-only")
    plugin.lowering(swap_p)(lambda ctx, x: x)
    return plugin


def test_a_rule_that_returns_another_shape_is_named(export, plugin):
    plugin.lowering(swap_p)(lambda ctx, x: x)
    plugin.encoded(swap_p, "complex")(lambda eqn, z: z[..., 0])
    with pytest.raises(LoweringError, match=r"swap_parts on complex .* returned float32\[2\], .* float32\[2,2\]"):
        export(swap_p.bind, [Z])


def test_a_rule_that_returns_another_dtype_is_named(export, plugin):
    plugin.lowering(swap_p)(lambda ctx, x: x)
    plugin.encoded(swap_p, "complex")(lambda eqn, z: z.astype(np.int32))
    with pytest.raises(LoweringError, match=r"swap_parts on complex .* returned int32\[2,2\], .* float32\[2,2\]"):
        export(swap_p.bind, [Z])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda eqn, z: jnp.concatenate([z, z]), r"returned float32\[4,2\], the equation's result is float32\[2,2\]"),
        (lambda eqn, z: None, r"returned nothing \(without a return\?\)"),
        (lambda eqn, z: (z, z), r"returned \(float32\[2,2\], float32\[2,2\]\)"),
        (
            lambda eqn, z: z / eqn.params["scale"],
            r"raised KeyError: 'scale'\n  in the code at .*test_encoded.py:",
        ),
        (
            lambda z: z,
            r"takes 1 positional argument but 2 were given\n  in the code at .*test_encoded.py:",
        ),
    ],
    ids=["size", "none", "count", "raises", "operands"],
)
def test_a_wrong_rule_is_named_with_its_line(export, plugin, rule, message):
    plugin.lowering(swap_p)(lambda ctx, x: x)
    plugin.encoded(swap_p, "complex")(rule)
    with pytest.raises(LoweringError, match=rf"The rule for swap_parts on complex .*{message}"):
        export(swap_p.bind, [Z])


def test_a_rule_of_a_kind_that_there_is_not():
    with pytest.raises(PluginError, match=r"encodes 'quaternion'\. Expected one of 'complex', 'key'"):
        Plugin("p").encoded("mul", "quaternion")
    with pytest.raises(PluginError, match="3, which is no primitive"):
        Plugin("p").encoded(3, "complex")


def test_two_rules_for_one_operation():
    plugin = Plugin("one")
    plugin.encoded("mul", "complex")(lambda eqn, x, y: x)
    plugin.encoded("mul", "key")(lambda eqn, x, y: x)  # of other values
    with pytest.raises(PluginError, match=r"'one'\) registers two rules for mul of encoded values \(complex\)"):
        plugin.encoded("mul", "complex")(lambda eqn, x, y: y)
    other = Plugin("other")
    other.encoded("mul", "complex")(lambda eqn, x, y: y)
    with pytest.raises(PluginError, match=r"Two plugins have a rule for mul .*one is 'other'"):
        Registry([plugin, other])
    assert lowering_key("mul") in Registry([plugin]).encodings["complex"]
