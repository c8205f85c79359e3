import math

import jax
import numpy as np

import j2o_core
from j2o_examples_dino import DinoHead


def test_scores_and_export():
    head = DinoHead(32, 11, hidden=48, bottleneck=16, key=jax.random.key(0))
    tokens = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    x = tokens.astype(np.float64)
    for place, linear in enumerate(head.mlp):
        x = x @ np.asarray(linear.weight).T + np.asarray(linear.bias)
        if place < 2:
            x = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = x @ np.asarray(head.last_layer.weight).T
    np.testing.assert_allclose(jax.vmap(head)(tokens), expected, atol=1e-5)
    program = j2o_core.to_onnx(jax.vmap(head), [("B", 32)], opset=18)
    np.testing.assert_allclose(program(tokens), expected, atol=1e-5)
    np.testing.assert_array_equal(head(np.zeros(32, np.float32)).shape, (11,))
