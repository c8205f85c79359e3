"""Algorithms as people write them with JAX alone: filters, clustering, detection, graphs, integration."""

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from jax import lax
from jax.experimental.ode import odeint

from j2o_core.testing import Spec, check


def test_kalman_filter() -> None:
    transition = jnp.array([[1.0, 0.1], [0.0, 1.0]])
    observation = jnp.array([[1.0, 0.0]])

    def smooth(measurements: jax.Array) -> tuple[jax.Array, jax.Array]:
        def turn(state: tuple[jax.Array, jax.Array], z: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            mean, covariance = state
            mean = transition @ mean
            covariance = transition @ covariance @ transition.T + 0.01 * jnp.eye(2)
            innovation = observation @ covariance @ observation.T + 0.5 * jnp.eye(1)
            gain = jnp.linalg.solve(innovation, observation @ covariance).T
            mean = mean + gain @ (z - observation @ mean)
            return (mean, covariance - gain @ innovation @ gain.T), mean

        (_, covariance), means = lax.scan(turn, (jnp.zeros(2), jnp.eye(2)), measurements)
        return means, covariance

    check(smooth, ("T", 1))


def test_k_means() -> None:
    def cluster(points: jax.Array, centers: jax.Array) -> tuple[jax.Array, jax.Array]:
        def nearest(centers: jax.Array) -> jax.Array:
            return jnp.argmin(jnp.linalg.norm(points[:, None] - centers[None], axis=-1), axis=1)

        def moved(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            centers, _, turn = state
            member = jax.nn.one_hot(nearest(centers), len(centers))
            new = member.T @ points / jnp.maximum(member.sum(0), 1)[:, None]
            return new, jnp.abs(new - centers).max(), turn + 1

        start = (centers, jnp.float32(jnp.inf), 0)
        centers, _, _ = lax.while_loop(lambda s: (s[1] > 1e-4) & (s[2] < 20), moved, start)
        return centers, nearest(centers)

    check(cluster, ("N", 2), (3, 2), sizes=(5, 9, 16))


def test_non_maximum_suppression() -> None:
    def suppress(boxes: jax.Array, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
        corner, size = boxes[:, :2], 0.5 + jnp.abs(boxes[:, 2:])
        order = jnp.argsort(-scores)
        low, high = corner[order], (corner + size)[order]
        overlap = jnp.minimum(high[:, None], high) - jnp.maximum(low[:, None], low)
        inter = jnp.prod(jnp.maximum(overlap, 0), -1)
        area = jnp.prod(high - low, -1)
        iou = inter / (area[:, None] + area - inter)

        def turn(i: jax.Array, keep: jax.Array) -> jax.Array:
            return keep & ~(keep[i] & (iou[i] > 0.2) & (jnp.arange(keep.shape[0]) > i))

        keep = lax.fori_loop(0, scores.shape[0], turn, jnp.ones(scores.shape, bool))
        kept = jnp.nonzero(keep, size=4, fill_value=-1)[0]
        return order, kept

    check(suppress, ("N", 4), ("N",), sizes=(3, 7, 12))


def test_gaussian_process() -> None:
    def predict(x: jax.Array, y: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def kernel(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1))

        factor = jnp.linalg.cholesky(kernel(x, x) + 0.1 * jnp.eye(len(x)))
        weights = jsp.linalg.cho_solve((factor, True), y)
        cross = kernel(at, x)
        explained = jsp.linalg.solve_triangular(factor, cross.T, lower=True)
        evidence = -0.5 * y @ weights - jnp.log(jnp.diagonal(factor)).sum()
        return cross @ weights, 1 - (explained**2).sum(0), evidence

    check(predict, (8, 2), (8,), ("M", 2))


def test_principal_components() -> None:
    def project(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        centered = x - x.mean(0)
        _, singular, components = jnp.linalg.svd(centered, full_matrices=False)
        components = components[:2]
        components *= jnp.sign(components[jnp.arange(2), jnp.abs(components).argmax(1)])[:, None]  # the sign is free
        return centered @ components.T, singular**2 / (len(x) - 1)

    check(project, (12, 4), opsets=(21,))


def test_an_adaptive_integrator_and_its_gradient() -> None:
    def integrate(start: jax.Array, stiffness: jax.Array) -> jax.Array:
        def field(y: jax.Array, t: jax.Array, stiffness: jax.Array) -> jax.Array:
            return jnp.stack([y[1], stiffness * (1 - y[0] ** 2) * y[1] - y[0]])

        return odeint(field, start, jnp.linspace(0.0, 1.0, 4), stiffness, rtol=1e-5, atol=1e-5)

    check(integrate, (2,), (), opsets=(21,))
    # The adjoint is an integration of its own with the same stopping rule of 1e-5 on each step.
    check(jax.grad(lambda y, k: integrate(y, k).sum()), (2,), (), opsets=(21,), rtol=1e-3, atol=1e-4)


def test_message_passing_on_a_graph() -> None:
    """Edges of any number between nodes of any number; some indices point nowhere and are dropped."""

    def layer(nodes: jax.Array, senders: jax.Array, receivers: jax.Array, weight: jax.Array) -> jax.Array:
        count = nodes.shape[0]
        senders, receivers = senders % count, receivers % (count + 1)
        messages = jnp.tanh(nodes[senders] @ weight)
        total = jax.ops.segment_sum(messages, receivers, num_segments=count)
        degree = jax.ops.segment_sum(jnp.ones(receivers.shape), receivers, num_segments=count)
        highest = jax.ops.segment_max(messages, receivers, num_segments=count)
        shifted = jnp.exp(messages - highest[receivers])
        softmax = shifted / jax.ops.segment_sum(shifted, receivers, num_segments=count)[receivers]
        attended = jax.ops.segment_sum(softmax * messages, receivers, num_segments=count)
        return jnp.concatenate([total / jnp.maximum(degree, 1)[:, None], attended], -1)

    edges = Spec(("E",), np.int32)
    check(layer, ("N", 3), edges, edges, (3, 3), sizes=(3, 5, 8))


def test_beam_search() -> None:
    def decode(transition: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_p = jax.nn.log_softmax(transition)
        scores, tokens = lax.top_k(jax.nn.log_softmax(start), 3)

        def turn(state: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            scores, tokens = state
            flat = (scores[:, None] + log_p[tokens]).reshape(-1)
            scores, index = lax.top_k(flat, 3)
            return (scores, index % len(log_p)), jnp.stack([index // len(log_p), index % len(log_p)])

        (scores, _), path = lax.scan(turn, (scores, tokens), None, length=5)
        return scores, path

    check(decode, (6, 6), (6,))


def test_spectrogram_and_its_inverse() -> None:
    def filtered(signal: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, _, spectrum = jsp.signal.stft(signal, nperseg=16, noverlap=8)
        power = jnp.abs(spectrum) ** 2
        _, back = jsp.signal.istft(spectrum * (power > power.mean()), nperseg=16, noverlap=8)
        return power, back

    check(filtered, (64,), opsets=(21,))


@pytest.mark.parametrize("length", [5, "T"])
def test_forward_algorithm_of_a_hidden_markov_model(length: int | str) -> None:
    def likelihood(transition: jax.Array, emission: jax.Array, observed: jax.Array) -> jax.Array:
        transition, emission = jax.nn.log_softmax(transition), jax.nn.log_softmax(emission)

        def turn(alpha: jax.Array, symbol: jax.Array) -> tuple[jax.Array, None]:
            return jsp.special.logsumexp(alpha[:, None] + transition, axis=0) + emission[:, symbol], None

        alpha, _ = lax.scan(turn, jnp.full(3, -jnp.log(3.0)), observed)
        return jsp.special.logsumexp(alpha)

    check(likelihood, (3, 3), (3, 4), Spec((length,), np.int32))
