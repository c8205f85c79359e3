import jax
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check


def _named(fn, **options):
    return jax.vmap(lambda x: fn(x, "batch"), axis_name="batch", **options)


@pytest.mark.parametrize("fn", [lax.psum, lax.pmean, lax.pmax, lax.pmin])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
@pytest.mark.parametrize("shape", [(4, 3), (1,), (4, "N")])
def test_over_a_batch(fn, dtype, shape):
    check(_named(fn), Spec(shape, dtype), opsets=(21,))


def test_over_two_of_three_axes():
    inner = jax.vmap(lambda x: (lax.psum(x, ("a", "b")), lax.pmax(x, "a")), axis_name="a", in_axes=1)
    check(jax.vmap(inner, axis_name="b"), Spec((2, 3, 4)), opsets=(18,))


def test_complex_numbers_and_their_gradient():
    check(_named(lax.psum), Spec((4, 3), np.complex64), opsets=(21,))
    check(lambda x: jax.grad(lambda y: (_named(lax.pmean)(y) ** 2).sum())(x), Spec((4, 3)), opsets=(21,))


def test_places_in_a_batch():
    def places(x):
        ring = [(i, (i + 1) % 4) for i in range(4)]
        return lax.axis_index("batch"), lax.all_gather(x, "batch"), lax.ppermute(x, "batch", ring)

    check(jax.vmap(places, axis_name="batch"), Spec((4, 3)), opsets=(21,))
