"""Tests of a plugin: one line for each function that is to export."""

import jax
import jax.numpy as jnp
import pytest
from j2o_plugin_template import pixel_shuffle, signed_sqrt

from j2o_core.testing import Spec, check
from j2o_plugins_jax import plugin as jax_plugin


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
@pytest.mark.parametrize("shape", [(2, 3), (1,), ()])
def test_signed_sqrt(shape: tuple[int, ...], dtype: jnp.dtype) -> None:
    check(signed_sqrt, Spec(shape, dtype), contains=["Sign", "Sqrt"])


def test_signed_sqrt_of_nothing() -> None:
    check(signed_sqrt, Spec((0, 4), jnp.float32), absent=["Sqrt"])  # an empty array needs no computing


def test_signed_sqrt_with_symbolic_length() -> None:
    check(lambda x: 1 + signed_sqrt(x), Spec(("T", 3), jnp.float32), contains=["Sqrt"])


def test_gradient_of_signed_sqrt() -> None:
    check(jax.grad(lambda x: signed_sqrt(x).sum()), Spec((5,), jnp.float32), contains=["Sqrt"])


def test_signed_sqrt_of_complex_numbers() -> None:
    check(lambda z: signed_sqrt(z * 1j), Spec(("T", 3), jnp.complex64), contains=["Sqrt"])
    check(signed_sqrt, jnp.array([0, 3 + 4j, -9, 2j], jnp.complex64))


def test_pixel_shuffle_is_one_operator() -> None:
    check(
        lambda x: pixel_shuffle(x, 2),
        Spec((1, 8, 3, 5), jnp.float32),
        contains=["DepthToSpace"],
        absent=["Transpose", "Reshape"],
    )


def test_pixel_shuffle_under_jit() -> None:
    check(jax.jit(lambda x: pixel_shuffle(x, 2)), Spec((1, 8, 3, 5), jnp.float32), contains=["DepthToSpace"])


def test_pixel_shuffle_under_vmap_is_right() -> None:
    check(jax.vmap(lambda x: pixel_shuffle(x, 2)), Spec((3, 1, 8, 3, 5), jnp.float32))


def test_without_the_plugin_the_primitive_is_exported_by_the_code_that_jax_compiles() -> None:
    program = check(signed_sqrt, Spec((3,), jnp.float32), plugins=[jax_plugin])
    assert len(program.model.graph) > 3  # the rule writes three nodes
