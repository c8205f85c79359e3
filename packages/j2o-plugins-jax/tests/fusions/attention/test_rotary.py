"""Rotary embedding: halves and neighbours, however they are taken apart and put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

LENGTH, SIZE = 5, 8
ANGLES = np.outer(np.arange(LENGTH), 10.0 ** -np.arange(SIZE // 2)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
BOTH_COS, BOTH_SIN = (np.concatenate([table, table], -1) for table in (COS, SIN))
EACH_COS, EACH_SIN = (np.repeat(table, 2, -1) for table in (COS, SIN))


def rotate(x, angles=ANGLES, *, sign=-1.0):
    cos, sin = (np.concatenate([table, table], -1) for table in (np.cos(angles), np.sin(angles)))
    first, second = jnp.split(x, 2, -1)
    turned = jnp.concatenate([-second if sign < 0 else second, first], -1)
    return x * cos + turned * sin


def products(x):
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * COS - second * SIN, second * COS + first * SIN], -1)


def products_of_rows(x):
    """The halves as rows, put together as rows."""
    first, second = jnp.moveaxis(x.reshape(*x.shape[:-1], 2, -1), -2, 0)
    turned = jnp.stack([COS * first - SIN * second, SIN * first + COS * second], -2)
    return turned.reshape(x.shape)


def halves_of_rows(x):
    rows = x.reshape(*x.shape[:-1], 2, -1)
    return x * BOTH_COS + jnp.concatenate([-rows[..., 1, :], rows[..., 0, :]], -1) * BOTH_SIN


def rolled(x):
    return jnp.roll(x, SIZE // 2, -1) * np.concatenate([-SIN, SIN], -1) + BOTH_COS * x


def turned_back(x):
    first, second = jnp.split(x, 2, -1)
    return x * BOTH_COS + jnp.concatenate([second, -first], -1) * BOTH_SIN


def every_second(x):
    even, odd = x[..., ::2], x[..., 1::2]
    return jnp.stack([even * COS - odd * SIN, odd * COS + even * SIN], -1).reshape(x.shape)


def neighbours(x):
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    return jnp.stack([even * COS - odd * SIN, odd * COS + even * SIN], -1).reshape(x.shape)


def exchanged_neighbours(x):
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    turned = jnp.stack([-pairs[..., 1], pairs[..., 0]], -1).reshape(x.shape)
    return x * EACH_COS + turned * EACH_SIN


def exchanged_every_second(x):
    turned = jnp.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * EACH_COS + turned * EACH_SIN


def complex_neighbours(x):
    """As LLaMA has it."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    turned = jax.lax.complex(pairs[..., 0], pairs[..., 1]) * np.exp(1j * ANGLES).astype(np.complex64)
    return jnp.stack([turned.real, turned.imag], -1).reshape(x.shape)


def complex_halves(x):
    turned = jax.lax.complex(*jnp.split(x, 2, -1)) * jax.lax.complex(COS, SIN)
    return jnp.concatenate([jnp.real(turned), jnp.imag(turned)], -1)


HALVES = [rotate, products, products_of_rows, halves_of_rows, rolled, turned_back, complex_halves]
NEIGHBOURS = [every_second, neighbours, exchanged_neighbours, exchanged_every_second, complex_neighbours]


def one(program):
    (node,) = (node for node in program.model.graph if node.op_type == "RotaryEmbedding")
    return {name: attribute.value for name, attribute in node.attributes.items()}


@pytest.mark.parametrize("batch", [1, 3, "B"])
@pytest.mark.parametrize("fn", [*HALVES, *NEIGHBOURS])
def test_is_one_operator_from_opset_23_on(fn, batch):
    program = check(fn, Spec((batch, 2, LENGTH, SIZE)), absent=["Mul", "Neg", "Split", "Transpose"], opsets=(23,))
    assert one(program) == ({"interleaved": 1} if fn in NEIGHBOURS else {})


@pytest.mark.parametrize("fn", [*HALVES, *NEIGHBOURS])
def test_numbers_that_are_not_finite_stay_in_their_pair(fn):
    x = np.random.default_rng(0).standard_normal((2, 2, LENGTH, SIZE)).astype(np.float32)
    x[0, 0, 1, 2], x[1, 1, 0, 7], x[1, 0, 4, 0] = np.nan, np.inf, -np.inf
    check(fn, x, contains=["RotaryEmbedding"], opsets=(18, 23, 26))


