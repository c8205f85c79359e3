import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.extend.core import Primitive

from j2o_core import SpecError, VerifyError
from j2o_core.program._comparison import compare
from j2o_core.program._random_inputs import random_array

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def line_of(text):
    with open(__file__, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def broken(plugin, name, rule):
    plugin.lowerings[name].clear()
    plugin.lowering(name)(rule)


def test_a_verification_tells_how_far_apart_and_what_was_run(export):
    result = export(lambda x: {"a": jnp.sin(x), "b": x}, [("B", 3)]).verify()
    assert [output.name for output in result.outputs] == ["a", "b"]
    assert result.runs == ({"B": 1}, {"B": 2}, {"B": 5})
    assert result.max_abs < 1e-6
    assert result.relative < 1e-6
    assert str(result).startswith("3 runs, max difference")


def test_different_symbols_get_different_sizes(export):
    result = export(lambda x: x + 1, [("B", "T")]).verify(sizes=(1, 2, 5))
    assert all(run["B"] != run["T"] for run in result.runs)
    assert {run["T"] for run in result.runs} == {1, 2, 5}


def test_given_arguments_are_what_is_compared(export):
    assert len(export(jnp.sin, [("B", 3)]).verify(X).runs) == 1


def test_the_first_equation_that_diverges_is_named(plugin, export):
    broken(plugin, "cos", lambda ctx, x, **_: ctx.op.Sin(x))

    def fn(x):
        y = jnp.sin(x) + 1
        z = jnp.cos(y)  # here it goes wrong
        return jnp.exp(z) * 2

    program = export(fn, [(2, 3)])
    before = [value.name for value in program.model.graph.outputs]
    with pytest.raises(VerifyError) as failure:
        program.verify()
    message = str(failure.value)
    assert message.startswith("Output 'output' differs from JAX by up to")
    assert f"The first equation that diverges is cos at {__file__}:{line_of('# here it goes wrong')} in" in message
    assert [value.name for value in program.model.graph.outputs] == before


def test_rounding_that_a_difference_leaves_over_is_not_blamed(plugin, export):
    """Where numbers cancel all that is left is noise; the equation that is really wrong comes later."""
    broken(plugin, "sin", lambda ctx, x, **_: ctx.op.Mul(ctx.op.Sin(x), ctx.const(np.float32(1 + 1e-6))))
    broken(plugin, "cos", lambda ctx, x, **_: ctx.op.Neg(x))
    known = np.sin(X)

    def noise(x):
        return jnp.sin(x) - known  # nothing but rounding is left

    with pytest.raises(VerifyError, match="The first equation that diverges is cos at "):
        export(lambda x: noise(x) + jnp.cos(x), [(2, 3)]).verify(X)
    with pytest.raises(VerifyError, match="The first equation that diverges is sub at "):
        export(noise, [(2, 3)]).verify(X)


def test_equations_that_the_graph_joined_are_told(plugin, export):
    """The exponential took the sine's place in the graph; either may be at fault."""

    @plugin.rewrite("Exp")
    def one(rw, node):
        return (
            rw.op.Tanh(rw.producer(node.inputs[0], "Sin").inputs[0])
            if rw.producer(node.inputs[0], "Sin") is not None
            else None
        )

    with pytest.raises(VerifyError) as failure:
        export(lambda x: jnp.exp(jnp.sin(x)), [(2, 3)]).verify(X)
    assert "The first equation that diverges is exp at " in str(failure.value)
    assert str(failure.value).endswith("The graph has no values to compare of sin before it.")


def test_outputs_that_were_folded_have_no_equation_to_blame(export, monkeypatch):
    program = export(lambda x: jnp.sin(jnp.float32(2)) + jnp.arange(3.0), [()])
    for name in ("__call__", "one_by_one"):
        monkeypatch.setattr(type(program.reference), name, lambda *_: [np.zeros(3, np.float32)])
    with pytest.raises(VerifyError, match="No equation is left in the graph: the numbers were computed when"):
        program.verify()


def test_what_xla_compiles_wrongly_is_compared_with_its_operations_one_by_one(export, monkeypatch):
    program = export(lambda x: jnp.sin(x) + 1, [(2, 3)])
    monkeypatch.setattr(program.reference, "_compiled", lambda x: [x * 0])
    result = program.verify()
    assert result.max_abs < 1e-6
    (note,) = result.notes
    assert note.startswith("Output 'output' differs from JAX by up to")
    assert note.endswith("compared with JAX's operations run one by one, with which it agrees")
    assert note in str(result)
    monkeypatch.setattr(program.reference, "one_by_one", lambda x: [x * 0])
    with pytest.raises(VerifyError, match="differs from JAX by up to"):
        program.verify()


def test_errors_of_jax_that_are_not_of_algorithms_are_told(export, monkeypatch):
    program = export(jnp.sin, [(2, 3)])

    def fails(x):
        raise ValueError("no device")

    monkeypatch.setattr(program.reference, "_compiled", fails)
    with pytest.raises(VerifyError, match="ValueError: no device"):
        program.verify()


def test_a_difference_names_the_sizes(plugin, export):
    broken(plugin, "neg", lambda ctx, x, **_: ctx.op.Expand(ctx.op.Neg(x), ctx.const([2, 3], np.int64)))
    program = export(lambda x: -x, [("B", 3)])
    with pytest.raises(VerifyError, match=r"Output 'output' is float32\[2, 3\], JAX gives float32\[1, 3\] with sizes"):
        program.verify()


def test_integers_must_be_equal(plugin, export):
    broken(plugin, "add", lambda ctx, x, y: ctx.op.Sub(x, y))
    with pytest.raises(VerifyError, match="differs from JAX in 5 of 6 elements"):
        export(lambda x: x + x, [jnp.zeros((2, 3), int)]).verify(np.arange(6, dtype=np.int32).reshape(2, 3))


def arrays(*values, dtype=np.float32):
    return [np.asarray(value, dtype) for value in values]


@pytest.mark.parametrize(
    ("want", "got", "problem"),
    [
        (*arrays([1.0, 2.0], [1.0, 2.0]), ""),
        (*arrays([1.0, 2.0], [1.0, 2.0001]), ""),
        (*arrays([1.0, 2.0], [1.0, 2.01]), "differs from JAX by up to 0.01"),
        (*arrays([1e-12, 1.0], [2e-12, 1.0]), ""),
        (*arrays([np.nan, 1], [np.nan, 1]), ""),
        (*arrays([np.nan, 1], [1, 1]), "NaN or infinity at other places"),
        (*arrays([1, 1], [np.nan, 1]), "NaN or infinity at other places"),
        (*arrays([np.inf, 1], [-np.inf, 1]), "NaN or infinity at other places"),
        (*arrays([np.inf, 1], [np.inf, 1]), ""),
        (*arrays([], []), ""),
        (*arrays([0, 0], [0, 0]), ""),
        (*arrays([0, 0], [0, 1e-3]), "differs"),
        (*arrays([True], [False], dtype=bool), "differs from JAX in 1 of 1"),
        (*arrays([1.0], [[1.0]]), r"is float32\[1, 1\], JAX gives float32\[1\]"),
        (np.float32([1]), np.float64([1]), r"is float64\[1\], JAX gives float32\[1\]"),
        (np.float64([1e308]), np.float64([-1e308]), "differs"),
        (*arrays([1.0, 2.0], [1.0, 2.01], dtype=np.float16), ""),
        (*arrays([1.0, 2.0], [1.0, 2.25], dtype=ml_dtypes.bfloat16), "differs"),
        (*arrays([1, 2], [1, 3], dtype=ml_dtypes.int4), "differs from JAX in 1 of 2"),
        (*arrays([0.0, -0.0], [-0.0, 0.0]), ""),
    ],
    ids=range(20),
)
def test_what_counts_as_equal(want, got, problem):
    found, _ = compare("out", want, got)
    if problem:
        with pytest.raises(AssertionError, match=problem):
            raise AssertionError(found)
    else:
        assert found == ""


@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        np.int8,
        np.uint8,
        np.int64,
        np.bool_,
        np.complex64,
        ml_dtypes.bfloat16,
        ml_dtypes.int4,
        ml_dtypes.uint2,
    ],
)
def test_random_arrays_of_every_dtype(dtype):
    array = random_array(np.random.default_rng(0), (50,), dtype)
    assert array.dtype == dtype
    assert len({str(value) for value in array}) > 1
    assert random_array(np.random.default_rng(0), (2, 0), dtype).shape == (2, 0)


