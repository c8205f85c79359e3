"""`verify` names the equation that is wrong: in programs of every kind, with a rule that gives other numbers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from jax import lax

import j2o_core
import j2o_plugins_jax

X = np.array([0.3, -0.7, 1.2, 0.5, -1.1, 0.9], np.float32)
MATRIX = jnp.eye(6) * 3 + jnp.ones((6, 6))

wrong = j2o_core.Plugin("wrong")


@wrong.lowering("asinh", opset=19)  # newer than the right one
def _asinh(ctx: j2o_core.LoweringContext, x: object, **_: object) -> object:
    return ctx.op.Mul(ctx.op.Asinh(x), ctx.const(np.float32(1.5)))


def suspect(x: jax.Array) -> jax.Array:
    return jnp.arcsinh(x)


def quadratic(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    return jax.grad(lambda x: jnp.sum(fn(x) ** 2))


PROGRAMS: dict[str, Callable[[jax.Array], object]] = {
    "detrend": lambda x: jsp.signal.detrend(suspect(x)),
    "gradient of detrend": quadratic(lambda x: jsp.signal.detrend(suspect(x))),
    "gradient of detrend in pieces": quadratic(lambda x: jsp.signal.detrend(suspect(x), bp=[2])),
    "hessian of detrend": jax.hessian(lambda x: jnp.sum(jsp.signal.detrend(suspect(x), type="constant") ** 2)),
    "least squares": lambda x: jnp.linalg.lstsq(jnp.vander(X, 3), suspect(x))[0],
    "gradient of least squares": quadratic(lambda x: jnp.linalg.lstsq(jnp.vander(x, 3), suspect(x))[0]),
    "solve": lambda x: jnp.linalg.solve(MATRIX, suspect(x)),
    "gradient of solve": quadratic(lambda x: jnp.linalg.solve(MATRIX + jnp.outer(x, x), suspect(x))),
    "custom_linear_solve": quadratic(
        lambda x: lax.custom_linear_solve(
            lambda v: MATRIX @ v, suspect(x), lambda _, b: jnp.linalg.solve(MATRIX, b), symmetric=True
        )
    ),
    "custom_root": lambda x: lax.custom_root(
        lambda y: y**2 - 2, suspect(x) ** 2 + 1, lambda f, y: y - f(y) / (2 * y), lambda g, y: y / g(y * 0 + 1)
    ),
    "scan after it": lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), 0.0, suspect(x)),
    "gradient through a scan": quadratic(lambda x: lax.scan(lambda c, v: (c * 0.5 + v, c), 0.0, suspect(x))[1]),
    "while and cond": lambda x: lax.cond(
        x[0] > 0, lambda y: lax.while_loop(lambda c: c.max() < 9, lambda c: c * 2 + 1, y), jnp.sin, suspect(x)
    ),
    "attention": lambda x: jax.nn.dot_product_attention(*[suspect(x).reshape(1, 3, 1, 2)] * 3),
    "gelu and softmax": lambda x: jax.nn.softmax(jax.nn.gelu(suspect(x))),
    "resize": lambda x: jax.image.resize(suspect(x).reshape(2, 3), (4, 5), "cubic"),
    "spectrum": lambda x: jnp.abs(jnp.fft.rfft(suspect(x))),
    "complex": lambda x: jnp.real(jnp.exp(1j * suspect(x))),
    "sort and unique": lambda x: jnp.unique(suspect(x), size=4),
    "samples": lambda x: suspect(x) * jax.random.normal(jax.random.key(0), (6,)),
    "checkpoint": quadratic(jax.checkpoint(lambda x: suspect(suspect(x)))),
    "mapped": jax.vmap(lambda x: jnp.sin(suspect(x))),
    "jitted": jax.jit(lambda x: jnp.linalg.det(MATRIX * jax.jit(suspect)(x))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_wrong_equation_is_found(name: str) -> None:
    program = j2o_core.to_onnx(PROGRAMS[name], [X], plugins=[j2o_plugins_jax.plugin, wrong])
    outputs = program.output_names
    with pytest.raises(j2o_core.VerifyError) as failure:
        program.verify(X)
    line = suspect.__code__.co_firstlineno + 1
    assert f"The first equation that diverges is asinh at {__file__}:{line} in suspect: it " in str(failure.value)
    assert program.output_names == outputs


def first_in(failure: pytest.ExceptionInfo[j2o_core.VerifyError]) -> str:
    return str(failure.value).partition("\n")[2]


WHERE = f"The first equation that diverges is asinh at {__file__}:{suspect.__code__.co_firstlineno + 1} in suspect: it "

SYMBOLIC: dict[str, Callable[[jax.Array], object]] = {
    "alone": suspect,
    "between others": lambda x: jnp.sin(suspect(jnp.cos(x)) * 2),
    "summed": lambda x: suspect(x).sum() * x.shape[0],
    "reshaped": lambda x: jnp.sin(suspect(x).reshape(2, -1)).sum(0),
    "softmax": lambda x: jax.nn.softmax(suspect(x)),
    "mean": lambda x: x - suspect(x).mean(),
    "gradient": quadratic(suspect),
    "padded": lambda x: jnp.pad(suspect(x), (1, 2)),
    "outer": lambda x: jnp.outer(suspect(x), x) @ x,
    "sorted": lambda x: jnp.sort(suspect(x))[:2],
    "counted": lambda x: suspect(x) * jnp.arange(x.shape[0]),
    "joined": lambda x: jnp.concatenate([suspect(x), x]),
    "attention": lambda x: jax.nn.dot_product_attention(*[suspect(x).reshape(1, -1, 1, 2)] * 3),
    "detrend": lambda x: suspect(x) - jnp.polyval(jnp.polyfit(jnp.arange(6.0), jnp.ones(6), 1), x),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_the_wrong_equation_is_found_with_symbolic_sizes(name: str) -> None:
    spec = jax.ShapeDtypeStruct(("2*N",), jnp.float32)
    program = j2o_core.to_onnx(SYMBOLIC[name], [spec], plugins=[j2o_plugins_jax.plugin, wrong], constraints=["N >= 2"])
    with pytest.raises(j2o_core.VerifyError) as failure:
        program.verify(sizes=(3,))
    assert first_in(failure).startswith(WHERE)


def test_equations_whose_values_rewrites_moved_are_named_with_the_first_that_can_be_compared() -> None:
    """Behind a change of layout, asinh is computed in front of it: none of the graph's values is its result."""
    spec = jax.ShapeDtypeStruct(("2*N",), jnp.float32)
    program = j2o_core.to_onnx(
        lambda x: suspect(x.reshape(2, -1)).sum(0), [spec], plugins=[j2o_plugins_jax.plugin, wrong]
    )
    with pytest.raises(j2o_core.VerifyError, match=r"no values to compare of reshape, asinh before"):
        program.verify(sizes=(3,))


