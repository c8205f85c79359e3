"""Where JAX cannot trace a function, the message has the user's line, what JAX says, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError, TraceError

TABLE = jnp.ones((512, 4))


def compares(x):
    return x + 1 if x.shape[0] > 4 else x


def compares_two(x, y):
    return x[: y.shape[0]] if x.shape[0] >= y.shape[0] else x


def groups(x):
    return x.reshape(-1, 4)


def positions(x):
    return x + TABLE[: x.shape[1]]


def adds(x, y):
    return x + y


def decides(flag):
    return flag if flag[0] > 0 else -flag


def numpy(x):
    return np.sin(np.asarray(x))


def looks_up(x):
    return {}["missing"]


def products(x, y):
    return jax.lax.associative_scan(jnp.multiply, x, axis=1) + y.sum()


def fades(x):
    return x * jnp.hanning(x.shape[0])


CASES = [
    (compares, [("N",)], r"'N' > '4'", 'constraints=["N >= 5"]'),
    (compares_two, [("M",), ("N",)], r"'M' >= 'N'", 'constraints=["M >= N"]'),
    (groups, [("N",)], "Cannot divide evenly", 'N has to be a multiple of 4: give N as "4*N" in the spec'),
    (groups, [("B", "N")], "Cannot divide evenly", 'B*N has to be a multiple of 4: give N as "4*N" in the spec'),
    (groups, [("N + 1",)], "Cannot divide evenly", 'N + 1 has to be a multiple of 4: give N as "4*N - 1" in the spec'),
    (positions, [("B", "T", 4)], "shapes", 'T may be beyond 512. Say that it is not: constraints=["T <= 512"]'),
    (adds, [("B", 4), ("S", 4)], "incompatible shapes", "Sizes that are equal take one name: B, S"),
    (decides, [(3,)], "depends on the value of the argument 'flag'", "use jnp.where, jax.lax.cond"),
    (numpy, [(3,)], "TracerArrayConversionError", "use jax.numpy there"),
    (looks_up, [(3,)], "KeyError: 'missing'", "jax.eval_shape raises the same for these inputs"),
    (
        products,
        [("B", "2*T", 3), ("C",)],
        "axis of non-constant size",
        "with a fixed size for T, 64 for example. Give a",
    ),
    (fades, [("N",)], "requires a constant", "with a fixed size for N, 64 for example."),
]


@pytest.mark.parametrize(("fn", "inputs", "said", "advice"), CASES)
def test_what_where_and_what_to_do(export, fn, inputs, said, advice):
    with pytest.raises(TraceError) as failure:
        export(fn, inputs)
    message = str(failure.value)
    line = fn.__code__.co_firstlineno + 1
    assert said in message
    assert f"  at {__file__}:{line} in {fn.__name__}: return " in message
    assert advice in message
    assert "_trace.py" not in message
    assert "arrays[" not in message
    assert "fails alike" not in message


def test_the_advice_helps(export):
    assert [node.op_type for node in export(compares, [("N",)], constraints=["N >= 5"]).model.graph] == ["Add"]


def test_a_fixed_size_is_advised_only_where_it_helps(export):
    with pytest.raises(TraceError) as failure:
        export(lambda x: {"a": x}["b"], [("N",)], constraints=["N >= 5"])
    assert "fixed size" not in str(failure.value)
    with pytest.raises(TraceError, match="with a fixed size for N and M, 64 for example"):
        export(lambda x, y: fades(x)[0] + fades(y), [("N",), ("M",)], constraints=["N >= 5"])
    assert len(export(fades, [(64,)]).model.graph) > 0


@pytest.mark.parametrize("dtype", ["float16", "int32", "bfloat16"])
def test_a_dtype_among_the_sizes(export, dtype):
    with pytest.raises(SpecError, match=rf"is a dtype, not a size. Write jax.ShapeDtypeStruct\(\(.*, jnp.{dtype}"):
        export(jnp.sin, [("B", 8, dtype)])


def test_no_plugin_says_what_to_install():
    from j2o_core import UnsupportedError, to_onnx

    with pytest.raises(UnsupportedError, match=r"Loaded plugins: none. .* pip install j2o-plugins-jax"):
        to_onnx(lambda x: jax.lax.sin(x), [(3,)], plugins=[])


def test_a_constraint_on_an_unknown_name(export):
    with pytest.raises(
        SpecError, match=r"The constraint 'M >= 3' is on M, which is no size of the inputs. Those are N"
    ):
        export(jnp.sin, [("N",)], constraints=["N >= 2", "M >= 3"])
    export(jnp.sin, [("N", "M2")], constraints=["max(N, M2) >= 2", "N <= 2*M2"])
