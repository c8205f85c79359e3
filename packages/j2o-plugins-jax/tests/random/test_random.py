"""Random numbers are JAX's, bit for bit: constant and run-time keys, typed and raw, mapped and carried."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random

from j2o_core import UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

KEY = Spec((), jax.eval_shape(lambda: random.key(0)).dtype)
RAW = np.array([7, 123456789], np.uint32)


@pytest.fixture(autouse=True)
def _keys_may_be_used_twice():
    """Here the same key goes to JAX and to ONNX Runtime."""
    with jax.debug_key_reuse(False):
        yield


def test_constant_key_becomes_constants():
    check(lambda x: x + random.normal(random.key(0), (2, 3)), Spec((2, 3)), absent=["BitShift", "BitwiseXor"])


def test_unused_keys_cost_nothing():
    def fn(x, key):
        random.split(key, 3)
        return x * 2

    program = check(fn, Spec((3,)), Spec((2,), np.uint32), absent=["BitwiseXor"])
    assert len(program.model.graph) == 1


def test_a_clone_is_its_key():
    check(lambda key: random.bits(random.clone(key), (3,)), KEY)


@pytest.mark.parametrize("width", [np.uint8, np.uint16, np.uint32])
def test_bits_from_a_run_time_key(width):
    check(lambda key: random.bits(key, (3, 5), width), KEY)


def test_wide_bits():
    with jax.enable_x64(True):
        check(lambda key: random.bits(key, (3, 5), np.uint64), KEY, opsets=(21,))
        check(lambda key: random.normal(key, (7,), np.float64), KEY, opsets=(21,))


def test_raw_keys():
    def fn(key):
        first, second = random.split(key)
        return random.bits(first, (4,)), random.fold_in(second, 3), random.key_data(random.wrap_key_data(key))

    check(fn, RAW)


def test_typed_keys_at_the_interface():
    check(lambda key: random.split(key, (2, 3)), KEY)
    check(lambda keys: random.bits(keys[1], (2,)), Spec((4,), KEY.dtype), opsets=(21,))


def test_seed_and_fold_in_from_run_time_numbers():
    check(lambda seed, n: random.bits(random.fold_in(random.key(seed), n), (3,)), np.int32(-5), np.uint32(9))


@pytest.mark.parametrize(
    "draw",
    [
        random.uniform,
        random.normal,
        random.exponential,
        random.gumbel,
        random.cauchy,
        random.rademacher,
        lambda key, shape: random.randint(key, shape, -3, 1000),
        lambda key, shape: random.bernoulli(key, 0.3, shape),
        lambda key, shape: random.truncated_normal(key, -1, 2, shape),
        lambda key, shape: random.categorical(key, jnp.arange(5.0), shape=shape),
    ],
)
def test_distributions(draw):
    check(lambda key: draw(key, (4, 3)), KEY, opsets=(21,))


def test_symbolic_shape():
    check(lambda key, x: random.bits(key, x.shape), KEY, Spec(("B", 3)), opsets=(21,))


def test_permutation_and_choice():
    check(lambda key, x: random.permutation(key, x), KEY, Spec((9, 2)), opsets=(21,))
    check(lambda key, x: random.choice(key, x, (4,), replace=False), KEY, Spec((9,)), opsets=(21,))


def test_gamma():
    check(lambda key, a: random.gamma(key, jnp.abs(a) + 0.1), KEY, Spec((3,)), opsets=(21,))


def test_keys_under_vmap_and_in_control_flow():
    def walk(key):
        def step(key, _):
            key, now = random.split(key)
            return key, random.bits(now, (2,))

        return lax.scan(step, key, None, length=20)

    check(walk, KEY, opsets=(21,))
    check(
        jax.vmap(lambda key, n: random.bits(random.fold_in(key, n), (2,))),
        Spec((3,), KEY.dtype),
        Spec((3,), np.int32),
        opsets=(21,),
    )

    def either(p, key):
        first, second = random.split(key)
        key = lax.cond(p, lambda: first, lambda: second)
        return random.key_data(jnp.where(p, key, first)), random.bits(jnp.stack([key, first])[1], ())

    check(either, Spec((), np.bool_), KEY, opsets=(21,))


def test_key_arrays_are_moved_like_others():
    def fn(keys):
        keys = jnp.concatenate([keys[::-1], keys]).reshape(2, 4).T
        return keys[1:3, jnp.array([1, 0, 1])], jnp.broadcast_to(keys[0, 0], (3,)), keys.at[0].set(keys[1])

    check(fn, Spec((4,), KEY.dtype), opsets=(21,))


@pytest.mark.skipif(jax.__version_info__ < (0, 10, 2), reason="JAX had no keys of four words before")
def test_other_counter_based_keys():
    check(
        lambda words: random.bits(random.wrap_key_data(words, impl="threefry4x32"), (3,)),
        np.arange(4, dtype=np.uint32),
        opsets=(21,),
    )


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_accelerator_keys_are_refused(impl):
    with pytest.raises(UnsupportedError, match="bit for bit"):
        to_onnx(lambda seed: random.normal(random.key(seed, impl=impl), (3,)), [jax.ShapeDtypeStruct((), np.int32)])
