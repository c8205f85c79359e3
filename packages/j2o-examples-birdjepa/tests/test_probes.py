"""Metrics, the asymmetric loss, and probes on frozen embeddings."""

import jax.numpy as jnp
import numpy as np
import pytest

from j2o_examples_birdjepa import ConfigError, asymmetric_loss, cmap, fit_probe, top1
from j2o_examples_birdjepa._benchmark import choose, scores
from j2o_examples_birdjepa._metrics import average_precision
from j2o_examples_birdjepa._probes import CentroidProbe


def test_average_precision():
    np.testing.assert_allclose(
        average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 0.8333, atol=1e-4
    )


def test_equal_scores_are_one_step():
    target = np.array([1, 0, 0, 1])
    np.testing.assert_allclose(average_precision(target, np.zeros(4)), 0.5)
    np.testing.assert_allclose(average_precision(target[::-1], np.zeros(4)), 0.5)


def test_cmap_leaves_out_classes_without_a_positive():
    target = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]])
    values = np.array([[0.1, 0.9, 1], [0.4, 0.1, 1], [0.35, 0.2, 1], [0.8, 0.8, 1]])
    np.testing.assert_allclose(cmap(target, values), (0.83333 + 1) / 2, atol=1e-4)
    with pytest.raises(ConfigError, match="no class has a positive sample"):
        cmap(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="differ in shape"):
        cmap(np.zeros((2, 2)), np.zeros((2, 3)))


def test_top1():
    assert top1(np.array([[0, 1], [1, 0], [0, 1]]), np.array([1, 0, 0])) == 2 / 3


def test_asymmetric_loss():
    logits, target = np.array([[2.0, -1.0], [0.5, -8.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    p = 1 / (1 + np.exp(-logits))
    expected = 0
    for probability, label in zip(p.ravel(), target.ravel(), strict=True):
        if label:
            expected -= (1 - probability) * np.log(probability)
        else:
            shifted = min(1 - probability + 0.05, 1)
            expected -= (1 - shifted) ** 4 * np.log(shifted)
    np.testing.assert_allclose(asymmetric_loss(jnp.asarray(logits), jnp.asarray(target)), expected / 4, rtol=1e-5)
    assert asymmetric_loss(jnp.asarray([[-4.0]]), jnp.asarray([[0.0]])) == 0  # within the margin


def clusters(n_classes=4, dim=12, samples=40):
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((n_classes, dim))
    labels = np.repeat(np.arange(n_classes), samples)
    return (centres[labels] + rng.standard_normal((len(labels), dim))).astype(np.float32), np.eye(n_classes)[labels]


@pytest.mark.parametrize("kind", ["linear", "mlp", "centroid"])
def test_probes_find_clusters(kind):
    embeddings, target = clusters()
    few = choose(target, 20)
    probe = fit_probe(kind, embeddings[few], target[few], epochs=200)
    found = scores(probe, embeddings)
    assert found.shape == target.shape
    assert cmap(target, found) > 0.9
    np.testing.assert_array_equal(found, scores(fit_probe(kind, embeddings[few], target[few], epochs=200), embeddings))


def test_centroids():
    probe = CentroidProbe(jnp.asarray([[1.0, 0], [3, 0], [0, 2]]), jnp.asarray([[1, 0, 0], [1, 1, 0], [0, 1, 0]]))
    np.testing.assert_allclose(probe.centroids, [[2, 0], [1.5, 1], [0, 0]])
    np.testing.assert_allclose(probe(jnp.asarray([5.0, 0])), [10, 10 * 1.5 / np.hypot(1.5, 1), 0], rtol=1e-6)


def test_a_few_samples_a_class():
    _, target = clusters()
    assert len(choose(target, -1)) == 160
    few = choose(target, 5)
    np.testing.assert_array_equal(target[few].sum(axis=0), 5)
    np.testing.assert_array_equal(few, choose(target, 5))
    np.testing.assert_array_equal(choose(target, 1000), np.arange(160))


def test_misuse_is_an_error():
    embeddings, target = clusters()
    with pytest.raises(ConfigError, match="must be 'linear', 'mlp' or 'centroid', not 'tree'"):
        fit_probe("tree", embeddings, target)
    with pytest.raises(ConfigError, match=r"must be \[samples, dim\]"):
        fit_probe("linear", embeddings[:-1], target)
    with pytest.raises(ConfigError, match=r"must be \[samples, n_classes\]"):
        CentroidProbe(jnp.zeros((2, 3)), jnp.zeros(2))
