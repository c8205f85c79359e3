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


def test_a_wrong_equation_inside_a_body_is_blamed_on_its_loop() -> None:
    """A loop is one equation; the sentence names the line of the loop."""

    def fn(x: jax.Array) -> jax.Array:
        y = jnp.cos(x)
        return lax.scan(lambda c, v: (suspect(c) + v, c), 1.0, y)[1]  # the loop

    program = j2o_core.to_onnx(fn, [X], plugins=[j2o_plugins_jax.plugin, wrong])
    with pytest.raises(j2o_core.VerifyError) as failure:
        program.verify(X)
    with open(__file__, encoding="utf-8") as file:
        line = next(number for number, text in enumerate(file, 1) if "# the loop" in text)
    assert f"The first equation that diverges is scan at {__file__}:{line} in " in str(failure.value)


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
