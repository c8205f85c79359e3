"""Remainders and floored quotients of integers by a positive number take few nodes; others are what they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from j2o_core.testing import Spec, check

SIGNED = [np.int8, np.int16, np.int32, np.int64]


def _ends(dtype):
    ends = np.iinfo(dtype)
    return np.array([ends.min, ends.min + 1, *range(-9 if ends.min else 0, 10), ends.max - 1, ends.max], dtype)


@pytest.mark.parametrize("dtype", SIGNED)
@pytest.mark.parametrize("n", [2, 7, 100])
def test_floored(dtype, n):
    with jax.enable_x64(dtype == np.int64):
        for x in (_ends(dtype), dtype(-5)):
            check(lambda x: x % n, x, opsets=(18, 26), contains=["Mod"], absent=["Where", "Div"])


def test_no_elements():
    check(lambda x: x % 7, np.zeros((0, 3), np.int32), opsets=(21,))


@pytest.mark.parametrize("dtype", [*SIGNED, np.uint8, np.uint32, np.uint64])
def test_truncated(dtype):
    with jax.enable_x64(dtype in (np.int64, np.uint64)):
        x = np.abs(_ends(dtype)[2:])
        check(lambda x: lax.rem(jnp.clip(x, 0), dtype(7)), x, opsets=(18, 26), contains=["Mod"], absent=["Sub"])


def test_many_elements_are_divided():
    """Mod takes four times as long for each."""
    x = np.arange(200, dtype=np.uint32)
    check(lambda x: lax.rem(x, np.uint32(7)), x, opsets=(21,), contains=["Div"], absent=["Mod"])
    x = np.arange(-4096, 4096, dtype=np.int32)
    check(lambda x: x % 7, x, opsets=(21,), contains=["Div"], absent=["Mod", "Where"])
    check(lambda x: x // 7, x, opsets=(21,), contains=["Div"], absent=["Mod", "Where", "Mul"])


def test_a_symbolic_size():
    check(lambda x: x % 7, Spec(("N",), np.int32), sizes=(0, 1, 5), contains=["Mod"], absent=["Where"])


@pytest.mark.parametrize("dtype", SIGNED)
@pytest.mark.parametrize("n", [2, 7, 100])
def test_floored_quotients(dtype, n):
    with jax.enable_x64(dtype == np.int64):
        for x in (_ends(dtype), dtype(-5)):
            check(lambda x: x // n, x, opsets=(18, 26), absent=["Where", "Sign", "Mod"])


@pytest.mark.parametrize("dtype", SIGNED)
def test_quotients_of_what_is_not_negative(dtype):
    with jax.enable_x64(dtype == np.int64):
        x = _ends(dtype)
        check(lambda x: jnp.clip(x, 0) // 7, x, opsets=(18, 26), contains=["Div"], absent=["Sign", "Sub", "Mod"])


@pytest.mark.parametrize("n", [7, 100])
def test_quotients_far_from_the_least_number(n):
    """A quotient and a remainder by one number have one Mod."""
    lowest, x = np.iinfo(np.int8).min, _ends(np.int8)

    def division(low):
        return lambda x: jnp.divmod(jnp.maximum(x, np.int8(low)), np.int8(n))

    check(division(lowest + n), x, opsets=(18, 26), contains=["Mod"], absent=["Where", "Add"])
    check(division(lowest + n - 1), x, opsets=(18, 26), contains=["Mod", "Add"], absent=["Where"])
    many = np.tile(x, 9)
    check(lambda x: jnp.maximum(x, 0 - np.int8(9)) // np.int8(n), many, opsets=(21,), contains=["Add"], absent=["Mod"])


def _floored(x, n, *, sign=1, rest=0, less=1, by=None):
    """`x // n` as JAX has it, and with other numbers."""
    q = lax.div(x, n)
    return jnp.where((lax.sign(x) != sign) & (lax.rem(x, n if by is None else by) != rest), q - less, q)


FLOORED = {
    "a negative divisor": lambda x: x // -7,
    "divisors of their own": lambda x: x // jnp.array([7, 8, 9], jnp.int32),
    "another sign": lambda x: _floored(x, jnp.int32(7), sign=0),
    "another rest": lambda x: _floored(x, jnp.int32(7), rest=1),
    "two less": lambda x: _floored(x, jnp.int32(7), less=2),
    "the rest by another": lambda x: _floored(x, jnp.int32(7), by=jnp.int32(8)),
    "another quotient": lambda x: jnp.where((lax.sign(x) != 1) & (x % 7 != 0), lax.div(x, 7) - 1, lax.div(x, 8)),
    "the sign of another": lambda x: jnp.where(
        (lax.sign(-x) != 1) & (lax.rem(x, 7) != 0), lax.div(x, 7) - 1, lax.div(x, 7)
    ),
    "a number less one": lambda x: jnp.where((lax.sign(x) != 1) & (lax.rem(x, 7) != 0), x - 1, lax.div(x, 7)),
    "either": lambda x: jnp.where((lax.sign(x) != 1) | (lax.rem(x, 7) != 0), lax.div(x, 7) - 1, lax.div(x, 7)),
}


@pytest.mark.parametrize("name", FLOORED)
def test_near_misses_of_floored_quotients(name):
    x = _ends(np.int32)[:21].reshape(7, 3)
    check(FLOORED[name], x, opsets=(21,), contains=["Sign", "Where"])


NEAR = {
    "negative numbers": lambda x: lax.rem(x, jnp.int32(7)),
    "a negative divisor": lambda x: x % -7,
    "divisors of their own": lambda x: x % jnp.array([7, 8, 9], jnp.int32),
    "no divisor": lambda x: x % 0,
    "the lowest divisor": lambda x: x % jnp.int32(-(2**31)),
    "another product": lambda x: x - (lax.div(x, jnp.int32(7)) * 8),
    "another number": lambda x: jnp.clip(x, 0) - (lax.div(x, jnp.int32(7)) * 7),
    "the sign of the number": lambda x: (lambda r: jnp.where(x < 0, r + 7, r))(lax.rem(x, jnp.int32(7))),
    "another sum": lambda x: (lambda r: jnp.where(r < 0, r + 8, r))(lax.rem(x, jnp.int32(7))),
    "another choice": lambda x: (lambda r: jnp.where(r < 1, r + 7, r))(lax.rem(x, jnp.int32(7))),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name):
    x = _ends(np.int32)[:21].reshape(7, 3)
    check(NEAR[name], x, opsets=(21,), absent=["Mod"])


def test_one_number_by_a_row_of_one_divisor():
    sevens = np.full(3, 7, np.int32)
    for x in (np.array([-9], np.int32), np.int32(-9)):
        check(lambda x: jnp.divmod(x, sevens), x, opsets=(21,))


def test_large_divisors_differ():
    """Of 64 bits, which floats of 64 do not tell apart."""
    with jax.enable_x64(True):
        n = 2**60
        x = np.array([n, n + 1, n - 1, 5], np.int64)
        check(lambda x: x - lax.div(x, np.int64(n + 1)) * np.int64(n), x, opsets=(21,), absent=["Mod"])
        check(lambda x: x % np.int64(n + 1), x, opsets=(21,), contains=["Mod"])


def test_floats_keep_theirs():
    x = np.array([-7.5, -0.0, 0.0, 3.0, np.inf, np.nan], np.float32)
    check(lambda x: x % 7, x, opsets=(21,), contains=["Mod"])
