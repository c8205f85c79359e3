"""Objectives of an encoder: labels (Supervised), or views of one recording that agree (LeJEPA).

Masked autoencoding is in `_pixio`. An objective is a module with weights of its own. Called with a batch, the encoder
and a PRNG key, it gives its losses by name, and embeddings with their targets for the online probe.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._attention import per_token
from ._config import require
from ._losses import at_least_float32, cross_entropy, random_directions, sigreg
from ._model import EncoderOutput, Transformer

Batch = Mapping[str, Array]
"""`data` `[batch, H, W]` or `views` `[batch, n_views, H, W]`, `target` `[batch]` and `index` `[batch]` integers."""


class Outcome(NamedTuple):
    """The result of an objective for a batch.

    Attributes:
        losses: Scalars by name, at least float32; training minimises their sum.
        output: What the encoder gave, with a leading axis of samples, or of views and samples, the views slowest.
        target: `[samples]` integers.
    """

    losses: dict[str, Array]
    output: EncoderOutput
    target: Array


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """Cross entropy of a linear classifier on the mean class token.

    Attributes:
        n_classes: Number of classes.
        n_sources: Number of recordings that `index` counts, if they are to be told apart too (Ibrahim et al., "DIET",
            2023); otherwise 0.
        source_rank: Width of the bottleneck of the head that tells recordings apart.
        source_weight: Weight of its loss.
    """

    n_classes: int
    n_sources: int = 0
    source_rank: int = 0
    source_weight: float = 0.0

    def __post_init__(self) -> None:
        require(self.n_classes >= 1, f"SupervisedConfig.n_classes must be at least 1, but it is {self.n_classes}.")
        asked = (self.n_sources > 0, self.source_rank > 0, self.source_weight > 0)
        require(
            all(asked) or not any(asked),
            "SupervisedConfig: a source head needs n_sources, source_rank and source_weight, all above 0, but they are "
            f"{self.n_sources}, {self.source_rank} and {self.source_weight}.",
        )


class SourceHead(eqx.Module):
    """Tells recordings apart through a bottleneck: a linear layer, ReLU, a linear layer."""

    down: eqx.nn.Linear
    up: eqx.nn.Linear

    def __init__(self, dim: int, rank: int, n_sources: int, *, key: Array):
        down_key, up_key = jax.random.split(key)
        self.down = eqx.nn.Linear(dim, rank, key=down_key)
        self.up = eqx.nn.Linear(rank, n_sources, key=up_key)

    def __call__(self, x: Array) -> Array:
        """Map all class tokens of a sample, `[n_cls_tokens * embed_dim]`, to logits `[n_sources]`."""
        return self.up(jax.nn.relu(self.down(x)))


class Supervised(eqx.Module):
    """Cross entropy on labels, and with a source head also on recordings."""

    head: eqx.nn.Linear
    source_head: SourceHead | None
    config: SupervisedConfig = eqx.field(static=True)

    def __init__(self, config: SupervisedConfig, encoder: Transformer, *, key: Array):
        head_key, source_key = jax.random.split(key)
        dim, n_cls = encoder.config.embed_dim, encoder.config.n_cls_tokens
        self.head = eqx.nn.Linear(dim, config.n_classes, key=head_key)
        self.source_head = None
        if config.n_sources:
            self.source_head = SourceHead(n_cls * dim, config.source_rank, config.n_sources, key=source_key)
        self.config = config

    def __call__(self, batch: Batch, encoder: Transformer, *, key: Array | None) -> Outcome:
        """The losses `ce` and, with a source head, `source`, of whole spectrograms."""
        output = encoder.encode(batch["data"], key=key)
        losses = {"ce": cross_entropy(per_token(self.head, jnp.mean(output.cls, axis=1)), batch["target"])}
        if self.source_head is not None:
            logits = per_token(self.source_head, output.cls.reshape(output.cls.shape[0], -1))
            losses["source"] = self.config.source_weight * cross_entropy(logits, batch["index"])
        return Outcome(losses, output, batch["target"])


@dataclasses.dataclass(frozen=True)
class LeJepaConfig:
    """Views of one recording agree, and embeddings are normally distributed.

    Attributes:
        n_views: Views of each recording.
        proj_dim: Width of the projection in which they are compared.
        lamb: Weight of SIGReg; agreement has the rest of 1.
        hidden: Hidden width of the projector.
        norm: What the projector normalises over: the `"batch"`, as published, or the `"layer"`.
    """

    n_views: int = 4
    proj_dim: int = 16
    lamb: float = 0.02
    hidden: int = 2048
    norm: Literal["batch", "layer"] = "batch"

    def __post_init__(self) -> None:
        require(self.n_views >= 2, f"LeJepaConfig.n_views must be at least 2, but it is {self.n_views}.")
        require(0 <= self.lamb <= 1, f"LeJepaConfig.lamb must lie in [0, 1], but it is {self.lamb}.")
        require(self.norm in ("batch", "layer"), f"LeJepaConfig.norm must be 'batch' or 'layer': {self.norm!r}.")


class BatchNorm(eqx.Module):
    """Normalises each channel over the batch that it is given; it keeps no running statistics."""

    weight: Array
    bias: Array

    def __init__(self, dim: int):
        self.weight = jnp.ones(dim)
        self.bias = jnp.zeros(dim)

    def __call__(self, x: Array) -> Array:
        """Map `[samples, dim]` to `[samples, dim]`.

        Statistics are at least float32 and, on several devices, of all samples.
        """
        wide = at_least_float32(x)
        centred = wide - jnp.mean(wide, axis=0)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=0) + 1e-5)
        return (normed * self.weight + self.bias).astype(x.dtype)


class Projector(eqx.Module):
    """Three linear layers with a normalisation and ReLU between them."""

    linears: tuple[eqx.nn.Linear, ...]
    norms: tuple[BatchNorm | eqx.nn.LayerNorm, ...]

    def __init__(self, dim: int, config: LeJepaConfig, *, key: Array):
        sizes = (dim, config.hidden, config.hidden, config.proj_dim)
        keys = jax.random.split(key, 3)
        self.linears = tuple(eqx.nn.Linear(a, b, key=k) for a, b, k in zip(sizes, sizes[1:], keys, strict=False))
        norm = BatchNorm if config.norm == "batch" else eqx.nn.LayerNorm
        self.norms = (norm(config.hidden), norm(config.hidden))

    def __call__(self, x: Array) -> Array:
        """Map `[samples, dim]` to `[samples, proj_dim]`."""
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = per_token(linear, x)
            x = jax.nn.relu(norm(x) if isinstance(norm, BatchNorm) else per_token(norm, x))
        return per_token(self.linears[-1], x)


class LeJepa(eqx.Module):
    """Balestriero and LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", 2025."""

    projector: Projector
    config: LeJepaConfig = eqx.field(static=True)

    def __init__(self, config: LeJepaConfig, encoder: Transformer, *, key: Array):
        self.projector = Projector(encoder.config.embed_dim, config, key=key)
        self.config = config

    def __call__(self, batch: Batch, encoder: Transformer, *, key: Array | None) -> Outcome:
        """The losses `inv` and `sigreg` of views `[batch, n_views, H, W]`, each with its weight.

        Without a key, the directions of SIGReg are always the same.
        """
        direction_key, encoder_key = (jax.random.key(0), None) if key is None else jax.random.split(key)
        views = view_major(batch["views"])
        output = encoder.encode(views, key=encoder_key)
        n_views, size = batch["views"].shape[1], batch["views"].shape[0]
        projected = at_least_float32(self.projector(jnp.mean(output.cls, axis=1))).reshape(n_views, size, -1)
        agreement = jnp.mean((jnp.mean(projected, axis=0, keepdims=True) - projected) ** 2)
        normality = sigreg(projected, random_directions(direction_key, self.config.proj_dim))
        losses = {"inv": (1 - self.config.lamb) * agreement, "sigreg": self.config.lamb * normality}
        return Outcome(losses, output, jnp.tile(batch["target"], n_views))


def view_major(views: Array) -> Array:
    """`[batch, n_views, ...]` to `[n_views * batch, ...]`: all first views, then all second ones.

    Views must be exchanged with samples before the axes are joined: otherwise views of different recordings would be
    pulled together.
    """
    batch, n_views = views.shape[:2]
    return jnp.swapaxes(views, 0, 1).reshape(n_views * batch, *views.shape[2:])
