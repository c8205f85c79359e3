"""All rewrites together take time linear in the graph; `nox -s bench` says how much."""

import gc
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx

WEIGHTS = [np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32) for seed in range(5)]
ANGLES = np.outer(np.arange(5), 10.0 ** -np.arange(2)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)


def norm(x):
    d = x - jnp.mean(x, -1, keepdims=True)
    return d * jax.lax.rsqrt(jnp.mean(d * d, -1, keepdims=True) + 1e-5) * WEIGHTS[0][0] + WEIGHTS[0][1]


def turn(x):
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * COS - second * SIN, second * COS + first * SIN], -1)


def block(x):
    """Everything by hand: layer norms, attention with rotary embedding and a causal mask, GELU."""
    q, k, v = (jnp.swapaxes((norm(x) @ w).reshape(x.shape[0], 5, 4, 4), 1, 2) for w in WEIGHTS[:3])
    scores = jnp.where(np.tri(5, dtype=bool), turn(q) @ jnp.swapaxes(turn(k), -1, -2) / 2, -jnp.inf)
    weights = jnp.exp(scores - jnp.max(scores, -1, keepdims=True))
    mixed = weights / jnp.sum(weights, -1, keepdims=True) @ v
    x = x + jnp.swapaxes(mixed, 1, 2).reshape(x.shape) @ WEIGHTS[3]
    hidden = norm(x) @ WEIGHTS[4]
    return x + 0.5 * hidden * (1 + jax.lax.erf(hidden / np.float32(2**0.5))) @ WEIGHTS[3]


def measured(blocks, opset):
    """Equations of a program of so many blocks, nodes of its graph, and seconds of the processor for the rewrites."""

    def fn(x):
        for _ in range(blocks):
            x = block(x)
        return x

    times = {}
    gc.collect()  # not that of the tests before
    program = to_onnx(
        fn, [("B", 5, 16)], opset=opset, progress=lambda stage: times.setdefault(stage, time.process_time())
    )
    equations = len(program.lowered.jaxpr.jaxpr.eqns)
    return equations, len(program.model.graph), times["finish"] - times["rewrite"]


@pytest.mark.parametrize("opset", [21, 23])
def test_ten_thousand_nodes(opset):
    few, many = measured(30, opset), measured(120, opset)
    assert many[0] > 10_000
    assert many[1] < 120 * (15 if opset == 23 else 45)  # all of it is recognised
    assert many[2] < 8 * few[2]  # four times as many nodes
