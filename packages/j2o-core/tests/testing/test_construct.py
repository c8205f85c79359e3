import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, construct_and_call


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scale:
    """A module in the usual form: weights drawn from `key`, called on an array."""

    weight: jax.Array
    step: jax.Array

    @classmethod
    def make(cls, size, *, key):
        return cls(jax.random.normal(key, (size,)), jnp.arange(size))

    def __call__(self, x):
        return x * self.weight


class Typed:
    def __init__(self, size, dtype=jnp.float32, key=None):
        self.dtype_seen = dtype
        self.weight = jax.random.normal(key, (size,), dtype)


class Pair:
    def __init__(self, parts, *, key):
        self.parts = parts
        self.weight = jax.random.normal(key, (2,))


class Careless:
    def __init__(self, *, key):
        self.one = jax.random.normal(key, (2,))
        self.two = jax.random.normal(key, (2,))


def test_the_same_seed_and_dtype_give_the_same_module():
    one = construct_and_call(Scale.make, 3).with_rng_seed(1)
    two = construct_and_call(Scale.make, 3).with_rng_seed(1)
    np.testing.assert_array_equal(one.build().weight, two.build().weight)
    assert one.build() is one.build()


def test_seeds_and_dtypes_have_keys_of_their_own():
    construction = construct_and_call(Scale.make, 3).with_requested_dtype()
    weights = [
        construction.build(np.float32).weight,
        construction.build(np.float16).weight.astype(np.float32),
        construction.with_rng_seed(1).build(np.float32).weight,
    ]
    assert len({tuple(np.round(np.asarray(weight), 2)) for weight in weights}) == 3


def test_nothing_is_built_before_the_first_call():
    def explode(*, key):
        raise AssertionError("built")

    construction = construct_and_call(explode).with_requested_dtype().with_rng_seed(3)
    with pytest.raises(AssertionError, match="built"):
        construction(jnp.ones(2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, jnp.bfloat16])
def test_the_requested_dtype_is_that_of_the_call(dtype, check):
    construction = construct_and_call(Scale.make, 3).with_requested_dtype()
    assert construction(jnp.ones(3, dtype)).dtype == dtype
    assert construction.build(dtype).step.dtype == np.int32  # only floating weights are meant
    check(construction, Spec((3,), dtype), opsets=[21])


def test_a_fixed_dtype_and_the_default():
    assert construct_and_call(Scale.make, 3).with_requested_dtype(np.float16).build().weight.dtype == np.float16
    assert construct_and_call(Scale.make, 3)(jnp.ones(3, np.float16)).dtype == np.float32
    assert construct_and_call(Scale.make, 3).with_requested_dtype()(jnp.ones(3, np.int32)).dtype == np.float32


def test_a_constructor_that_takes_a_dtype_is_given_it():
    assert construct_and_call(Typed, 3).with_requested_dtype(np.float16).build().dtype_seen == np.float16
    assert construct_and_call(Typed, 3, np.float32).with_requested_dtype(np.float16).build().dtype_seen == np.float32
    key = jax.random.key(7)
    given = construct_and_call(Typed, 2, key=key).build().weight
    np.testing.assert_array_equal(given, jax.random.normal(jax.random.key(7), (2,)))


def test_constructions_among_the_arguments_get_different_keys():
    parts = [construct_and_call(Typed, 2), construct_and_call(Typed, 2)]
    pair = construct_and_call(Pair, parts).build(np.float16)
    weights = {tuple(np.asarray(w, np.float32).round(2)) for w in (pair.weight, *(p.weight for p in pair.parts))}
    assert len(weights) == 3
    assert all(part.dtype_seen == np.float16 for part in pair.parts)


def test_a_key_used_twice_is_an_error():
    with pytest.raises(jax.errors.KeyReuseError):
        construct_and_call(Careless).build()


def test_weights_are_constants_named_as_in_the_module_also_under_vmap(check):
    construction = construct_and_call(Scale.make, 3).with_requested_dtype().with_rng_seed(2)
    program = check(jax.vmap(construction), Spec(("B", 3)))
    assert list(program.model.graph.initializers) == ["weight"]
    assert program.input_names == ["x"]
