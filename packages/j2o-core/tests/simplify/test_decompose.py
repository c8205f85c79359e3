"""Primitives that libraries make: what JAX computes them with stands for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import hijax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from j2o_core import LoweringError, UnsupportedError, to_onnx

X = np.linspace(-1, 1, 3, dtype=np.float32)


def library_primitive(name, implementation, abstract=lambda x, **_: x):
    primitive = Primitive(name)
    primitive.def_impl(implementation)
    primitive.def_abstract_eval(abstract)
    return primitive


def op_types(program):
    return [node.op_type for node in program.model.graph]


def test_an_implementation_in_jax_stands_for_the_primitive(export):
    primitive = library_primitive("library_double_sine", lambda x, *, times: jnp.sin(x) * times)
    program = export(lambda x: primitive.bind(x, times=2.0) + 1, [("N",)])
    assert op_types(program) == ["Sin", "Mul", "Add"]
    np.testing.assert_allclose(program(X), np.sin(X) * 2 + 1, rtol=1e-6)


def test_one_primitive_inside_another_and_inside_control_flow(export):
    inner = library_primitive("library_inner", functools.partial(lambda n, x: jnp.sin(x) * n, 3.0))
    outer = library_primitive("library_outer", lambda x: inner.bind(x) + 1)

    def fn(x):
        return jax.lax.cond(x.sum() > 0, outer.bind, lambda x: x, x)

    program = export(fn, [(3,)])
    for x in (X + 1, X - 1):
        np.testing.assert_allclose(program(x), np.sin(x) * 3 + 1 if x.sum() > 0 else x, rtol=1e-6)


def test_code_that_compares_symbolic_sizes_asks_for_constraints(export):
    primitive = library_primitive("library_tall", lambda x: x * 2 if x.shape[0] > 3 else x)
    with pytest.raises(UnsupportedError, match=r"(?s)library_tall at .*know more about the sizes.*constraints="):
        export(primitive.bind, [("N",)])
    assert op_types(export(primitive.bind, [("N",)], constraints=["N >= 4"])) == ["Mul"]


@pytest.mark.parametrize("several", [False, True])
def test_what_jax_compiles_it_by_stands_for_the_primitive(export, several):
    """Wherever its implementation points: libraries have it compile the primitive by itself."""

    def code(x, *, times):
        return [jnp.sin(x) * times, x + x] if several else jnp.sin(x) * times

    primitive = Primitive("library_compiled")
    primitive.multiple_results = several
    primitive.def_impl(lambda x, **params: jax.jit(functools.partial(primitive.bind, **params))(x))
    primitive.def_abstract_eval(lambda x, **_: [x, x] if several else x)
    mlir.register_lowering(primitive, mlir.lower_fun(code, multiple_results=several))

    def fn(x):
        result = primitive.bind(x, times=2.0)
        return result[0] if several else result

    program = export(fn, [("N",)])
    assert op_types(program) == ["Sin", "Mul"]
    np.testing.assert_allclose(program(X), fn(X), rtol=1e-6)


def test_functions_in_it_are_kept_whole(export, plugin):
    composite = plugin.composite("jax.nn.relu")
    composite.transforms_ready = True
    plugin.lowering(composite)(lambda ctx, x: ctx.op.Relu(x))
    primitive = library_primitive("library_relu", lambda x: jax.nn.relu(x) * 2)
    assert op_types(export(lambda x: primitive.bind(x), [(3,)])) == ["Relu", "Mul"]


def test_a_rule_comes_first(export, plugin):
    primitive = library_primitive("library_cosine", lambda x: jnp.sin(x))
    plugin.lowering(primitive)(lambda ctx, x: ctx.op.Cos(x))
    assert op_types(export(primitive.bind, [(3,)])) == ["Cos"]


@pytest.mark.parametrize(
    "implementation",
    [
        lambda x: np.sin(np.asarray(x)),  # not JAX
        lambda x: jnp.sin(x).sum(),  # another shape than promised
        lambda x: jnp.sin(x).astype(jnp.float16),  # another dtype
    ],
)
def test_what_is_no_code_in_jax_is_reported(export, implementation):
    primitive = library_primitive("library_opaque", implementation)
    with pytest.raises(UnsupportedError, match=r"library_opaque +1 equation .*test_decompose\.py"):
        export(lambda x: primitive.bind(x), [(3,)])


def test_code_with_something_unknown_inside_is_reported_by_its_own_name(export):
    inner = Primitive("library_inner")
    inner.def_abstract_eval(lambda x: x)
    primitive = library_primitive("library_outer", lambda x: inner.bind(x) + 1)
    with pytest.raises(UnsupportedError, match=r"library_outer +1 equation"):
        export(lambda x: primitive.bind(x), [(3,)])


def _fails(x, **_):
    raise KeyError("nowhere")


def _asks_for_the_size(x, **_):
    return jnp.sin(x) if x.shape[0] - 1 >= 1 else x


@pytest.mark.parametrize(
    ("code", "returned"),
    [
        (lambda x, **_: jnp.concatenate([x, x]), r"float32\[6\]"),
        (lambda x, **_: x[None], r"float32\[1,3\]"),
        (lambda x, **_: x > 0, r"bool\[3\]"),
        (lambda x, **_: (x, x), r"\(float32\[3\], float32\[3\]\)"),
        (lambda x, **_: None, r"nothing \(without a return\?\)"),
    ],
    ids=["size", "rank", "dtype", "count", "none"],
)
def test_a_decomposition_gives_the_results_of_its_equation(plugin, export, code, returned):
    plugin.decomposition("tan")(code)
    message = (
        rf"decomposition of tan returned {returned}, the equation's result is float32\[3\].\n  in the code at .*py:\d+"
    )
    with pytest.raises(LoweringError, match=message):
        export(lambda x: jnp.tan(x), [(3,)])


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (_fails, LoweringError, r"decomposition of tan raised KeyError: 'nowhere'\n  in the code at .*in _fails"),
        (_asks_for_the_size, UnsupportedError, r"tan at .*test_decompose\.py:\d+.*'N - 1' >= '1'.*constraints="),
    ],
)
def test_code_that_cannot_be_traced_is_reported(plugin, code, error, message):
    plugin.decomposition("tan")(code)
    with pytest.raises(error, match=message):
        to_onnx(lambda x: jnp.tan(x), [("N",)], plugins=[plugin])


def test_what_is_known_of_sizes_decides(plugin):
    plugin.decomposition("tan")(_asks_for_the_size)
    program = to_onnx(lambda x: jnp.tan(x), [("N",)], plugins=[plugin], constraints=["N >= 2"])
    assert op_types(program) == ["Sin"]


@pytest.mark.skipif(not hasattr(hijax, "HiPrim"), reason="JAX 0.12 brought high-level primitives")
def test_messages_name_the_high_level_primitive_or_what_it_expands_to(export):
    class Halves(hijax.HiPrim):
        """A function without a form for arrays, or with one that calls Python."""

        def __init__(self, aval):
            self.in_avals, self.out_aval, self.params = (aval,), aval, {}
            super().__init__()

    class CallsPython(Halves):
        def expand(self, x):
            return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(UnsupportedError, match=r"\n  Halves +1 equation .*test_decompose.py"):
        export(lambda x: Halves(jax.typeof(x))(x), [(3,)])
    with pytest.raises(UnsupportedError, match=r"\n  pure_callback +1 equation .*test_decompose.py"):
        export(lambda x: CallsPython(jax.typeof(x))(x), [(3,)])