def test_below_opset_23_the_sign_is_in_the_table():
    for fn in (rotate, halves_of_rows):
        check(fn, Spec(("B", 2, LENGTH, SIZE)), contains=["Split"], absent=["Neg", "RotaryEmbedding"], opsets=(18, 21))


def test_positions_and_tables_are_shared():
    program = check(lambda q, k: (rotate(q), rotate(k)), *[Spec(("B", 2, LENGTH, SIZE))] * 2, opsets=(23,))
    assert sum(node.op_type == "Expand" for node in program.model.graph) == 1
    shapes = [value.shape for value in program.model.graph.initializers.values()]
    assert sum(list(shape) == [LENGTH, SIZE // 2] for shape in shapes if shape is not None) == 2


@pytest.mark.parametrize("fn", [*HALVES, *NEIGHBOURS])
@pytest.mark.parametrize("shape", [(2, LENGTH, SIZE), (1, 2, LENGTH, SIZE)])
def test_one_image_and_a_batch_of_one(fn, shape):
    check(fn, Spec(shape), contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,))


@pytest.mark.parametrize("batch", [(), (3,), ("B",)])
@pytest.mark.parametrize("fn", [rotate, products, every_second, exchanged_neighbours, complex_neighbours])
def test_heads_behind_the_tokens(fn, batch):
    def turn(x):
        return jnp.swapaxes(fn(jnp.swapaxes(x, -2, -3)), -2, -3)

    check(turn, Spec((*batch, LENGTH, 2, SIZE)), contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,))


def test_tables_with_an_axis_for_the_heads():
    def turn(x):
        first, second = jnp.split(x, 2, -1)
        return x * BOTH_COS[:, None] + jnp.concatenate([-second, first], -1) * BOTH_SIN[:, None]

    check(turn, Spec(("B", LENGTH, 2, SIZE)), contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,))


@pytest.mark.parametrize("fn", [rotate, products, neighbours, exchanged_every_second])
def test_heads_one_by_one(fn):
    """Mapped over the heads in their place, as `process_heads` of Equinox does."""
    heads = jax.vmap(jax.vmap(fn, 1, 1))
    program = check(heads, Spec(("B", LENGTH, 2, SIZE)), absent=["Mul", "Split"], opsets=(18, 23))
    assert one(program) == ({"interleaved": 1} if fn in NEIGHBOURS else {})


@pytest.mark.parametrize("fn", [rotate, products, neighbours, exchanged_every_second])
@pytest.mark.parametrize("tokens_first", [False, True])
def test_a_part_of_each_head(fn, tokens_first):
    def turn(x):
        x = jnp.swapaxes(x, 1, 2) if tokens_first else x
        turned = jnp.concatenate([fn(x[..., :SIZE]), x[..., SIZE:]], -1)
        return jnp.swapaxes(turned, 1, 2) if tokens_first else turned

    shape = ("B", LENGTH, 2, SIZE + 6) if tokens_first else ("B", 2, LENGTH, SIZE + 6)
    program = check(turn, Spec(shape), absent=["Mul", "Split", "Slice"], opsets=(21, 23, 26))
    assert one(program)["rotary_embedding_dim"] == SIZE


def test_a_part_that_is_not_the_first_stays_apart():
    def turn(x):
        return jnp.concatenate([x[..., :6], rotate(x[..., 6:])], -1)

    program = check(turn, Spec(("B", 2, LENGTH, SIZE + 6)), contains=["Concat"], opsets=(23,))
    assert one(program) == {}


def test_tokens_that_are_not_turned_stay_apart():
    """As rows that turn by nothing they would still mix: zero times infinity."""

    def turn(x):
        return jnp.concatenate([x[:, :, :2], rotate(x[:, :, 2:])], 2)

    x = np.ones((1, 2, LENGTH + 2, SIZE), np.float32)
    x[0, 0, 1, 1] = np.inf
    one(check(turn, x, contains=["Concat"], opsets=(21, 23)))