def test_random_keys_are_keys():
    keys = random_array(np.random.default_rng(0), (2,), jax.random.key(0).dtype)
    assert jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    assert keys.shape == (2,)


def test_sizes_that_no_constraint_allows(export):
    program = export(lambda x: x + 1, [("T",)], constraints=["T >= 10"])
    assert program.verify().runs == ({"T": 10}, {"T": 11})
    two = export(lambda x: x + 1, [("T", "N")], constraints=["T >= 40", "N <= 3", "T <= 90"])
    assert all(run["T"] >= 40 and run["N"] <= 3 for run in two.verify().runs)
    far = export(lambda x: x + 1, [("T",)], constraints=["T*T >= 5", "T*T <= 5"])
    with pytest.raises(SpecError, match=r"No sizes were found for T that the constraints allow: T\*T"):
        far.verify(sizes=(1,))
    with pytest.raises(SpecError, match="sizes is "):
        program.verify(sizes=())
    assert program.verify(sizes=(3, 12)).runs == ({"T": 12},)


def test_several_seeds_and_kinds_of_inputs(export):
    program = export(lambda x, n: (x / 3, n), [("B", 3), jax.ShapeDtypeStruct((), np.int32)])
    result = program.verify(sizes=(1, 2), seed=(0, 1), kinds=("normal", "large", "zeros"))
    assert len(result.runs) == 2 * (2 + 2 + 1)
    assert [line.split()[0] for line in result.table()] == ["output", "output_0", "output_1"]
    assert result.table()[2].split() == ["output_1", "0", "0", "0", "1.000000000"]
    with pytest.raises(SpecError, match=r"kinds is 'huge'\. Expected some of "):
        program.verify(kinds="huge")


