"""Three classifiers of digits, as one writes them with Equinox.

They are smooth: no ReLU, no maximum. Where a derivative jumps, one rounding can turn a step, and after hundreds of
steps two runs of JAX itself drift apart when the images within each batch change places. Then a comparison would say
nothing.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ._digits import CLASSES, SIZE


def mlp(key: Array) -> eqx.Module:
    """A perceptron with two hidden layers."""
    return eqx.nn.Sequential(
        [
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.MLP(SIZE * SIZE, CLASSES, width_size=128, depth=2, activation=jax.nn.gelu, key=key),
        ]
    )


def cnn(key: Array) -> eqx.Module:
    """Two convolutions with pooling, and a linear layer."""
    first, second, last = jax.random.split(key, 3)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 8, kernel_size=3, padding=1, key=first),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.Conv2d(8, 16, kernel_size=3, padding=1, key=second),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(16 * (SIZE // 4) ** 2, CLASSES, key=last),
        ]
    )


class Block(eqx.Module):
    """Attention and a feed-forward layer, each on normalised tokens and added to what came in."""

    first_norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    second_norm: eqx.nn.LayerNorm
    feed_forward: eqx.nn.MLP

    def __init__(self, dim: int, heads: int, *, key: Array):
        attention_key, feed_forward_key = jax.random.split(key)
        self.first_norm = eqx.nn.LayerNorm(dim)
        self.attention = eqx.nn.MultiheadAttention(heads, dim, key=attention_key)
        self.second_norm = eqx.nn.LayerNorm(dim)
        self.feed_forward = eqx.nn.MLP(dim, dim, 2 * dim, depth=1, activation=jax.nn.gelu, key=feed_forward_key)

    def __call__(self, tokens: Array) -> Array:
        """`[tokens, dim]` to the same."""
        x = jax.vmap(self.first_norm)(tokens)
        tokens = tokens + self.attention(x, x, x)
        return tokens + jax.vmap(self.feed_forward)(jax.vmap(self.second_norm)(tokens))


class ViT(eqx.Module):
    """A vision transformer: patches become tokens, and their mean is classified."""

    patches: eqx.nn.Conv2d
    position: Array
    blocks: list[Block]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, *, dim: int = 32, depth: int = 2, heads: int = 4, patch: int = 4, key: Array):
        patches_key, position_key, head_key, *block_keys = jax.random.split(key, 3 + depth)
        self.patches = eqx.nn.Conv2d(1, dim, kernel_size=patch, stride=patch, key=patches_key)
        self.position = 0.02 * jax.random.normal(position_key, ((SIZE // patch) ** 2, dim))
        self.blocks = [Block(dim, heads, key=block_key) for block_key in block_keys]
        self.norm = eqx.nn.LayerNorm(dim)
        self.head = eqx.nn.Linear(dim, CLASSES, key=head_key)

    def __call__(self, image: Array) -> Array:
        """`[1, SIZE, SIZE]` to `[CLASSES]` logits."""
        tokens = self.patches(image)
        tokens = tokens.reshape(tokens.shape[0], -1).T + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(jnp.mean(jax.vmap(self.norm)(tokens), axis=0))


def vit(key: Array) -> eqx.Module:
    """A transformer of two blocks on 4 x 4 patches."""
    return ViT(key=key)


MODELS: dict[str, Callable[[Array], eqx.Module]] = {"mlp": mlp, "cnn": cnn, "vit": vit}
