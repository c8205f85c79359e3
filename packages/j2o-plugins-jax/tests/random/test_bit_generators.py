"""lax.rng_bit_generator gives the bits, and the next state, that XLA gives on a CPU."""

import jax
import numpy as np
import pytest
from jax import lax

from j2o_core import UnsupportedError, to_onnx
from j2o_core.testing import Spec, check

ALGORITHMS = lax.RandomAlgorithm
STATE = np.array([7, 123456789, 5, 0], np.uint32)
LAST = np.array([1, 2**32 - 1, 2**32 - 2, 2**32 - 1], np.uint32)  # the counter wraps around


@pytest.mark.parametrize("algorithm", [ALGORITHMS.RNG_THREE_FRY, ALGORITHMS.RNG_PHILOX, ALGORITHMS.RNG_DEFAULT])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_bits(algorithm, dtype):
    shapes = [(), (1,), (3, 5), (5, 7, 3), (3, 4, 5), (2, 0)]
    check(
        lambda state: [lax.rng_bit_generator(state, shape, dtype, algorithm) for shape in shapes],
        STATE,
        args=[(STATE,), (LAST,)],
        opsets=(21,),
    )


@pytest.mark.parametrize("algorithm", [ALGORITHMS.RNG_THREE_FRY, ALGORITHMS.RNG_PHILOX])
def test_wide_bits_and_states(algorithm):
    with jax.enable_x64(True):
        state = np.array([2**63 + 5, 2**64 - 3], np.uint64)
        check(lambda state: lax.rng_bit_generator(state, (3, 5), np.uint64, algorithm), state, opsets=(21,))
        check(lambda state: lax.rng_bit_generator(state, (3, 5), np.uint32, algorithm), state, opsets=(21,))
        check(lambda state: lax.rng_bit_generator(state, (4,), np.uint64, algorithm), STATE)


def test_carried_and_mapped_states():
    def walk(state):
        return lax.scan(lambda state, _: lax.rng_bit_generator(state, (5,)), state, None, length=4)

    check(walk, STATE, opsets=(21,))
    check(jax.vmap(lambda state: lax.rng_bit_generator(state, (5,))), np.stack([STATE, LAST]), opsets=(21,))


def test_symbolic_sizes():
    def fn(state, x, algorithm):
        return lax.rng_bit_generator(state, x.shape, np.uint32, algorithm)

    check(lambda state, x: fn(state, x, ALGORITHMS.RNG_PHILOX), Spec((4,), np.uint32), Spec(("B", 3)), opsets=(21,))
    with pytest.raises(UnsupportedError, match="symbolic size"):
        to_onnx(
            lambda state, x: fn(state, x, ALGORITHMS.RNG_THREE_FRY), [jax.ShapeDtypeStruct((4,), np.uint32), ("B", 3)]
        )
