"""DINOv3 ViT as a person would write it in ONNX, with random weights: the graph that an export is held against.

Layer scale is folded into the projections, rotary embedding leaves the five first tokens alone by rows of cos 1, sin 0.
From opset 23 on RotaryEmbedding and Attention are operators, which find the heads in [1, tokens, dim] by themselves;
below they are decomposed, on [1, heads, tokens, head_dim].

    python tools/hand_made_vit.py 21 S hand21.onnx
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx_ir as ir

SIZE, PATCH, PREFIX = 224, 16, 5
DEPTH, HEAD_DIM = 12, 64
HEADS = {"S": 6, "B": 12}
PATCHES = (SIZE // PATCH) ** 2
TOKENS = PREFIX + PATCHES


class _Writer:
    """Adds nodes and random weights to one graph."""

    def __init__(self, opset: int, heads: int):
        self.opset = opset
        self.heads = heads
        self.dim = heads * HEAD_DIM
        self.random = np.random.default_rng(0)
        self.nodes: list[ir.Node] = []
        self.initializers: dict[Any, ir.Value] = {}

    def __call__(self, op_type: str, *inputs: ir.Value, outputs: int = 1, **attributes: Any) -> Any:
        node = ir.node(op_type, inputs, attributes, num_outputs=outputs, name=f"{op_type}_{len(self.nodes)}")
        for index, value in enumerate(node.outputs):
            value.name = f"v{len(self.nodes)}_{index}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer; equal ones are stored once."""
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self.initializers:
            name = f"c{len(self.initializers)}"
            self.initializers[key] = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            self.initializers[key].dtype = ir.DataType.from_numpy(array.dtype)
            self.initializers[key].shape = ir.Shape(array.shape)
        return self.initializers[key]

    def ints(self, *values: int) -> ir.Value:
        return self.constant(np.asarray(values, np.int64))

    def normal(self, *shape: int, scale: float) -> ir.Value:
        return self.constant((scale * self.random.standard_normal(shape)).astype(np.float32))

    def linear(self, x: ir.Value, size_in: int, size_out: int) -> ir.Value:
        weight = self.normal(size_in, size_out, scale=size_in**-0.5)
        return self("Add", self("MatMul", x, weight), self.normal(size_out, scale=0.02))

    def layer_norm(self, x: ir.Value) -> ir.Value:
        scale = self.constant((1 + 0.1 * self.random.standard_normal(self.dim)).astype(np.float32))
        return self("LayerNormalization", x, scale, self.normal(self.dim, scale=0.02), epsilon=1e-5)


def _heads(write: _Writer, x: ir.Value) -> ir.Value:
    """[1, tokens, dim] -> [1, heads, tokens, head_dim]."""
    return write("Transpose", write("Reshape", x, write.ints(0, 0, write.heads, HEAD_DIM)), perm=[0, 2, 1, 3])


class _Rope:
    """Rotation of queries and keys by the place of their patch."""

    def __init__(self, write: _Writer):
        angles = write.random.uniform(0, 6, (TOKENS, HEAD_DIM // 2)).astype(np.float32)
        angles[:PREFIX] = 0
        self.write = write
        self.cos, self.sin = np.cos(angles), np.sin(angles)

    def __call__(self, x: ir.Value) -> ir.Value:
        write = self.write
        if write.opset >= 23:
            tables = write.constant(self.cos[None]), write.constant(self.sin[None])
            return write("RotaryEmbedding", x, *tables, num_heads=write.heads)
        half = HEAD_DIM // 2
        first, second = write("Split", x, write.ints(half, half), axis=-1, outputs=2)
        cos = write.constant(np.concatenate([self.cos, self.cos], -1)[None, None])
        sin = write.constant(np.concatenate([-self.sin, self.sin], -1)[None, None])
        turned = write("Concat", second, first, axis=-1)
        return write("Add", write("Mul", x, cos), write("Mul", turned, sin))


def _attention(write: _Writer, x: ir.Value, rope: _Rope) -> ir.Value:
    q, k, v = (write.linear(x, write.dim, write.dim) for _ in range(3))
    if write.opset >= 23:
        merged = write("Attention", rope(q), rope(k), v, q_num_heads=write.heads, kv_num_heads=write.heads)
    else:
        q, k, v = rope(_heads(write, q)), rope(_heads(write, k)), _heads(write, v)
        scores = write("MatMul", q, write("Transpose", k, perm=[0, 1, 3, 2]))
        scores = write("Mul", scores, write.constant(np.asarray(HEAD_DIM**-0.5, np.float32)))
        mixed = write("MatMul", write("Softmax", scores, axis=-1), v)
        merged = write("Reshape", write("Transpose", mixed, perm=[0, 2, 1, 3]), write.ints(0, 0, write.dim))
    return write.linear(merged, write.dim, write.dim)


def build(opset: int, size: str = "S") -> ir.Model:
    """The model: `image [1, 3, 224, 224]` to `tokens [1, 201, dim]`.

    Args:
        opset: 20 or higher, for Gelu.
        size: "S", of width 384, or "B", of width 768.
    """
    write = _Writer(opset, HEADS[size])
    dim = write.dim
    image = ir.Value(name="image", shape=ir.Shape([1, 3, SIZE, SIZE]), type=ir.TensorType(ir.DataType.FLOAT))
    kernel = write.normal(dim, 3, PATCH, PATCH, scale=0.03)
    bias = write.normal(dim, scale=0.02)
    patches = write("Conv", image, kernel, bias, kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
    patches = write("Transpose", write("Reshape", patches, write.ints(1, dim, PATCHES)), perm=[0, 2, 1])
    x = write("Concat", write.normal(1, PREFIX, dim, scale=0.02), patches, axis=1)
    rope = _Rope(write)
    for _ in range(DEPTH):
        x = write("Add", x, _attention(write, write.layer_norm(x), rope))
        hidden = write("Gelu", write.linear(write.layer_norm(x), dim, 4 * dim))
        x = write("Add", x, write.linear(hidden, 4 * dim, dim))
    x = write.layer_norm(x)
    x.name, x.dtype, x.shape = "tokens", ir.DataType.FLOAT, ir.Shape([1, TOKENS, dim])
    graph = ir.Graph(
        [image],
        [x],
        nodes=write.nodes,
        initializers=list(write.initializers.values()),
        opset_imports={"": opset},
        name="hand_made_vit",
    )
    return ir.Model(graph, ir_version=10 if opset < 23 else 11)


if __name__ == "__main__":
    ir.save(build(int(sys.argv[1]), sys.argv[2]), sys.argv[3])
