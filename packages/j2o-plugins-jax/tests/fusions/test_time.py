"""All rewrites together are linear in the graph; `nox -s bench` says what time they take."""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core import to_onnx

WEIGHTS = [np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32) for seed in range(5)]
TOKENS = 9  # products of fewer would be sums of tiny matrices
ANGLES = np.outer(np.arange(TOKENS), 10.0 ** -np.arange(2)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)


def norm(x):
    d = x - jnp.mean(x, -1, keepdims=True)
    return d * jax.lax.rsqrt(jnp.mean(d * d, -1, keepdims=True) + 1e-5) * WEIGHTS[0][0] + WEIGHTS[0][1]


def turn(x):
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * COS - second * SIN, second * COS + first * SIN], -1)


def block(x):
    """Everything by hand: layer norms, attention with rotary embedding and a causal mask, GELU."""
    q, k, v = (jnp.swapaxes((norm(x) @ w).reshape(x.shape[0], TOKENS, 4, 4), 1, 2) for w in WEIGHTS[:3])
    scores = jnp.where(np.tri(TOKENS, dtype=bool), turn(q) @ jnp.swapaxes(turn(k), -1, -2) / 2, -jnp.inf)
    weights = jnp.exp(scores - jnp.max(scores, -1, keepdims=True))
    mixed = weights / jnp.sum(weights, -1, keepdims=True) @ v
    x = x + jnp.swapaxes(mixed, 1, 2).reshape(x.shape) @ WEIGHTS[3]
    hidden = norm(x) @ WEIGHTS[4]
    return x + 0.5 * hidden * (1 + jax.lax.erf(hidden / np.float32(2**0.5))) @ WEIGHTS[3]


def exported(blocks, opset, progress):
    """A program of so many blocks."""

    def fn(x):
        for _ in range(blocks):
            x = block(x)
        return x

    return to_onnx(fn, [("B", TOKENS, 16)], opset=opset, progress=progress)


def measured(blocks, opset):
    """Equations of the program and seconds of the processor for its rewrites."""
    times = {}
    program = exported(blocks, opset, lambda stage: times.setdefault(stage, time.process_time()))
    return len(program.lowered.jaxpr.jaxpr.eqns), times["finish"] - times["rewrite"]


def counted(blocks, opset):
    """The program and how many Python functions its rewrites called."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    program = exported(blocks, opset, lambda stage: sys.setprofile(count if stage == "rewrite" else None))
    return program, calls


@pytest.mark.slow
@pytest.mark.parametrize("opset", [21, 23])
def test_work_is_linear_in_the_graph(opset):
    (_, few), (program, many) = counted(10, opset), counted(40, opset)
    assert len(program.model.graph) < 40 * (15 if opset == 23 else 45)  # all of it is recognised
    assert many < 4.2 * few