def test_rows_that_turn_by_nothing():
    angles = np.concatenate([np.zeros((2, SIZE // 2), np.float32), ANGLES])
    check(lambda x: rotate(x, angles), Spec(("B", 2, LENGTH + 2, SIZE)), absent=["Mul"], opsets=(21, 23))


def test_other_ranks_are_left_decomposed():
    for fn in (rotate, products, neighbours):
        check(fn, Spec((LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))
        check(fn, Spec((2, 1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


def test_a_table_for_each_head_is_left_decomposed():
    angles = np.stack([ANGLES, ANGLES / 2])
    check(lambda x: rotate(x, angles), Spec((1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


def test_double_precision_is_left_decomposed(x64):
    def fn(x):
        return rotate(x, ANGLES.astype(np.float64)), products(x)

    check(fn, Spec((1, 2, LENGTH, SIZE), np.float64), absent=["RotaryEmbedding"], opsets=(23,))


def test_tables_that_are_inputs():
    """The operator turns by any two tables, cosines and sines of one angle or not."""

    def fn(x, cos, sin):
        first, second = jnp.split(x, 2, -1)
        return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    for table in (Spec((LENGTH, SIZE // 2)), Spec(("B", 1, LENGTH, SIZE // 2))):
        check(
            fn, Spec(("B", 2, LENGTH, SIZE)), table, table, contains=["RotaryEmbedding"], absent=["Mul"], opsets=(23,)
        )


def _two(x):
    return jnp.split(x, 2, -1)


NO_ROTATIONS = {
    "tables whose halves differ": lambda x: x * BOTH_COS[:, ::-1] + jnp.roll(x, 4, -1) * BOTH_SIN,
    "tables of neighbours for halves": lambda x: (
        x * EACH_COS + jnp.concatenate([-_two(x)[1], _two(x)[0]], -1) * EACH_SIN
    ),
    "tables of halves for neighbours": lambda x: (
        x * BOTH_COS + jnp.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape) * BOTH_SIN
    ),
    "both signs": lambda x: x * BOTH_COS + jnp.concatenate([-_two(x)[1], -_two(x)[0]], -1) * BOTH_SIN,
    "nothing exchanged": lambda x: x * BOTH_COS + jnp.concatenate([-_two(x)[0], _two(x)[1]], -1) * BOTH_SIN,
    "of another value": lambda x: jnp.tanh(x) * BOTH_COS + jnp.concatenate([-_two(x)[1], _two(x)[0]], -1) * BOTH_SIN,
    "a reflection": lambda x: jnp.concatenate(
        [_two(x)[0] * COS + _two(x)[1] * SIN, _two(x)[1] * COS + _two(x)[0] * SIN], -1
    ),
    "another order": lambda x: jnp.concatenate(
        [_two(x)[1] * COS - _two(x)[0] * SIN, _two(x)[0] * COS + _two(x)[1] * SIN], -1
    ),
    "tables exchanged": lambda x: jnp.concatenate(
        [_two(x)[0] * COS - _two(x)[1] * SIN, _two(x)[0] * COS + _two(x)[1] * SIN], -1
    ),
    "halves for neighbours": lambda x: jnp.concatenate(
        [x[..., ::2] * COS - x[..., 1::2] * SIN, x[..., 1::2] * COS + x[..., ::2] * SIN], -1
    ),
    "a number as table": lambda x: jnp.concatenate(
        [_two(x)[0] * 0.6 - _two(x)[1] * 0.8, _two(x)[1] * 0.6 + _two(x)[0] * 0.8], -1
    ),
}


@pytest.mark.parametrize("name", NO_ROTATIONS)
def test_declines_what_only_looks_like_it(name):
    program = check(NO_ROTATIONS[name], Spec(("B", 2, LENGTH, SIZE)), opsets=(18, 23))
    graph = [node.op_type for node in program.model.graph]
    assert "RotaryEmbedding" not in graph or name == "halves for neighbours"


def test_a_swap_without_sign_is_no_rotation():
    check(lambda x: rotate(x, sign=1.0), Spec((1, 2, LENGTH, SIZE)), absent=["RotaryEmbedding"], opsets=(23,))


@pytest.mark.parametrize("batch", [3, "B"])
def test_inside_a_loop(batch):
    def repeated(x):
        return jax.lax.fori_loop(0, x.shape[2] * 4, lambda i, y: rotate(y), x)

    check(repeated, Spec((batch, 2, LENGTH, SIZE)), opsets=(21, 23))


def test_gradient():
    check(
        jax.grad(lambda x: jnp.sum(jnp.sin(products(x)) + neighbours(x) ** 2)),
        Spec((2, 2, LENGTH, SIZE)),
        opsets=(18, 23),
    )


@pytest.mark.parametrize("signs", [(-1, 1), (1, -1), (-1, -1)])
def test_negated_numbers_are_not_turned_as_they_are(signs):
    def fn(x):
        halves = jnp.split(x, 2, -1)
        first, second = (half if sign > 0 else -half for sign, half in zip(signs, halves, strict=True))
        return jnp.concatenate([first * COS - second * SIN, second * COS + first * SIN], -1)

    check(fn, Spec((2, 3, LENGTH, SIZE)), opsets=(21, 23))
