"""Probes trained on frozen embeddings, as BirdSet's benchmark does."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ._attention import per_token
from ._config import require
from ._losses import asymmetric_loss
from ._probes import CentroidProbe, LinearProbe, MlpProbe

Kind = Literal["linear", "mlp", "centroid"]
_EPOCHS, _BATCH, _SEED = 30, 64, 42


def choose(target: np.ndarray, n_per_class: int) -> np.ndarray:
    """Indices of at most so many samples of each class, ascending; -1 for all.

    Args:
        target: `[samples, classes]` of 0 and 1.
        n_per_class: 1, 5 or 100 in the benchmark.
    """
    if n_per_class < 0:
        return np.arange(len(target))
    rng = np.random.default_rng(_SEED)
    chosen: set[int] = set()
    for column in target.T:
        samples = np.flatnonzero(column)
        chosen.update(rng.permutation(samples)[:n_per_class].tolist())
    return np.array(sorted(chosen), int)


def fit_probe(
    kind: Kind, embeddings: np.ndarray, target: np.ndarray, *, epochs: int = _EPOCHS, key: Array | None = None
) -> LinearProbe | MlpProbe | CentroidProbe:
    """Fit a probe by the asymmetric loss: AdamW, 4e-4, weight decay 3e-4, clipped at 2, batches of 64.

    Args:
        kind: `"linear"`, `"mlp"` or `"centroid"`; the last needs no training.
        embeddings: `[samples, dim]`.
        target: `[samples, classes]` of 0 and 1; several may be 1.
        epochs: Number of passes.
        key: PRNG key of the initial weights.

    Raises:
        ConfigError: If the shapes do not fit, or the kind is unknown.
    """
    require(
        embeddings.ndim == target.ndim == 2 and len(embeddings) == len(target) > 0,
        f"fit_probe: embeddings {embeddings.shape} and targets {target.shape} must be [samples, dim] and "
        "[samples, classes].",
    )
    x, y = jnp.asarray(embeddings, jnp.float32), jnp.asarray(target, jnp.float32)
    key = jax.random.key(_SEED) if key is None else key
    probe: LinearProbe | MlpProbe
    if kind == "centroid":
        return CentroidProbe(x, y)
    if kind == "linear":
        probe = LinearProbe(x.shape[1], y.shape[1], key=key)
    else:
        require(kind == "mlp", f"fit_probe: the kind must be 'linear', 'mlp' or 'centroid', not {kind!r}.")
        probe = MlpProbe(x.shape[1], y.shape[1], key=key)
    optimizer = optax.chain(optax.clip_by_global_norm(2.0), optax.adamw(4e-4, 0.9, 0.95, weight_decay=3e-4))
    size = min(_BATCH, len(x))

    @eqx.filter_jit
    def epoch(probe: Any, state: Any, order: Array) -> Any:
        arrays, rest = eqx.partition(probe, eqx.is_array)

        def step(carry: Any, rows: Array) -> Any:
            arrays, state = carry

            def loss(arrays: Any) -> Array:
                return asymmetric_loss(per_token(eqx.combine(arrays, rest), x[rows]), y[rows])

            updates, state = optimizer.update(jax.grad(loss)(arrays), state, arrays)
            return (optax.apply_updates(arrays, updates), state), None

        (arrays, state), _ = jax.lax.scan(step, (arrays, state), order)
        return eqx.combine(arrays, rest), state

    rng = np.random.default_rng(_SEED)
    state = optimizer.init(eqx.filter(probe, eqx.is_array))
    for _ in range(epochs):
        order = rng.permutation(len(x))
        probe, state = epoch(probe, state, jnp.asarray(order[: len(x) // size * size].reshape(-1, size)))
    return probe


def scores(probe: LinearProbe | MlpProbe | CentroidProbe, embeddings: np.ndarray) -> np.ndarray:
    """Logits `[samples, classes]` of embeddings `[samples, dim]`."""
    return np.asarray(eqx.filter_jit(per_token)(probe, jnp.asarray(embeddings, jnp.float32)))
