"""Graphs and symmetries: jraph, e3nn-jax."""

import jax
import jax.numpy as jnp

from .catalogue import Made, program


def _graph() -> object:
    import jraph

    return jraph.GraphsTuple(
        n_node=jnp.array([3, 2]),
        n_edge=jnp.array([4, 1]),
        nodes=jnp.linspace(-1, 1, 15).reshape(5, 3),
        edges=jnp.linspace(0, 1, 10).reshape(5, 2),
        globals=jnp.ones((2, 1)),
        senders=jnp.array([0, 1, 2, 0, 3]),
        receivers=jnp.array([1, 2, 0, 2, 4]),
    )


@program("jraph", "graph network")
def _network() -> Made:
    import jraph

    network = jraph.GraphNetwork(
        update_edge_fn=lambda edges, senders, receivers, globals_: jnp.tanh(edges + senders[:, :2] * receivers[:, :2]),
        update_node_fn=lambda nodes, sent, received, globals_: nodes + jnp.pad(sent + received, ((0, 0), (0, 1))),
        update_global_fn=lambda nodes, edges, globals_: globals_ + nodes[:, :1] + edges[:, :1],
    )
    return network, (_graph(),)


@program("jraph", "graph convolution")
def _convolution() -> Made:
    import jraph

    layer = jraph.GraphConvolution(update_node_fn=lambda nodes: nodes @ jnp.ones((3, 4)), add_self_edges=True)
    return layer, (_graph(),)


@program("jraph", "graph attention")
def _attention() -> Made:
    import jraph

    layer = jraph.GAT(
        attention_query_fn=lambda nodes: nodes @ jnp.ones((3, 4)),
        attention_logit_fn=lambda sent, received, edges: jax.nn.leaky_relu((sent * received).sum(-1, keepdims=True)),
        node_update_fn=None,
    )
    return layer, (_graph(),)


@program("e3nn-jax", "spherical harmonics")
def _harmonics() -> Made:
    import e3nn_jax as e3nn

    return lambda x: e3nn.spherical_harmonics("1o + 2e + 3o", x, normalize=True).array, (
        jnp.linspace(-1, 1, 12).reshape(4, 3),
    )


@program("e3nn-jax", "tensor product")
def _product() -> Made:
    import e3nn_jax as e3nn

    left, right = e3nn.Irreps("2x0e + 1x1o"), e3nn.Irreps("1x1o + 1x2e")

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        return e3nn.tensor_product(e3nn.IrrepsArray(left, x), e3nn.IrrepsArray(right, y)).array

    return product, (jnp.linspace(-1, 1, 10).reshape(2, 5), jnp.linspace(0, 1, 16).reshape(2, 8))


@program("e3nn-jax", "gate of irreps, returned as they are")
def _gate() -> Made:
    import e3nn_jax as e3nn

    irreps = e3nn.Irreps("3x0e + 2x1o")
    return lambda x: e3nn.gate(x), (e3nn.IrrepsArray(irreps, jnp.linspace(-1, 1, 18).reshape(2, 9)),)


@program("e3nn-jax", "linear layer of flax")
def _linear() -> Made:
    import e3nn_jax as e3nn

    layer = e3nn.flax.Linear("2x0e + 1x1o")
    x = e3nn.IrrepsArray("2x0e + 2x1o", jnp.linspace(-1, 1, 16).reshape(2, 8))
    weights = layer.init(jax.random.key(0), x)
    return layer.apply, (weights, x)
