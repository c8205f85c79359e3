"""`verify` names the equation whose kernel is wrong: ONNX Runtime's own faults, with the workaround turned off."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import j2o_core
from j2o_core.target import WORKAROUNDS
from j2o_core.target import _target as target_module

LARGE = np.array([2147483647, 2147483647, 5, 7], np.int32)
WITH_NAN = np.array([1.0, np.nan, 2.0, 0.5], np.float32)
TOO_LARGE = np.array([480.0, 1.5, -2.5, 3.0], np.float32)


def pooled(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID")


# How the names of the rows that are turned off begin, the equation that has to be named, the function and its argument.
FAULTS: list[tuple[str, str, Callable[[jax.Array], jax.Array], np.ndarray]] = [
    ("reduce-sum-integers", "reduce_sum", jnp.sum, LARGE),
    ("reduce-prod-integers", "reduce_prod", jnp.prod, LARGE),
    ("reduce-max-nan", "reduce_max", jnp.max, WITH_NAN),
    ("reduce-max-nan", "reduce_min", jnp.min, WITH_NAN),
    ("scatter-max-nan", "scatter-max", lambda x: x.at[jnp.array([1, 2])].max(2.0), WITH_NAN),
    ("max-pool", "reduce_window_max", pooled, WITH_NAN),
    ("cast-float8-overflow", "convert_element_type", lambda x: x.astype(jnp.float8_e4m3fn).astype(x.dtype), TOO_LARGE),
]


def plain(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], object]:
    """The function beside another, which is right."""
    return lambda x: (fn(x), x[::-1] * 2)


def scanned(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], object]:
    """The function in the body of a loop."""
    return lambda x: lax.scan(lambda turns, row: (turns + 1, fn(row)), 0, jnp.stack([jnp.ones_like(x), x, x]))[1]


@pytest.mark.parametrize("form", [plain, scanned])
@pytest.mark.parametrize(("row", "equation", "fn", "x"), FAULTS, ids=[equation for _, equation, *_ in FAULTS])
def test_the_equation_of_a_wrong_kernel_is_named(
    row: str,
    equation: str,
    fn: Callable[[jax.Array], jax.Array],
    x: np.ndarray,
    form: Callable[..., Callable[[jax.Array], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"unroll": False, "nonfinite": "exact"}
    program = form(fn)
    j2o_core.to_onnx(program, [x], **options).verify(x)
    monkeypatch.setattr(target_module, "WORKAROUNDS", tuple(one for one in WORKAROUNDS if not one.name.startswith(row)))
    with pytest.raises(j2o_core.VerifyError) as failure:
        j2o_core.to_onnx(program, [x], **options).verify(x)
    said = str(failure.value).partition("\n")[2]
    assert said.startswith(f"The first equation that diverges is {equation} at {__file__}:")
    assert (", in step 1 of the scan at " in said) == (form is scanned)
