"""A rule gets the parameters that it reads; what it neither reads nor ignores stops the export."""

import functools

import jax
import numpy as np
import pytest
from jax.extend.core import Primitive

from j2o_core import LoweringError, Plugin

scaled_p = Primitive("scaled")
scaled_p.def_impl(lambda x, **params: x)
scaled_p.def_abstract_eval(lambda x, **params: x)


def scaled(x, **params):
    return scaled_p.bind(x, **params)


def product(ctx, x, *, scale):
    return ctx.op.Mul(x, ctx.const(scale, x))


def nodes(program):
    return [node.op_type for node in program.model.graph]


def test_a_rule_gets_what_it_reads(plugin, export):
    plugin.lowering(scaled_p, ignores=("sharding", "precision"))(product)
    assert nodes(export(lambda x: scaled(x, scale=2, sharding=None, precision="high"), [(3,)])) == ["Mul"]


def test_what_it_does_not_know_is_named_with_the_line_and_the_version(plugin, export):
    plugin.lowering(scaled_p, ignores=("sharding",))(product)
    with pytest.raises(LoweringError) as caught:
        export(lambda x: scaled(x, scale=2, sharding=None, transposed=True), [(3,)])
    said = str(caught.value)
    assert "plugin 'fake' for scaled does not know the parameter transposed = True" in said
    assert f"of JAX {jax.__version__}" in said
    assert "reads ctx, scale, x and ignores sharding" in said
    assert "test_parameters.py" in said


def test_a_parameter_that_is_none_is_one_too(plugin, export):
    plugin.lowering(scaled_p)(product)
    with pytest.raises(LoweringError, match="axis = None"):
        export(lambda x: scaled(x, scale=2, axis=None), [(3,)])


def test_a_rule_that_takes_all_gets_all(plugin, export):
    seen = {}

    @plugin.lowering(scaled_p)
    def _all(ctx, x, **params):
        seen.update(params)
        return x

    export(lambda x: scaled(x, scale=2, other=3), [(3,)])
    assert seen == {"scale": 2, "other": 3}


def test_keywords_that_a_partial_gives_are_no_parameters(plugin, export):
    plugin.lowering(scaled_p, ignores=("scale",))(functools.partial(lambda ctx, x, *, op: ctx.op(op, x), op="Sin"))
    assert nodes(export(lambda x: scaled(x, scale=2), [(3,)])) == ["Sin"]


def test_decompositions_likewise(plugin, export):
    plugin.decomposition(scaled_p, ignores=("sharding",))(lambda x, *, scale: x * np.float32(scale))
    assert nodes(export(lambda x: scaled(x, scale=2, sharding=None), [(3,)])) == ["Mul"]
    with pytest.raises(LoweringError, match=r"parameter axis = 0(.|\n)*test_parameters\.py"):
        export(lambda x: scaled(x, scale=2, axis=0), [(3,)])


def test_a_composite_with_a_keyword_that_its_rule_does_not_know_is_its_body():
    plugin = Plugin("waves")
    plugin.lowering(plugin.composite("somelib.waves"), ignores=("name",))(lambda ctx, x, *, times=1: times)
    (rule,) = (lowering.rule for rules in plugin.lowerings.values() for lowering in rules)
    assert rule(None, 0, times=2, name="n") == 2
    assert rule(None, 0, phase=1.0) is NotImplemented
