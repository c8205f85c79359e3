import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import SpecError

X = np.ones((2, 3), np.float32)


def test_every_name_in_a_model_is_its_own(check):
    weight = {"x": jnp.arange(3.0), "output": jnp.arange(3.0) + 1}

    def fn(x, flag):
        y = jax.lax.cond(flag, lambda: jnp.sin(x) * weight["x"], lambda: x)
        return {"output": y + weight["output"], "x": y, "Sin_0": jnp.sin(y)}

    program = check(fn, X, np.asarray(True), opsets=[21])
    names = []
    graphs = [program.model.graph]
    for graph in graphs:
        names += [value.name for value in (*graph.inputs, *graph.initializers.values())]
        names += [value.name for node in graph for value in node.outputs]
        graphs += [
            attr.as_graph() for node in graph for attr in node.attributes.values() if attr.name.endswith("branch")
        ]
    assert len(graphs) == 3
    assert len(names) == len(set(names))
    nodes = [node.name for graph in graphs for node in graph]
    assert len(nodes) == len(set(nodes))


def test_nodes_are_named_after_the_module_of_their_weight(export):
    model = {"blocks": [{"scale": jnp.arange(3.0)}, {"scale": jnp.arange(3.0) + 1}]}

    def fn(x):
        for block in model["blocks"]:
            x = x * block["scale"] + 1
        return x

    nodes = list(export(fn, [(2, 3)]).model.graph)
    assert [node.name for node in nodes] == ["blocks.0/Mul_0", "Add_0", "blocks.1/Mul_0", "Add_1"]
    assert nodes[0].metadata_props["j2o.module"] == "blocks.0"


def test_the_model_says_who_made_it(export):
    model = export(jnp.sin, [(3,)]).model
    assert model.producer_name == "j2o"
    assert model.producer_version


def test_the_same_export_gives_the_same_model(export):
    weight = jnp.arange(3.0)

    def fn(x):
        return jnp.sin(x * weight) + jnp.cos(x)

    def content():
        import onnx_ir as ir

        return ir.serde.serialize_model(export(fn, [("B", 3)]).model).SerializeToString(deterministic=True)

    assert content() == content()


def test_what_nobody_reads_is_not_in_the_model(plugin, export):
    @plugin.lowering("cumsum")
    def _cumsum(ctx, x, *, axis, reverse):
        ctx.op.Sin(x)
        ctx.op.Mul(x, ctx.const(np.arange(3.0), np.float32))
        return ctx.op.CumSum(x, ctx.const(axis, np.int64), reverse=int(reverse))

    model = export(jnp.cumsum, [(3,)]).model
    assert [node.op_type for node in model.graph] == ["CumSum"]
    assert len(model.graph.initializers) == 1


@pytest.mark.parametrize(("dtype", "inside"), [(np.float32, ["Mul"]), (np.float16, ["Cos", "Sin", "Mul"])])
def test_work_that_all_calls_share_is_done_once(export, dtype, inside):
    """But not in float16: a chain of it is rounded at its end."""

    @jax.jit
    def scaled(x, weight):
        return x * jnp.sin(jnp.cos(weight))

    x = X.astype(dtype)
    program = export(lambda x, w: scaled(x, w) + scaled(-x, w), [x, x], functions=[scaled])
    (function,) = program.model.functions.values()
    assert [node.op_type for node in function] == inside
    assert len(function.inputs) == 2
    np.testing.assert_array_equal(program(x, x), np.zeros_like(x))


@pytest.mark.parametrize(("size", "inputs"), [(3, 1), (1000, 2)])
def test_large_constants_of_functions_are_inputs(export, size, inputs):
    constant = np.arange(size, dtype=np.float32)

    @jax.jit
    def scaled(x):
        return x * constant

    program = export(lambda x: scaled(x) + scaled(-x), [(size,)], functions=[scaled])
    (function,) = program.model.functions.values()
    assert len(function.inputs) == inputs


def test_nodes_may_say_nothing_of_their_source(export):
    (node,) = export(jnp.sin, [(3,)], metadata="none").model.graph
    assert not {"j2o.source", "j2o.module"} & node.metadata_props.keys()


class Model:
    def __init__(self, **weights):
        vars(self).update(weights)

    def __call__(self, x):
        return x * self.used + self.rows


jax.tree_util.register_pytree_with_keys(
    Model,
    lambda model: ([(jax.tree_util.GetAttrKey(name), leaf) for name, leaf in vars(model).items()], tuple(vars(model))),
    lambda names, leaves: Model(**dict(zip(names, leaves, strict=True))),
)


@pytest.mark.parametrize("rows", [jnp.arange(3, dtype=jnp.float32) > 0, np.arange(3)], ids=["JAX", "NumPy"])
def test_a_model_says_which_leaves_it_has_no_initializers_of(export, rows):
    used = jnp.arange(3.0)
    model = Model(used=used, same=used, unused=jnp.ones(2), rows=rows)
    leaves = json.loads(export(model, [(3,)], weights="keep").model.metadata_props["j2o.leaves"])
    assert (leaves["unused"], leaves["tied"], list(leaves["fixed"])) == (["unused"], {"same": "used"}, ["rows"])


def test_a_leaf_of_64_bits_that_jax_narrows_is_not_replaced(export):
    """JAX computes with a copy of it."""
    program = export(Model(used=jnp.arange(3.0), rows=np.arange(3)), [(3,)], weights="keep")
    with pytest.raises(SpecError, match="rows has another value than at export"):
        program.with_weights(Model(used=jnp.ones(3), rows=np.arange(3) + 5))
    changed = program.with_weights(Model(used=jnp.ones(3), rows=np.arange(3)))
    np.testing.assert_array_equal(changed(np.ones(3, np.float32)), [1, 2, 3])