def test_a_rule_that_is_wrong_for_symbolic_sizes_alone_is_found() -> None:
    plugin = j2o_core.Plugin("symbolic")

    @plugin.lowering("asinh", override=True)
    def _asinh(ctx: j2o_core.LoweringContext, x: object, **_: object) -> object:
        result = ctx.op.Asinh(x)
        fixed = all(isinstance(size, int) for size in ctx.avals_in[0].shape)
        return result if fixed else ctx.op.Add(result, ctx.const(np.float32(1)))

    program = j2o_core.to_onnx(lambda x: jnp.sin(suspect(x)), [("N",)], plugins=[j2o_plugins_jax.plugin, plugin])
    with pytest.raises(j2o_core.VerifyError) as failure:
        program.verify()
    assert first_in(failure).startswith(WHERE)


def _scanned(c: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    return suspect(c) + v, jnp.sin(c)


def _rows(x: jax.Array) -> jax.Array:
    return jnp.stack([x, x * 2, x + 1])


LOOPS: dict[str, tuple[Callable[[jax.Array], object], str]] = {
    "scan": (lambda x: lax.scan(_scanned, 1.0, x)[1], "step 0 of the scan"),
    "scan from behind": (lambda x: lax.scan(_scanned, 1.0, x, reverse=True)[1], "step 5 of the scan"),
    "scan of rows": (lambda x: lax.scan(lambda c, v: (suspect(c) + v, c), x, _rows(x))[1], "step 0 of the scan"),
    "from the second step on": (
        lambda x: lax.scan(lambda c, v: (suspect(c) + v, c), 0.0, jnp.abs(x) + 1)[1],
        "step 1 of the scan",
    ),
    "what a scan returns": (lambda x: lax.scan(lambda c, v: (c + v, suspect(v)), 0.0, x), "step 0 of the scan"),
    "scan in a scan": (
        lambda x: lax.scan(lambda c, v: (lax.scan(_scanned, c, x)[0] + v, c), 1.0, x)[0],
        "step 0 of the scan",
    ),
    "while_loop": (lambda x: lax.while_loop(lambda c: c.max() < 9, lambda c: 2 + suspect(c) * c, x + 2), "step 0 of"),
    "the condition": (
        lambda x: lax.while_loop(lambda c: suspect(c).max() < 1.6, lambda c: c * 1.2, jnp.abs(x)),
        "the condition of step 0 of the while_loop",
    ),
    "fori_loop": (lambda x: lax.fori_loop(0, x.astype(int)[2] + 3, lambda i, c: suspect(c) + i, x), "step 0 of"),
    "cond": (lambda x: lax.cond(x[0] > 0, lambda y: suspect(y) * 2, jnp.sin, x), "branch 1 of the cond"),
    "map": (lambda x: lax.map(lambda v: suspect(v) + 1, x), "step 0 of the scan"),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("spec", [X, ("N",)], ids=["static", "symbolic"])
def test_a_wrong_equation_inside_a_body_is_found(name: str, spec: object) -> None:
    """The body is exported by itself, for the operands of its steps."""
    fn, step = LOOPS[name]
    program = j2o_core.to_onnx(
        fn, [spec], plugins=[j2o_plugins_jax.plugin, wrong], constraints=["N >= 3"] if spec is not X else ()
    )
    with pytest.raises(j2o_core.VerifyError) as failure:
        program.verify(X)
    assert first_in(failure).startswith(WHERE)
    assert f", in {step}" in first_in(failure)


RIGHT = {
    "gradient that was folded": jax.jit(jax.grad(lambda x: jax.jit(jsp.signal.detrend)(x).sum())),
    "gradient that is noise": jax.grad(lambda x: jsp.signal.detrend(x).sum()),
    "joined": lambda x: jax.nn.softmax(jax.nn.gelu(x)),
    "composed": lambda x: jnp.linalg.lstsq(jnp.vander(x, 3), jnp.sin(x))[0],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_has_no_equation_to_blame(name: str) -> None:
    """The search itself works where rewrites have replaced or removed every equation but the outputs."""
    from j2o_core.program._divergence import first_divergence

    text = first_divergence(j2o_core.to_onnx(RIGHT[name], [X]).exported, [X])
    assert text.startswith(("No single equation diverges", "No equation is left in the graph"))