def test_the_table_has_units_in_the_last_place_and_cosines(export, plugin):
    want = np.array([1, 2, 0], np.float32)
    _, found = compare("y", want, np.nextafter(want, np.float32(4)))
    assert (found.ulps, found.max_rel) == (1.0, np.finfo(np.float32).eps)
    assert compare("y", want, -want)[1].cosine == pytest.approx(-1)
    assert compare("y", want.astype(ml_dtypes.bfloat16), want.astype(ml_dtypes.bfloat16))[1].cosine == pytest.approx(1)


def test_the_kind_of_inputs_is_said_where_it_matters(export, plugin):
    plugin.lowerings["sin"].clear()
    plugin.lowering("sin")(lambda ctx, x, **_: ctx.op.Sin(ctx.op.Min(x, ctx.const(9.0, x))))
    program = export(jnp.sin, [(3,)])
    program.verify()
    with pytest.raises(VerifyError, match="with large inputs, seed 1"):
        program.verify(seed=(1, 2), kinds=("normal", "large"))


def test_a_primitive_that_jax_cannot_run_is_no_changed_array(plugin, export):
    kernel_p = Primitive("kernel_elsewhere")
    kernel_p.def_abstract_eval(lambda x: x)
    plugin.lowering(kernel_p)(lambda ctx, x: ctx.op.Neg(x))
    program = export(kernel_p.bind, [(3,)])
    with pytest.raises(VerifyError, match=r"translation rule for primitive 'kernel_elsewhere'[\s\S]*mlir.lower_fun"):
        program.verify()


def test_sizes_by_name_are_one_run(export):
    program = export(lambda x, y: (x + 1, y), [("B", 3), ("T", "B")], constraints=["T <= 8"])
    assert program.verify(sizes={"T": 7, "B": 4}).runs == ({"T": 7, "B": 4},)
    with pytest.raises(SpecError, match=r"sizes has B; the program's symbolic sizes are B, T\. Give one for each"):
        program.verify(sizes={"B": 4})
    with pytest.raises(SpecError, match="which the constraints do not allow: T <= 8"):
        program.verify(sizes={"B": 4, "T": 9})
    with pytest.raises(SpecError, match="sizes has B; the program's symbolic sizes are none"):
        export(lambda x: x, [(3,)]).verify(sizes={"B": 4})
