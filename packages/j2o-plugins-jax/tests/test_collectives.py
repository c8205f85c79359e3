import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from j2o_core import UnsupportedError, to_onnx
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


def _one_device(fn, in_specs, out_specs):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


COLLECTIVES = {
    "psum": lambda x: lax.psum(x * 2, "i"),
    "pmean": lambda x: lax.pmean(x, "i"),
    "pmax": lambda x: lax.pmax(x, "i"),
    "all_gather": lambda x: lax.all_gather(x, "i", axis=1).sum(1),
    "all_gather tiled": lambda x: lax.all_gather(x, "i", tiled=True),
    "psum_scatter": lambda x: lax.psum_scatter(x[None], "i"),
    "psum_scatter tiled": lambda x: lax.psum_scatter(x, "i", tiled=True),
    "all_to_all": lambda x: lax.all_to_all(x[None], "i", 0, 1),
    "all_to_all tiled": lambda x: lax.all_to_all(x, "i", 0, 1, tiled=True),
    "ppermute": lambda x: lax.ppermute(x, "i", [(0, 0)]),
    "ppermute to nobody": lambda x: lax.ppermute(x, "i", []),
    "axis_index": lambda x: x + lax.axis_index("i") + 1,
}


@pytest.mark.parametrize("fn", COLLECTIVES.values(), ids=COLLECTIVES)
def test_over_one_device(fn):
    check(_one_device(fn, P("i"), P("i")), Spec((4, 3)), opsets=(21,))


def test_shard_map_in_other_code_and_pmap():
    mapped = _one_device(lambda w, x: lax.psum(x @ w, "i"), (P(), P("i")), P())
    check(lambda w, x: jax.grad(lambda w: jnp.sin(mapped(w, x)).sum())(w), Spec((3, 2)), Spec((4, 3)), opsets=(21,))
    check(jax.pmap(lambda x: x / lax.psum(x, "i"), axis_name="i"), Spec((1, 3)), opsets=(21,))


def test_many_devices_are_refused():
    mesh = jax.sharding.AbstractMesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    fn = jax.shard_map(lambda x: lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P())
    message = r"shard_map at .*test_collectives\.py:\d+ in .* spreads its work over 4 devices"
    with pytest.raises(UnsupportedError, match=message):
        to_onnx(lambda x: fn(x) + 1, [(4, 3)])
