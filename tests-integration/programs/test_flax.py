"""Models of flax, both interfaces: linen with its parameters beside it, nnx with its state inside."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from j2o_core.testing import Spec, check

nn = pytest.importorskip("flax.linen")
struct = pytest.importorskip("flax.struct")
nnx = pytest.importorskip("flax.nnx")


@struct.dataclass
class EnvState:
    """An environment's state as brax and gymnax have it."""

    position: object
    reward: object
    done: object
    metrics: dict[str, object]


def env_step(state: EnvState, action: jax.Array) -> EnvState:
    position = state.position + action
    return state.replace(position=position, reward=0.0, done=False, metrics={"steps": 3})


def test_numbers_in_struct_classes_are_outputs() -> None:
    state = EnvState(jnp.ones(3), jnp.float32(1), jnp.array(True), {"steps": jnp.int32(0)})
    program = check(env_step, state, jnp.ones(3), state=["state"], opsets=(21,))
    assert sorted(program.output_names) == [
        f"next.state.{name}" for name in ("done", "metrics.steps", "position", "reward")
    ]
    result, expected = program(state, np.ones(3)), jax.jit(env_step)(state, np.ones(3))
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert jax.tree.map(lambda x: x.dtype, result) == jax.tree.map(lambda x: x.dtype, expected)


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(8, (3, 3), padding="SAME")(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.GroupNorm(num_groups=4)(nn.Conv(8, (3, 3), strides=(2, 2))(x))
        x = nn.avg_pool(nn.swish(x), (2, 2))
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape((x.shape[0], -1)))
        return nn.Dense(5)(x)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = nn.Embed(11, 16)(tokens)
        mask = nn.make_causal_mask(tokens)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, deterministic=True)(nn.LayerNorm()(x), mask=mask)
        return nn.Dense(11)(nn.gelu(nn.Dense(32)(nn.RMSNorm()(x))))


def test_linen_convolutions_with_running_statistics() -> None:
    model = Convolutional()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)))
    program = check(lambda x: model.apply(variables, x), ("B", 12, 12, 3), opsets=(21,))
    assert "params.Conv_0.kernel" in "\n".join(program.model.graph.initializers)
    counts = Counter(node.op_type for node in program.model.graph)
    # Norms are in a convolution and one operator; transposes are left at the input and before the last layer.
    assert (counts["InstanceNormalization"], counts["BatchNormalization"], counts["ReduceMean"]) == (1, 0, 0)
    assert counts["Transpose"] == 2


def test_linen_training_returns_new_statistics() -> None:
    model = Convolutional()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))

    def apply(variables: object, key: jax.Array, x: jax.Array) -> object:
        return model.apply(variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"])

    check(apply, variables, jax.random.key(1), (2, 8, 8, 3), opsets=(21,))


def test_linen_transformer_with_any_batch_and_length() -> None:
    model = Transformer()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    check(lambda tokens: model.apply(variables, jnp.abs(tokens)), Spec(("B", "T"), np.int32), opsets=(21, 23))


@pytest.mark.parametrize(
    ("cell", "op_type"),
    [
        ("LSTMCell", "LSTM"),
        ("OptimizedLSTMCell", "LSTM"),
        ("GRUCell", "GRU"),
        ("MGUCell", "GRU"),
        ("SimpleCell", "RNN"),
    ],
)
def test_linen_recurrent_layers(cell: str, op_type: str) -> None:
    batch = 2 if op_type == "RNN" else "B"
    model = nn.RNN(getattr(nn, cell)(6), return_carry=True)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 40, 3)))
    check(lambda x: model.apply(variables, x), (batch, 40, 3), opsets=(21,), contains=[op_type], absent=["Scan"])


def test_linen_layer_of_both_directions() -> None:
    model = nn.Bidirectional(nn.RNN(nn.LSTMCell(6)), nn.RNN(nn.LSTMCell(6)))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 40, 3)))
    check(lambda x: model.apply(variables, x), ("B", 40, 3), opsets=(21,), contains=["LSTM"], absent=["Scan"])


@pytest.mark.parametrize(("cell", "op_type"), [("OptimizedLSTMCell", "LSTM"), ("GRUCell", "GRU")])
def test_nnx_recurrent_layers(cell: str, op_type: str) -> None:
    graph, state = nnx.split(nnx.RNN(getattr(nnx, cell)(3, 6, rngs=nnx.Rngs(0))))

    def fn(state: nnx.State, x: jax.Array) -> jax.Array:
        carry = jnp.zeros((x.shape[0], 6))
        return nnx.merge(graph, state)(x, initial_carry=(carry, carry) if op_type == "LSTM" else carry)

    check(fn, state, ("B", 40, 3), opsets=(21,), contains=[op_type], absent=["Scan"])


class Residual(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 8, kernel_size=(3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.linear = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(x)))
        return self.linear(self.dropout(x.mean(axis=(1, 2))))


def test_nnx_model_in_evaluation_mode() -> None:
    model = Residual(nnx.Rngs(0))
    model.eval()
    check(model, ("B", 8, 8, 3), opsets=(21,))


def test_nnx_model_split_into_its_state() -> None:
    """The state is an argument, so that the exported graph can be fed with other weights."""
    model = Residual(nnx.Rngs(0))
    model.eval()
    definition, state = nnx.split(model)

    def apply(state: object, x: jax.Array) -> jax.Array:
        return nnx.merge(definition, state)(x)

    x = np.ones((2, 8, 8, 3), np.float32)
    program = check(apply, state, x, opsets=(21,))
    np.testing.assert_allclose(program(state, x), apply(state, x), rtol=1e-4, atol=1e-5)


def test_nnx_attention() -> None:
    model = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=nnx.Rngs(0))
    check(lambda x: model(x), ("B", "T", 8), opsets=(21, 23))
