"""Programs that differ from a rotary embedding in one operand, axis or size."""

import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from jax import lax

import j2o_plugins_jax
from j2o_core.target import Target
from j2o_core.testing import Spec, check
from j2o_core.testing._legalized import rewrite_model

LENGTH, SIZE = 5, 8


def tables(length=LENGTH, size=SIZE):
    angles = np.outer(np.arange(1, length + 1), 10.0 ** -np.arange(size // 2)).astype(np.float32)
    return np.cos(angles), np.sin(angles)


COS, SIN = tables()
COS2, SIN2 = (np.tile(table, 2) for table in (COS, SIN))


def products(a, b, cos=COS, sin=SIN, axis=-1):
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis)


def rotate(x, cos=COS2, sin=SIN2):
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def swap(x):
    return jnp.swapaxes(x, -1, -2)


def with_turned_halves(x, turned):
    first, second = jnp.split(turned, 2, -1)
    cos, sin = tables(SIZE)
    return x * np.tile(cos, 2) + jnp.concatenate([-second, first], -1) * np.tile(sin, 2)


def one_half_transposed(x):
    (a, b), (cos, sin) = jnp.split(x, 2, -1), tables(4)
    return jnp.concatenate([swap(a * cos - b * sin), b * cos + a * sin], -1)


def neighbours_of_fewer_rows(x):
    a, b = (lax.slice(x, (0, 0, 1, place), x.shape, (1, 1, 1, 2)) for place in (0, 1))
    return products(a, b)


def in_thirds(x):
    cos, sin = (np.tile(table, 2) for table in tables(size=6))
    return x * cos + jnp.concatenate([-x[..., 4:], x[..., 2:4], x[..., :2]], -1) * sin


def of_merged_heads(x):
    """The halves of all heads behind each other, turned by tables that differ by head."""
    a, b = (part.swapaxes(1, 2).reshape(x.shape[0], LENGTH, SIZE) for part in jnp.split(x, 2, -1))
    return products(a, b, COS2 + np.arange(SIZE, dtype=np.float32), SIN2)


ROW = Spec(("B", 2, LENGTH, SIZE))
HEADS = Spec((2, LENGTH, LENGTH, SIZE))
NO_ROTATIONS = {
    "cosines whose halves differ": (lambda x: rotate(x, cos=COS2 * np.linspace(1, 2, SIZE, dtype=np.float32)), ROW),
    "two numbers": (lambda x: rotate(x, cos=np.float32(0.6), sin=np.float32(0.8)), ROW),
    "tables of one column": (lambda x: rotate(x, COS2[:, :1], SIN2[:, :1]), ROW),
    "tables of one column for each half": (
        lambda x: products(x[..., :4], x[..., 4:], COS[:, :1], SIN[:, :1]),
        ROW,
    ),
    "cosines by position, sines by head": (lambda x: rotate(x, COS2, SIN2[:, None]), HEADS),
    "cosines by position, sines by head, for each half": (
        lambda x: products(x[..., :4], x[..., 4:], COS, SIN[:, None]),
        HEADS,
    ),
    "halves of the transpose": (lambda x: with_turned_halves(x, swap(x)), Spec((2, 2, SIZE, SIZE))),
    "one half transposed": (one_half_transposed, Spec((2, 2, 4, SIZE))),
    "in thirds": (in_thirds, Spec(("B", 2, LENGTH, 6))),
    "the halves of all heads together": (of_merged_heads, ROW),
    "halves of less": (lambda x: products(x[..., :4], x[..., 4:8]), Spec(("B", 2, LENGTH, 9))),
    "parts that are no halves": (
        lambda x: products(x[..., :3], x[..., 4:7], *tables(size=6)),
        ROW,
    ),
    "parts of different sizes": (
        lambda x: x * COS2 + jnp.concatenate([-x[..., 4:7], x[..., :5]], -1) * SIN2,
        ROW,
    ),
    "parts that overlap": (lambda x: products(x[..., :4], x[..., 2:6]), ROW),
    "parts from the second number on": (lambda x: products(x[..., 1:5], x[..., 4:]), ROW),
    "neighbours of fewer rows": (neighbours_of_fewer_rows, Spec((2, 2, LENGTH + 1, SIZE))),
}


@pytest.mark.parametrize("name", NO_ROTATIONS)
def test_what_only_looks_like_a_rotation(name):
    fn, spec = NO_ROTATIONS[name]
    check(fn, spec, opsets=(18, 23), absent=["RotaryEmbedding"])


@pytest.mark.parametrize("fn", [lambda x: rotate(x), lambda x: products(x[..., :4], x[..., 4:])])
def test_the_last_two_axes_as_one_before(fn):
    """The axis that is cut in halves is made of two."""
    check(lambda x: fn(x.reshape(*x.shape[:-2], SIZE)), Spec(("B", 2, LENGTH, 2, 4)), opsets=(18, 23))


@pytest.mark.parametrize(
    "shape", [(2, 3, LENGTH, 2), (1, 3, LENGTH, 2), (1, 1, LENGTH, 2), (3, LENGTH, 2), ("B", 1, LENGTH, 2)]
)
def test_heads_of_two_numbers(shape):
    cos, sin = tables(size=2)
    for fn in (
        lambda x: products(x[..., :1], x[..., 1:], cos, sin),
        lambda x: rotate(x, np.tile(cos, 2), np.tile(sin, 2)),
        lambda x: jnp.stack(
            [x[..., 0] * cos[:, 0] - x[..., 1] * sin[:, 0], x[..., 1] * cos[:, 0] + x[..., 0] * sin[:, 0]], -1
        ),
    ):
        check(fn, Spec(shape), opsets=(18, 23))


def test_batch_and_heads_as_one_axis():
    def fn(x):
        a, b = (part.reshape(-1, LENGTH, 4) for part in jnp.split(x, 2, -1))
        return products(a, b)

    check(fn, Spec((2, 3, LENGTH, SIZE)), opsets=(23,), contains=["RotaryEmbedding"], absent=["Mul"])


# -- A part of each head -----------------------------------------------------------------------------------------------

WIDE = Spec(("B", 2, LENGTH, SIZE + 6))
SQUARE = Spec(("B", LENGTH, LENGTH, SIZE + 6))


def part(x):
    return rotate(x[..., :SIZE])


def rows_of_halves(x):
    """Both halves of the first numbers as heads."""
    cos, sin = (np.tile(table, 2) for table in tables(size=4))
    heads = x[..., :SIZE].reshape(*x.shape[:2], 2, 4).swapaxes(1, 2)
    turned = rotate(heads, cos, sin).swapaxes(1, 2).reshape(*x.shape[:2], SIZE)
    return jnp.concatenate([turned, x[..., SIZE:]], -1)


NO_PARTS = {
    "a third part": (lambda x, y: jnp.concatenate([part(x), x[..., SIZE:], y], -1), (WIDE, ROW)),
    "the rest of another": (lambda x, y: jnp.concatenate([part(x), y[..., SIZE:]], -1), (WIDE, WIDE)),
    "the first tokens": (
        lambda x: jnp.concatenate([rotate(x[:, :, :LENGTH]), x[:, :, LENGTH:]], 2),
        (Spec(("B", 2, LENGTH + 3, SIZE)),),
    ),
    "turned tokens behind the others": (
        lambda x: jnp.concatenate([part(x), x[..., SIZE:]], 2),
        (Spec(("B", 2, LENGTH, 2 * SIZE)),),
    ),
    "turned numbers in another order": (
        lambda x: jnp.concatenate(
            [swap(part(x).reshape(-1, 2, LENGTH, 2, 4)).reshape(-1, 2, LENGTH, SIZE), x[..., SIZE:]], -1
        ),
        (WIDE,),
    ),
    "a gap": (lambda x: jnp.concatenate([part(x), x[..., SIZE + 2 :]], -1), (WIDE,)),
    "not to the end": (lambda x: jnp.concatenate([part(x), x[..., SIZE:-2]], -1), (WIDE,)),
    "not from the beginning": (lambda x: jnp.concatenate([rotate(x[..., 2:10]), x[..., 10:]], -1), (WIDE,)),
    "the first part moved": (lambda x: jnp.concatenate([part(x).swapaxes(1, 2), x[..., SIZE:]], -1), (SQUARE,)),
    "both halves as heads": (rows_of_halves, (Spec(("B", LENGTH, SIZE + 6)),)),
}


@pytest.mark.parametrize("name", NO_PARTS)
def test_what_only_looks_like_a_part_of_each_head(name):
    fn, specs = NO_PARTS[name]
    program = check(fn, *specs, opsets=(23,), contains=["RotaryEmbedding", "Concat"])
    assert all("rotary_embedding_dim" not in node.attributes for node in program.model.graph)


def test_a_part_that_is_read_elsewhere_is_turned_once():
    def fn(x):
        turned = part(x)
        return jnp.concatenate([turned, x[..., SIZE:]], -1), turned

    program = check(fn, WIDE, opsets=(23,))
    assert [node.op_type for node in program.model.graph].count("RotaryEmbedding") == 1


def test_a_part_of_a_part():
    def fn(x):
        inner = x[..., :10]
        return jnp.concatenate([jnp.concatenate([part(inner), inner[..., SIZE:]], -1), x[..., 10:]], -1)

    program = check(fn, Spec((1, 2, LENGTH, SIZE + 6)), opsets=(23,))
    (node,) = program.model.graph
    assert node.attributes["rotary_embedding_dim"].value == SIZE


# -- Tables that are computed ------------------------------------------------------------------------------------------

RATES = (10.0 ** -np.arange(4)).astype(np.float32)
TOKENS, POSITIONS = Spec(("B", "T", 2, SIZE)), Spec(("B", "T"), np.int32)


def turn(x, angles):
    return rotate(x, jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None])


