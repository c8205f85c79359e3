"""Softmax, and what only looks like it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("shape", [(3, 4, 5), ("B", 4, 5)])
def test_jax_softmax_is_one_operator(axis, shape):
    check(lambda x: jax.nn.softmax(x, axis), Spec(shape), contains=["Softmax"], absent=["Exp", "Div"])


def test_softmax_written_by_hand():
    def softmax(x):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    check(softmax, Spec(("B", 7)), contains=["Softmax"], absent=["Exp"])


INVERSES = {"quotient": lambda s: 1 / s, "reciprocal": jnp.reciprocal}


@pytest.mark.parametrize("inverse", INVERSES)
@pytest.mark.parametrize("axis", [-1, 0])
def test_times_the_inverse_of_the_sum(inverse, axis):
    def softmax(x):
        e = jnp.exp(x - x.max(axis, keepdims=True))
        return INVERSES[inverse](e.sum(axis, keepdims=True)) * e

    check(softmax, Spec(("B", 3, 7)), contains=["Softmax"], absent=["Exp"], opsets=(18, 23))
    rows = [[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0], [np.nan, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [-100, 0, 3]]
    check(softmax, np.array(rows, np.float32), contains=["Softmax"], opsets=(18,))


@pytest.mark.parametrize(
    "other",
    [
        lambda x, e: e * (2 / e.sum(-1, keepdims=True)),
        lambda x, e: e * (1 / e.sum(0, keepdims=True)),
        lambda x, e: e * (1 / jnp.exp(x).sum(-1, keepdims=True)),
        lambda x, e: e * e.sum(-1, keepdims=True),
        lambda x, e: e[None] * (1 / e.sum(-1, keepdims=True))[:, None],
    ],
    ids=["two", "another axis", "another sum", "no inverse", "larger"],
)
def test_declines_products_that_are_no_softmax(other):
    def fn(x):
        return other(x, jnp.exp(x - x.max(-1, keepdims=True)))

    check(fn, Spec((4, 4)), absent=["Softmax"], opsets=(21,))


def test_large_and_infinite_scores():
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0]], np.float32)
    check(jax.nn.softmax, x, contains=["Softmax"])


def test_declines_two_axes():
    check(lambda x: jax.nn.softmax(x, (1, 2)), Spec((2, 3, 4)), absent=["Softmax"])


def test_declines_when_something_else_than_the_maximum_is_taken_off():
    def not_softmax(x):
        e = jnp.exp(x - x.min(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    check(not_softmax, Spec((2, 5)), absent=["Softmax"])


def test_declines_when_the_sum_is_of_another_value():
    def not_softmax(x, y):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / y.sum(-1, keepdims=True)

    check(not_softmax, Spec((2, 5)), Spec((2, 5)), absent=["Softmax"], rtol=1e-3)  # a sum of normals is near zero


def test_half_precision_is_summed_in_single():
    check(jax.nn.softmax, Spec((3, 5), np.float16), contains=["Softmax"], absent=["Exp"])


def test_axes_of_size_one_come_and_go():
    def softmax(x):
        e = jnp.exp(x[:, None] - x.max(-1).reshape(3, 1, 1))
        return e / e.sum(-1, keepdims=True)

    check(softmax, Spec((3, 5)), contains=["Softmax"], absent=["Exp"])


def test_axes_may_move_between():
    def softmax(x):
        m = jnp.transpose(x.max(2), (2, 0, 1))[..., None]
        e = jnp.exp(jnp.transpose(x, (3, 0, 1, 2)) - m)
        return e / e.sum(-1, keepdims=True)

    check(softmax, Spec((2, 3, 4, 5)), contains=["Softmax"], absent=["Exp"])


def test_declines_the_maximum_of_another_axis_of_equal_size():
    def not_softmax(x):
        e = jnp.exp(x - x.max(1)[..., None])
        return e / e.sum(-1, keepdims=True)

    check(not_softmax, Spec((2, 4, 4)), absent=["Softmax"])


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("shape", [(3, 4), ("B", 4)])
def test_log_softmax(shape, axis):
    check(lambda x: jax.nn.log_softmax(x, axis), Spec(shape), contains=["LogSoftmax"], absent=["Exp", "Log"])


def test_log_softmax_of_extremes():
    x = [[1.0, 2, -np.inf, 3], [np.inf, 1, 2, 3], [-np.inf] * 4, [np.nan, 1, 2, 3], [1e30, -1e30, 0, 1]]
    check(jax.nn.log_softmax, np.array(x, np.float32), contains=["LogSoftmax"])


def test_weights_by_logsumexp_are_a_softmax():
    def fn(x, v):
        return jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True)) @ v

    check(fn, Spec(("B", 4, 5)), Spec((5, 3)), contains=["Softmax"], absent=["Exp", "Log"])


def test_declines_logsumexp_where_infinity_would_spread():
    x = np.array([[1, np.inf, 2], [0, 1, 2]], np.float32)
    check(lambda x: x - jax.nn.logsumexp(x, -1, keepdims=True), x, absent=["LogSoftmax"])
    check(lambda x: jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True)), x, absent=["LogSoftmax", "Softmax"])


def guarded(x, axis=-1):
    m = x.max(axis, keepdims=True)
    return x - jnp.where(jnp.isfinite(m), m, 0)


GUARDED = {
    "softmax": lambda x: jnp.exp(guarded(x)) / jnp.exp(guarded(x)).sum(-1, keepdims=True),
    "log_softmax": lambda x: guarded(x) - jnp.log(jnp.exp(guarded(x)).sum(-1, keepdims=True)),
}


@pytest.mark.parametrize("spelling", GUARDED)
def test_declines_a_guarded_maximum_where_infinity_would_spread(spelling):
    fn, exp = GUARDED[spelling], jnp.exp if spelling == "log_softmax" else lambda x: x
    x = np.array([[1, np.inf, 2], [0, 1, 2], [-np.inf] * 3, [1, np.nan, 0]], np.float32)
    v = np.array([[1, 2, 3, -1], [0, 1, 2, 0]], np.float32)
    check(fn, x, absent=["LogSoftmax", "Softmax"])
    check(lambda x: v[:, :3] @ exp(fn(x[:3])), x, absent=["Softmax"])
    check(lambda x: exp(fn(x)) @ v.T[:3], x, contains=["Softmax"])
    check(lambda x: v[:, :3] @ exp(fn(x)).T, x, opsets=(21,))


def test_divided_behind_a_product():
    def fn(x, v):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return (e @ v) / e.sum(-1, keepdims=True)

    check(fn, Spec(("B", 4, 5)), Spec((5, 3)), contains=["Softmax"], absent=["Exp"])

    def along_the_queries(x, v):
        e = jnp.exp(x - x.max(0, keepdims=True))
        return (e @ v) / e.sum(0, keepdims=True)[:, :3]

    check(along_the_queries, Spec((5, 5)), Spec((5, 3)), absent=["Softmax"])


def weighted(scores, values, axis, divided, sum_axis=None):
    """Values by weights that are divided behind; `divided` makes of the sums what fits the result."""

    def fn(x, v):
        e = jnp.exp(x - x.max(axis, keepdims=True))
        return jnp.einsum(f"{scores},{values}", e, v) / divided(e.sum(axis if sum_axis is None else sum_axis))

    return fn


MOVED = {
    "keys last": (weighted("bhqk", "bkhd->bqhd", -1, lambda s: jnp.moveaxis(s, -1, 1)[..., None]), (4, 5, 6)),
    "keys before queries": (weighted("bhkq", "bkhd->bhqd", 2, lambda s: s[..., None]), (4, 6, 5)),
    "keys in front": (weighted("bkhq", "bkhd->bqhd", 1, lambda s: jnp.swapaxes(s, 1, 2)[..., None]), (6, 4, 5)),
    "size first": (weighted("bhqk", "bkhd->dbhq", -1, lambda s: s[None]), (4, 5, 6)),
}


@pytest.mark.parametrize("name", MOVED)
def test_divided_behind_a_product_that_moves_axes(name):
    fn, scores = MOVED[name]
    for batch in (2, "B"):
        specs = [Spec((batch, *scores)), Spec((batch, 6, 4, 3))]
        check(fn, *specs, contains=["Softmax"], absent=["Exp", "Div"], opsets=(18, 23), sizes=(1, 3))
    x, v = (
        np.linspace(-3, 2, 2 * np.prod(shape), dtype=np.float32).reshape(2, *shape) for shape in (scores, (6, 4, 3))
    )
    for number in (np.nan, np.inf, -np.inf):
        x[0, 1, 1, 1] = number
        check(fn, x, v, contains=["Softmax"], opsets=(23,))
    x[1] = -np.inf
    check(fn, x, v, contains=["Softmax"], opsets=(23,))
    check(fn, np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32), opsets=(23,))


def test_divided_behind_the_products_of_groups():
    """As in MaxText."""

    def fn(q, k, v):
        b, t, n, d = q.shape
        scores = jnp.einsum("btkgd,bskd->bkgts", q.reshape(b, t, k.shape[2], -1, d), k)
        scores = jnp.where(jnp.arange(t)[:, None] >= jnp.arange(t), scores, -2.38e38)
        e = jnp.exp(scores - scores.max(-1, keepdims=True))
        sums = jnp.moveaxis(e.sum(-1), -1, 1)[..., None]
        return (jnp.einsum("bkgts,bskd->btkgd", e, v) / sums).reshape(b, t, n, d)

    for batch in (2, "B"):
        specs = [Spec((batch, 5, 4, 6)), *[Spec((batch, 5, 2, 6))] * 2]
        check(fn, *specs, contains=["Attention"], absent=["Softmax", "Exp", "Where"], opsets=(23,), sizes=(1, 3))
        check(fn, *specs, contains=["Softmax"], absent=["Exp"], opsets=(21,), sizes=(1, 3))


@pytest.mark.parametrize(
    "other",
    [
        weighted("bhqk", "bkhd->bqhd", -1, lambda s: s[..., None]),
        weighted("bhqk", "bkhd->bqhd", -1, lambda s: jnp.moveaxis(s, -1, 1)[:, ::-1, :, None]),
        weighted("bhqk", "bkhd->bqhd", -1, lambda s: s[:, None]),
        weighted("bhqk", "bkhd->bqhd", -1, lambda s: jnp.moveaxis(s, -1, 1)[..., None], 2),
        weighted("bhqk", "bqhd->bkhd", -1, lambda s: jnp.moveaxis(s, -1, 1)[..., None]),
        weighted("bhqk", "bkhd->bqhd", 2, lambda s: jnp.moveaxis(s, -1, 1)[..., None], -1),
        weighted("bhqk", "bkhd->bqhd", -1, lambda s: jnp.moveaxis(s, 0, 1)[..., None]),
    ],
    ids=["not moved", "reversed", "another axis", "another sum", "queries", "another maximum", "batches of heads"],
)
def test_declines_sums_that_are_moved_elsewhere(other):
    check(other, Spec((4, 4, 4, 4)), Spec((4, 4, 4, 4)), absent=["Softmax"], opsets=(23,))


def test_declines_what_is_read_before_it_is_divided():
    def fn(x, v):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        y = jnp.swapaxes(e @ v, 0, 1)
        return y / jnp.swapaxes(e.sum(-1, keepdims=True), 0, 1), y + 1

    check(fn, Spec((3, 4, 5)), Spec((3, 5, 2)), absent=["Softmax"], opsets=(23,))


@pytest.mark.parametrize("axis", [-1, 0])
def test_a_softmax_over_some_numbers(axis):
    kept = np.array([[True, False, True, True], [True, True, True, False], [True] * 4])
    rows = [[1, np.nan, 2, -np.inf], [np.inf, 0, 1, np.nan], [np.nan, 1, -np.inf, np.inf]]
    for x in (np.array(rows, np.float32), np.full((3, 4), -np.inf, np.float32)):
        fn = lambda x, kept: jax.nn.softmax(x, axis, where=kept)  # noqa: E731
        check(fn, x, kept, contains=["Softmax"], absent=["Exp"], opsets=(18, 23))
        check(fn, x, np.zeros((3, 4), bool), contains=["Softmax"], opsets=(18,))
        check(fn, x, kept & False | kept[:, :1], contains=["Softmax"], opsets=(23,))


def test_declines_a_sum_of_other_numbers():
    kept, others = np.tri(4, dtype=bool), np.tri(4, dtype=bool)[::-1]

    def fn(x):
        masked = jnp.where(kept, x, -jnp.inf)
        e = jnp.exp(masked - jnp.max(masked, -1, keepdims=True))
        return e / jnp.sum(jnp.where(others, e, 0), -1, keepdims=True)

    check(fn, Spec((4, 4)), absent=["Softmax"])


# -- The maximum taken off before --------------------------------------------------------------------------------------

EXTREMES = [[1e4, -1e4, 0.0], [-np.inf, 0, 1], [np.nan, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [-3e38, 3e38, 0]]


@pytest.mark.parametrize("softmax", [jax.nn.softmax, jax.nn.log_softmax])
@pytest.mark.parametrize("shift", [lambda x, axis: x - jax.lax.stop_gradient(x.max(axis, keepdims=True)), guarded])
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_maximum_taken_off_before_is_taken_off_anyway(softmax, shift, axis):
    def fn(x):
        return softmax(shift(x, axis), axis)

    absent = ["Sub", "ReduceMax", "Where"]
    check(fn, Spec(("B", 4, 3)), absent=absent, opsets=(18, 23), sizes=(1, 3))
    check(fn, Spec((1, 1)), absent=["Sub"], opsets=(23,))
    x = np.array(EXTREMES, np.float32)
    check(fn, x.T if axis == 0 else x, absent=absent, opsets=(18, 23))


@pytest.mark.parametrize(
    "shift",
    [
        lambda x: x - x.min(-1, keepdims=True),
        lambda x: x - x.max(0, keepdims=True),
        lambda x: x - x.max(),
        lambda x: x - x[::-1].max(-1, keepdims=True),
        lambda x: x + x.max(-1, keepdims=True),
        lambda x: x.max(-1, keepdims=True) - x,
        lambda x: x - jnp.maximum(x.max(-1, keepdims=True), 0),
    ],
    ids=["minimum", "another axis", "of all", "reversed", "plus", "the other way", "at least zero"],
)
def test_declines_to_drop_what_is_not_the_maximum(shift):
    check(lambda x: jax.nn.softmax(shift(x), -1), Spec((4, 4)), contains=["Softmax"], opsets=(23,))
    program = check(lambda x: jax.nn.softmax(shift(x), -1), np.array(EXTREMES, np.float32), opsets=(23,))
    assert {node.op_type for node in program.model.graph} & {"Sub", "Add"}
