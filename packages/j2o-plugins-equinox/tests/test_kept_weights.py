"""Layers whose weights are kept: equal graphs for all values, and the bytes of a new export after a replacement."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx


class Recurrent(eqx.Module):
    cell: eqx.nn.GRUCell

    def __init__(self, key):
        self.cell = eqx.nn.GRUCell(3, 4, key=key)

    def __call__(self, xs):
        return jax.lax.scan(lambda h, x: (self.cell(x, h),) * 2, jnp.zeros(4), xs)[1]


class Normed(eqx.Module):
    """A batch norm in inference mode behind a convolution, whose statistics are weights as well."""

    conv: eqx.nn.Conv2d
    mean: jax.Array
    variance: jax.Array

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(2, 4, 3, key=one)
        self.mean, self.variance = jax.random.uniform(two, (2, 4))

    def __call__(self, x):
        y = self.conv(x)
        return (y - self.mean[:, None, None]) * jax.lax.rsqrt(self.variance + 1e-5)[:, None, None]


CASES = {
    "mlp": (lambda key: jax.vmap(eqx.nn.MLP(3, 2, 8, 2, key=key)), ("B", 3)),
    "scan": (Recurrent, ("T", 3)),
    "norm": (Normed, (2, 8, 8)),
    "attention": (
        lambda key: (lambda m: lambda x: m(x, x, x))(eqx.nn.MultiheadAttention(2, 8, key=key)),
        ("T", 8),
    ),
    "embedding": (lambda key: (lambda e: lambda x: e(jnp.int32(2)) + x)(eqx.nn.Embedding(5, 3, key=key)), (3,)),
}


@pytest.mark.parametrize("opset", [21, 23])
@pytest.mark.parametrize("case", CASES)
def test_new_weights_are_a_new_export(case, opset, tmp_path):
    make, spec = CASES[case]

    def exported(seed):
        fn = make(jax.random.key(seed))
        return fn, to_onnx(fn, [spec], opset=opset, weights="keep")

    def content(program):
        return [Path(file).read_bytes() for file in program.save(tmp_path / "model.onnx")]

    (_, old), (fn, new) = exported(0), exported(1)
    new.verify()
    leaves = _leaves(fn)
    replaced = old.with_weights(leaves)
    assert content(replaced) == content(new)
    assert content(old) != content(new)
    records = (value.const_value.metadata_props.get("j2o.weight") for value in new.model.graph.initializers.values())
    held = {json.loads(record)["leaf"] for record in records if record is not None}  # some in several parts
    assert len(held) == len(leaves)


def _leaves(fn):
    """The arrays of a module, or of the module that a function closes over or maps."""
    inner = getattr(fn, "__wrapped__", fn)
    cells = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or ()]
    model = inner if isinstance(inner, eqx.Module) else next(c for c in cells if isinstance(c, eqx.Module))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    }