def test_columns_of_computed_tables_that_are_gathered():
    def fn(x, positions, columns):
        angles = jnp.take(positions[None, :, None] * np.tile(RATES, 2), columns, axis=-1, mode="clip")
        return rotate(x, jnp.cos(angles), jnp.sin(angles))

    rng = np.random.default_rng(0)
    x, positions = rng.standard_normal((2, 3, SIZE)).astype(np.float32), np.array([3, 0, 7], np.int32)
    check(fn, x, positions, rng.permutation(SIZE).astype(np.int32), opsets=(23,), absent=["RotaryEmbedding"])


def test_a_part_of_computed_tables():
    """From the second column on the pairs are others."""

    def fn(x, positions):
        angles = jnp.cos(positions[..., None] * np.concatenate([RATES, RATES, RATES * 3, RATES * 3]))
        return turn(x, lax.dynamic_slice_in_dim(angles, positions[0, 0] % 3 + 1, SIZE, 2)), angles

    check(fn, Spec(("B", 3, 2, SIZE)), Spec(("B", 3), np.int32), opsets=(23,), absent=["RotaryEmbedding"], sizes=(1, 2))


def test_a_part_of_all_heads_together_stays():
    """Of rank 3 the operator turns the numbers of each head, not those of the last axis."""
    text = """<ir_version: 10, opset_import: ["" : 23]>
    g (float[1,5,14] x, float[1,5,2] cos, float[1,5,2] sin) => (float[1,5,14] y)
    <int64[1] zero = {0}, int64[1] middle = {8}, int64[1] end = {14}, int64[1] axis = {2}> {
        first = Slice(x, zero, middle, axis)
        rest = Slice(x, middle, end, axis)
        turned = RotaryEmbedding <num_heads = 2> (first, cos, sin)
        y = Concat <axis = 2> (turned, rest)
    }"""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    rewrite_model(model, Target("onnxruntime", 23), j2o_plugins_jax.plugin)
    (node,) = (node for node in model.graph if node.op_type == "RotaryEmbedding")
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {"num_heads": 2}
