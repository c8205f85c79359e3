"""Values as rearrangements of others, and rearranging them."""

import numpy as np
import pytest

import j2o_core
from j2o_core import Plugin
from j2o_core.rewrite._views import Part, _regrouped, joined, refined, whole


@pytest.fixture
def rewriter(plugin):
    """`rewriter(fn)`: the rewriter and result of the last Transpose or Reshape of an exported function."""

    def run(fn, spec, look):
        probe, found = Plugin("probe"), []

        @probe.rewrite("ReduceSum")
        def _look(rw, node):
            if not found:
                found.append(look(rw, node.inputs[0]))
            return None

        j2o_core.to_onnx(lambda x: fn(x).sum(), [spec], plugins=[plugin, probe])
        return found[0]

    return run


def test_an_axis_is_made_of_parts(rewriter):
    view = rewriter(
        lambda x: x.reshape(2, 3, 4, 5).transpose(0, 2, 1, 3).reshape(8, 15), (6, 20), lambda rw, value: rw.view(value)
    )
    assert view.root.name == "x"
    assert view.axes == (
        (Part(0, 3, 2), Part(1, 5, 4)),
        (Part(0, 1, 3), Part(1, 1, 5)),
    )


def test_parts_side_by_side_are_one():
    assert joined([Part(0, 6, 2), Part(0, 2, 3), Part(0, 1, 2), Part(1, 1, 2)]) == (Part(0, 1, 12), Part(1, 1, 2))
    assert joined([Part(0, 1, 2), Part(0, 2, 3)]) == (Part(0, 1, 2), Part(0, 2, 3))


def test_axes_are_cut_where_others_begin():
    assert refined(((Part(0, 1, 12),),), ((Part(0, 4, 3),), (Part(0, 1, 4),))) == [[Part(0, 4, 3), Part(0, 1, 4)]]
    assert whole((1, 2), 7) == ((), (Part(8, 1, 2),))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        pytest.param((6,), (6, 2), id="more elements"),
        pytest.param((6, 4), (4, 6), id="a fraction of the first part"),
        pytest.param((4, 3), (6, 2), id="a fraction of the second part"),
        pytest.param((2, 0), (0, 2), id="nothing of the first part"),
        pytest.param((2, 3), (2,), id="fewer elements"),
        pytest.param((2, 0, 3), (6, 0), id="nothing before what is left"),
    ],
)
def test_parts_that_are_no_axes_of_a_shape(sizes, shape):
    assert _regrouped([Part(axis, 1, size) for axis, size in enumerate(sizes)], shape) is None


def test_symbolic_axes_stay_whole(rewriter):
    def fn(x):
        return x.reshape(x.shape[0], 2, 3).transpose(1, 0, 2)

    view = rewriter(fn, ("B", 6), lambda rw, value: rw.view(value))
    assert [[(part.axis, part.stride) for part in axis] for axis in view.axes] == [[(1, 3)], [(0, 1)], [(1, 1)]]


def test_an_axis_that_is_cut_elsewhere_starts_a_view_of_its_own(rewriter):
    view = rewriter(lambda x: x.reshape(4, 9).transpose(1, 0), (6, 6), lambda rw, value: rw.view(value))
    assert view.axes == ((Part(1, 1, 9),), (Part(0, 1, 4),))
    assert view.root.producer().op_type == "Reshape"


def long_way(x):
    """Five changes of layout that are one."""
    y = x.reshape(2, 3, 4, 5).transpose(0, 2, 3, 1)
    y = y.reshape(8, 5, 3).transpose(0, 2, 1)
    return y.reshape(2, 4, 3, 5)


def test_a_chain_of_layouts_is_as_short_as_can_be(check):
    program = check(long_way, np.arange(120, dtype=np.float32).reshape(6, 20), opsets=[21])
    assert [node.op_type for node in program.model.graph] == ["Reshape", "Transpose"]


def test_a_chain_that_is_read_on_the_way_stays(check):
    def fn(x):
        y = x.reshape(2, 3, 4, 5).transpose(0, 2, 3, 1)
        z = y.reshape(8, 5, 3)
        return z.transpose(0, 2, 1).reshape(2, 4, 3, 5), z

    check(fn, np.arange(120, dtype=np.float32).reshape(6, 20), opsets=[21])


@pytest.mark.parametrize(
    ("shape", "axes", "target", "expand"),
    [
        ((2, 3, 4), ((Part(0, 1, 2),), (Part(1, 1, 3),), (Part(2, 1, 4),)), ((2,), (0, 1)), ()),
        ((2, 1, 4), ((Part(0, 1, 2),), (), (Part(2, 1, 4),)), ((2,), (0, 1)), ()),
        ((2, 1, 4), ((Part(0, 1, 2),), (), (Part(2, 1, 4),)), ((1,), (2,), (0,)), ()),
        ((2, 1, 4), ((Part(0, 1, 2),), (), (Part(2, 1, 4),)), ((1,), (2,), (0,)), (0,)),
    ],
    ids=["merged", "written out in an axis", "left one", "written out"],
)
def test_arranging(rewriter, shape, axes, target, expand):
    parts = {0: Part(0, 1, 2), 1: Part(1, 1, 3), 2: Part(2, 1, 4)}
    wanted = tuple(tuple(parts[index] for index in axis) for axis in target)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    def look(rw, value):
        return rw.constant(rw.arranged(rw.const(array), axes, wanted, expand=expand))

    result = rewriter(lambda x: x, (3,), look)
    full = np.broadcast_to(array, (2, 3, 4))
    order = [index for axis in target for index in axis]
    expected = full.transpose(order).reshape([np.prod([parts[i].size for i in axis]) for axis in target])
    if not expand and (1,) in target:
        expected = expected[:1]
    np.testing.assert_array_equal(result, expected)


def test_arranging_declines_parts_that_are_nowhere(rewriter):
    axes = ((Part(0, 1, 2),), (Part(1, 1, 3),))
    assert rewriter(lambda x: x, (3,), lambda rw, _: rw.arranged(rw.const(np.ones((2, 3))), axes, axes[:1])) is None


@pytest.mark.slow
def test_time_is_linear_in_a_chain_of_layouts_that_do_not_cancel(plugin):
    def chain(count):
        def fn(x):
            for _ in range(count):
                x = (x.reshape(4, 6).transpose(1, 0).reshape(2, 12) + 1).transpose(1, 0).reshape(6, 4)
            return x

        return fn

    program = j2o_core.to_onnx(chain(500), [(6, 4)], plugins=[plugin])  # an error, if rules undid each other
    assert len(program.model.graph) <= 2501
