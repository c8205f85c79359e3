"""Rotary embedding with tables that the graph computes: of positions that are an input, or gathered by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

SIZE = 24  # rows of a few numbers are broadcast by copies
RATES = (10.0 ** -np.arange(SIZE // 2)).astype(np.float32)
KNOWN = np.outer(np.arange(16), RATES)
COS, SIN = np.cos(KNOWN).astype(np.float32), np.sin(KNOWN).astype(np.float32)
SIZES = (1, 2, 7)


def angles(positions):
    return positions[..., None] * RATES


def twice(table):
    return jnp.concatenate([table, table], -1)


def each(table):
    return jnp.repeat(table, 2, -1)


def turn(x, cos, sin):
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def turn_back(x, cos, sin):
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([second, -first], -1) * sin


def turn_neighbours(x, cos, sin):
    return x * cos + jnp.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape) * sin


def products(x, cos, sin):
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def products_of_neighbours(x, cos, sin):
    even, odd = x[..., ::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(x.shape)


def tables(cos, sin, of):
    return of(cos)[:, :, None], of(sin)[:, :, None]


def of_angles(turn, of):
    """Angles twice, then their cosines and sines."""

    def fn(x, positions):
        both = of(angles(positions))[:, :, None]
        return turn(x, jnp.cos(both), jnp.sin(both))

    return fn


def of_tables(turn, of):
    """Cosines and sines, then each of them twice, and scaled as some models for long texts do."""

    def fn(x, positions):
        turned = angles(positions)
        return turn(x, *(table * np.float32(1.25) for table in tables(jnp.cos(turned), jnp.sin(turned), of)))

    return fn


def gathered(turn, of):
    """Rows of constant tables."""
    return lambda x, positions: turn(x, *(jnp.asarray(of(table))[positions][:, :, None] for table in (COS, SIN)))


def gathered_together(turn, of):
    """As GPT-J has it: a table with sines and cosines side by side."""

    def fn(x, positions):
        sin, cos = jnp.split(jnp.asarray(np.concatenate([SIN, COS], -1))[positions], 2, -1)
        return turn(x, *tables(cos, sin, of))

    return fn


def stacked(table):
    return jnp.stack([table, table], -1).reshape(*table.shape[:-1], SIZE)


def tiled(table):
    return jnp.tile(table, (1,) * (table.ndim - 1) + (2,))


def same(table):
    return table


SPELLINGS = [
    (turn, twice),
    (turn, tiled),
    (turn_back, twice),
    (products, same),
    (turn_neighbours, each),
    (turn_neighbours, stacked),
    (products_of_neighbours, same),
]
NAMES = [f"{turn.__name__} {of.__name__}" for turn, of in SPELLINGS]
UNWANTED = ["Neg", "Split", "Slice"]


def one(program):
    (node,) = (node for node in program.model.graph if node.op_type == "RotaryEmbedding")
    return {name: attribute.value for name, attribute in node.attributes.items()}


def count(program, op_type):
    return sum(node.op_type == op_type for node in program.model.graph)


def run(batch, length):
    """Random numbers, and positions among those of the tables."""
    rng = np.random.default_rng(batch + 8 * length)
    return rng.standard_normal((batch, length, 2, SIZE)).astype(np.float32), rng.integers(
        0, 16, (batch, length), np.int32
    )


RUNS = [run(batch, length) for batch in SIZES for length in SIZES]
INPUTS = (Spec(("B", "T", 2, SIZE)), Spec(("B", "T"), np.int32))


@pytest.mark.parametrize("source", [of_angles, of_tables, gathered, gathered_together])
@pytest.mark.parametrize(("turn", "of"), SPELLINGS, ids=NAMES)
def test_tables_of_positions_that_are_an_input(turn, of, source):
    fn = source(turn, of)
    program = check(fn, *INPUTS, args=RUNS, opsets=(21, 23), absent=["Tile", "Expand", "Concat"])
    neighbours = turn in (turn_neighbours, products_of_neighbours)
    assert one(program) == ({"interleaved": 1} if neighbours else {})
    # Of turns the other way the table of sines is negated, not its numbers.
    assert count(program, "Neg") == (turn is turn_back)
    assert count(program, "Cos") == count(program, "Sin") == (source in (of_angles, of_tables))


@pytest.mark.parametrize("turn", [turn, products, turn_neighbours, products_of_neighbours])
def test_positions_of_a_symbolic_length(turn):
    def fn(x):
        turned = angles(jnp.arange(x.shape[1], dtype=jnp.float32))
        wide = {turn_neighbours: each, products: same, products_of_neighbours: same}.get(turn, twice)
        both = wide(turned)[None, :, None]
        return turn(x, jnp.cos(both), jnp.sin(both))

    one(check(fn, INPUTS[0], sizes=SIZES, opsets=(21, 23, 26), absent=UNWANTED))


@pytest.mark.parametrize("length", [5, "T"])
def test_positions_broadcast_over_the_batch(length):
    """As Gemma has it."""

    def fn(x):
        positions = jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape[:2])
        turned = (positions[..., None] / (10000 ** (2 * jnp.arange(SIZE // 2) / SIZE)))[..., None, :]
        return products(x, jnp.cos(turned), jnp.sin(turned))

    one(check(fn, Spec(("B", length, 2, SIZE)), sizes=SIZES, opsets=(21, 23, 26), absent=[*UNWANTED, "Mul"]))
    if length != "T":  # all constant
        one(check(fn, Spec((3, length, 2, SIZE)), opsets=(21, 23), absent=[*UNWANTED, "Mul", "Cos"]))


def test_constant_tables_that_differ_by_batch_are_left_decomposed():
    known = np.stack([COS[:5], COS[5:10]])[:, :, None]
    check(lambda x: products(x, known, known), Spec((2, 5, 2, SIZE)), opsets=(21, 23), absent=["RotaryEmbedding"])


def test_angles_that_are_broadcast_behind_their_concatenation():
    def fn(x):
        both = twice(angles(jnp.arange(x.shape[1])))
        both = jnp.broadcast_to(both[None], (*x.shape[:2], SIZE))[:, :, None]
        return turn(x, jnp.cos(both), jnp.sin(both))

    one(check(fn, INPUTS[0], sizes=SIZES, opsets=(23,), absent=UNWANTED))


@pytest.mark.parametrize("source", [of_angles, gathered])
def test_heads_before_the_tokens(source):
    """As Hugging Face has it: no change of layout is left."""

    def fn(x, positions):
        return source(lambda y, *both: turn(x, *(jnp.swapaxes(one, 1, 2) for one in both)), twice)(x, positions)

    runs = [(np.swapaxes(x, 1, 2), positions) for x, positions in RUNS]
    program = check(fn, Spec(("B", 2, "T", SIZE)), INPUTS[1], args=runs, opsets=(23,), absent=[*UNWANTED, "Transpose"])
    one(program)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("length", [1, 3])
def test_rows_of_a_table_from_a_position_on(length, wide):
    """Decoding with a cache, all rows of the batch at one position."""

    def fn(x, start):
        tables = (
            jax.lax.dynamic_slice_in_dim(jnp.asarray(np.tile(one, 1 + wide)), start, length)[:, None]
            for one in (COS, SIN)
        )
        return (turn if wide else products)(x, *tables)

    runs = [(run(batch, length)[0], np.int32(start)) for batch in SIZES for start in (0, 5, 13)]
    one(check(fn, Spec(("B", length, 2, SIZE)), Spec((), np.int32), args=runs, opsets=(23,), absent=["Mul", "Neg"]))


@pytest.mark.parametrize("shape", [("B", 1, 2, SIZE), (1, "T", 2, SIZE), (1, 1, 1, SIZE), (2, 5, 1, SIZE)])
def test_one_token_one_row_and_one_head(shape):
    for source in (of_angles, gathered):
        fn = source(turn, twice)
        one(check(fn, Spec(shape), Spec(shape[:2], np.int32), sizes=SIZES, opsets=(21, 23), absent=UNWANTED))


@pytest.mark.parametrize("shape", [("T", 2, SIZE), (1, 2, SIZE)])
def test_no_batch(shape):
    def fn(x, positions):
        turned = angles(positions)[:, None]
        return products(x, jnp.cos(turned), jnp.sin(turned))

    one(check(fn, Spec(shape), Spec(shape[:1], np.int32), sizes=SIZES, opsets=(23,), absent=["Split"]))


def test_mapped_over_the_batch_and_the_heads():
    def row(x, positions):
        both = twice(angles(positions))
        return jax.vmap(lambda head: turn(head, jnp.cos(both), jnp.sin(both)), 1, 1)(x)

    one(check(jax.vmap(row), *INPUTS, args=RUNS, opsets=(23,), absent=UNWANTED))


def test_queries_and_keys_share_their_tables():
    def fn(q, k, positions):
        both = twice(angles(positions))[:, :, None]
        return [turn(x, jnp.cos(both) * 1.5, jnp.sin(both) * 1.5) for x in (q, k, q + k)]

    program = check(fn, *INPUTS[:1] * 2, INPUTS[1], opsets=(23,))
    assert count(program, "RotaryEmbedding") == 3
    assert count(program, "Cos") == count(program, "Sin") == 1
    assert count(program, "Mul") == 3  # one of the positions, one of each table


def test_one_table_for_halves_and_for_neighbours():
    """Of numbers that are all equal both can be made, and they differ."""

    def fn(x, positions):
        both = jnp.stack([jnp.sin(positions)] * 2, -1)
        both = jnp.stack([both] * 2, -1).reshape(*positions.shape, 1, 4)
        return turn(x, both, both), turn_back(x, both, both), turn_neighbours(x, both, both)

    check(fn, Spec(("B", "T", 2, 4)), INPUTS[1], opsets=(21, 23), contains=["RotaryEmbedding"])


def test_a_part_of_each_head():
    def fn(x, positions):
        turned = gathered(turn, twice)(x[..., :SIZE], positions)
        return jnp.concatenate([turned, x[..., SIZE:]], -1)

    program = check(fn, Spec(("B", "T", 2, SIZE + 6)), INPUTS[1], opsets=(23,), absent=[*UNWANTED, "Mul"])
    assert one(program) == {"rotary_embedding_dim": SIZE}


@pytest.mark.parametrize("which", ["cos", "sin"])
def test_one_table_is_constant(which):
    def fn(x, positions):
        both = twice(angles(positions))[:, :, None]
        known = np.tile(COS[:5], 2)[:, None]
        return turn(x, *((known, jnp.sin(both)) if which == "cos" else (jnp.cos(both), known)))

    one(check(fn, Spec(("B", 5, 2, SIZE)), Spec(("B", 5), np.int32), opsets=(21, 23), absent=UNWANTED))


def test_inside_a_loop():
    def fn(x, positions):
        both = twice(angles(positions))[:, :, None]
        return jax.lax.fori_loop(0, 4, lambda i, y: turn(y, jnp.cos(both + i), jnp.sin(both + i)), x)

    check(fn, *INPUTS, args=RUNS, opsets=(21, 23))

    def same_positions(x):
        both = twice(angles(jnp.arange(x.shape[1])))[None, :, None]
        return jax.lax.fori_loop(0, 4, lambda i, y: turn(y, jnp.cos(both), jnp.sin(both)), x)

    check(same_positions, INPUTS[0], sizes=SIZES, opsets=(21, 23))


def test_numbers_that_are_not_finite_stay_in_their_pair():
    x, positions = run(2, 7)
    x[0, 1, 0, 2], x[1, 0, 1, 7], x[1, 4, 0, 0] = np.nan, np.inf, -np.inf
    for spelling, of in SPELLINGS:
        check(gathered(spelling, of), x, positions, contains=["RotaryEmbedding"], opsets=(21, 23))


def test_no_tokens_and_no_rows():
    for shape in ((0, 3, 2, SIZE), (2, 0, 2, SIZE)):
        x, positions = np.zeros(shape, np.float32), np.zeros(shape[:2], np.int32)
        for source in (of_angles, gathered):
            check(source(turn, twice), *INPUTS, args=[(x, positions)], opsets=(21, 23), contains=["RotaryEmbedding"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    def fn(x, positions):
        both = twice(angles(positions))[:, :, None]
        return turn(x, jnp.cos(both).astype(dtype), jnp.sin(both).astype(dtype))

    check(fn, Spec(("B", "T", 2, SIZE), jnp.dtype(dtype)), INPUTS[1], opsets=(21, 23), contains=["RotaryEmbedding"])


def _tables(positions):
    both = twice(angles(positions))[:, :, None]
    return jnp.cos(both), jnp.sin(both)


def _halves_that_differ(x, positions):
    turned = angles(positions)
    both = jnp.concatenate([turned, turned * 2], -1)[:, :, None]
    return turn(x, jnp.cos(both), jnp.sin(both))


def _sines_whose_halves_differ(x, positions):
    cos, _ = _tables(positions)
    turned = angles(positions)
    return turn(x, cos, jnp.sin(jnp.concatenate([turned, turned[..., ::-1]], -1))[:, :, None])


def _rates_whose_halves_differ(x, positions):
    both = (positions[..., None] * np.concatenate([RATES, RATES * 1.5]).astype(np.float32))[:, :, None]
    return turn(x, jnp.cos(both), jnp.sin(both))


def _gathered_halves_that_differ(x, positions):
    return turn(x, *(jnp.asarray(np.concatenate([one, one[::-1]], -1))[positions][:, :, None] for one in (COS, SIN)))


def _twice_along_the_tokens(x, positions):
    """Along another axis than that of the pairs."""
    both = jnp.concatenate([positions[..., None] * np.arange(1, SIZE + 1, dtype=np.float32)] * 2, 1)[:, :, None]
    return turn(jnp.concatenate([x, x], 1), jnp.cos(both), jnp.sin(both))


def _pairs_along_the_heads(x, positions):
    first, second = jnp.split(x, 2, 2)
    cos, sin = _tables(positions)
    return x * cos + jnp.concatenate([-second, first], 2) * sin


def _for_each_head(x, positions):
    both = jnp.stack([twice(angles(positions)), twice(angles(positions * 2))], 2)
    return turn(x, jnp.cos(both), jnp.sin(both))


def _tables_of_one_number(x, positions):
    turned = positions[..., None, None].astype(np.float32)
    return products(x, jnp.cos(turned), jnp.sin(turned))


def _four_times(x, positions):
    """Neither halves nor neighbours are all that is equal; pairs of halves are not."""
    both = jnp.repeat(angles(positions), 2, -1)[:, :, None]
    return turn(x, jnp.cos(both), jnp.sin(both))


NO_ROTATIONS = {
    "halves that differ": _halves_that_differ,
    "sines whose halves differ": _sines_whose_halves_differ,
    "rates whose halves differ": _rates_whose_halves_differ,
    "gathered halves that differ": _gathered_halves_that_differ,
    "halves for neighbours": lambda x, p: turn_neighbours(x, *_tables(p)),
    "neighbours for halves": _four_times,
    "twice along the tokens": _twice_along_the_tokens,
    "pairs along the heads": _pairs_along_the_heads,
    "a table for each head": _for_each_head,
    "tables of one number": _tables_of_one_number,
    "no sign": lambda x, p: x * _tables(p)[0] + jnp.roll(x, SIZE // 2, -1) * _tables(p)[1],
    "both signs": lambda x, p: x * _tables(p)[0] - jnp.roll(x, SIZE // 2, -1) * _tables(p)[1],
    "a reflection": lambda x, p: _both(x, *_small(p), sign=1),
    "tables exchanged in one half": lambda x, p: _both(x, *_small(p), *_small(p)[::-1]),
    "other sines in one half": lambda x, p: _both(x, *_small(p), _small(p)[0], _small(p * 2)[1]),
    "of another value": lambda x, p: (
        jnp.tanh(x) * _tables(p)[0] + jnp.concatenate([-x[..., SIZE // 2 :], x[..., : SIZE // 2]], -1) * _tables(p)[1]
    ),
}


def _small(positions):
    turned = angles(positions)[:, :, None]
    return jnp.cos(turned), jnp.sin(turned)


def _both(x, cos, sin, other_cos=None, other_sin=None, *, sign=-1):
    """With tables of their own for the second numbers."""
    other_cos, other_sin = cos if other_cos is None else other_cos, sin if other_sin is None else other_sin
    first, second = jnp.split(x, 2, -1)
    taken = first * cos - second * sin if sign < 0 else first * cos + second * sin
    return jnp.concatenate([taken, second * other_cos + first * other_sin], -1)


@pytest.mark.parametrize("name", NO_ROTATIONS)
def test_declines_what_only_looks_like_it(name):
    check(NO_ROTATIONS[name], *INPUTS, args=RUNS, opsets=(18, 23), absent=["RotaryEmbedding"])


def test_cosines_and_sines_of_different_angles():
    """The operator multiplies by the tables it is given, whatever they are of."""

    def fn(x, positions):
        both = twice(angles(positions))[:, :, None]
        return turn(x, jnp.cos(both), jnp.sin(both * 3))

    one(check(fn, *INPUTS, args=RUNS, opsets=(21, 23)))


def test_other_ranks_and_double_precision_are_left_decomposed(x64):
    def fn(x, positions):
        both = twice(angles(positions))
        return turn(x, jnp.cos(both), jnp.sin(both))

    check(fn, Spec(("T", SIZE)), Spec(("T",), np.int32), opsets=(23,), absent=["RotaryEmbedding"])

    def wide(x, positions):
        both = twice(angles(positions)).astype(np.float64)[:, :, None]
        return turn(x, jnp.cos(both), jnp.sin(both))

    x = Spec(("B", "T", 2, SIZE), np.float64)
    check(wide, x, INPUTS[1], opsets=(23,), absent=["RotaryEmbedding"])


def test_below_opset_23_nothing_is_made():
    program = check(of_angles(turn, twice), *INPUTS, args=RUNS, opsets=(18, 22), absent=["RotaryEmbedding"])
    assert count(program, "Neg") == 1


def test_gradient():
    def fn(x, positions):
        return jnp.sum(jnp.sin(gathered(turn, twice)(x, positions)) + of_angles(products, same)(x, positions) ** 2)

    check(jax.grad(fn), Spec((2, 3, 2, SIZE)), Spec((2, 3), np.int32), opsets=(18, 23))
