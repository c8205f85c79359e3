"""Models: penzai, equimo."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


@program("penzai", "MLP with its weights as argument")
def _mlp() -> Made:
    from penzai import pz
    from penzai.models import simple_mlp

    model = simple_mlp.MLP.from_config(jax.random.key(0), [8, 16, 4])
    return lambda model, x: model(pz.nx.wrap(x).tag("features")).unwrap("features"), (model, jnp.linspace(-1, 1, 8))


@program("penzai", "named axes")
def _named() -> Made:
    from penzai import pz

    def scores(q: jax.Array, k: jax.Array) -> jax.Array:
        q, k = pz.nx.wrap(q).tag("query", "features"), pz.nx.wrap(k).tag("key", "features")
        product = pz.nx.nmap(jnp.dot)(q.untag("features"), k.untag("features"))
        return pz.nx.nmap(jax.nn.softmax)(product.untag("key")).tag("key").unwrap("query", "key")

    return scores, (jnp.linspace(-1, 1, 12).reshape(3, 4), jnp.linspace(0, 1, 8).reshape(2, 4))


def _image() -> jax.Array:
    return jnp.sin(jnp.arange(3.0 * 64 * 64)).reshape(3, 64, 64)


@program("equimo", "vision transformer")
def _vit() -> Made:
    from equimo.models.vit import VisionTransformer

    model = VisionTransformer(
        img_size=64,
        in_channels=3,
        dim=32,
        patch_size=16,
        num_heads=2,
        depths=[2],
        num_classes=5,
        key=jax.random.key(0),
    )
    return lambda x: model(x, key=jax.random.key(1), inference=True), (_image(),)


def _equimo(name: str) -> Made:
    import equimo.models
    import equinox as eqx

    model = getattr(equimo.models, name)(num_classes=5, key=jax.random.key(0))
    model = eqx.nn.inference_mode(model)
    return lambda x: model(x, key=jax.random.key(1), inference=True), (_image(),)


for _name in ("mobilenetv3_small", "convnext_t"):
    program("equimo", _name, rtol=1e-3, atol=1e-4)(lambda name=_name: _equimo(name))  # tens of layers of rounding
