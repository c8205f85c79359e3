"""One small node for each operator, to be run in every element type by `make_tables.py`.

An input is a shape (filled with ones in the type under test), a list of values, or None where an optional input is
left out. One is the value that no operator refuses: a legal divisor, shift amount, index and argument of Acosh.
"""

from __future__ import annotations

import dataclasses
from typing import Any

Operand = tuple[int, ...] | list[Any] | None


@dataclasses.dataclass(frozen=True)
class Probe:
    """A node to run: its operands, attributes, and what else decides whether a kernel exists.

    Attributes:
        inputs: One entry for each input.
        attrs: Fixed attributes.
        outputs: How many outputs are asked for.
        dtype_attr: Attribute that holds the element type of the output, such as `to` of Cast.
        varies: Attributes whose value changes which element types run, and their values; None means absent.
        since: The first opset at which the node can be written this way.
    """

    inputs: tuple[Operand, ...]
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    outputs: int = 1
    dtype_attr: str = ""
    varies: dict[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    since: int = 0


def _p(*inputs: Operand, **settings: Any) -> Probe:
    return Probe(inputs, **settings)


_MATRIX = (2, 3)
_IMAGE = (1, 2, 4, 4)
_RNN = {"hidden_size": 1}

PROBES: dict[str, list[Probe]] = {}


def _same(probe: Probe, names: str) -> None:
    for name in names.split():
        PROBES[name] = [probe]


_same(
    _p(_MATRIX),
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Flatten Floor HardSigmoid "
    "HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax LpNormalization Mish Neg NonZero Not Reciprocal "
    "Relu Round Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus Softsign Sqrt Swish Tan Tanh "
    "ThresholdedRelu Transpose ArgMax ArgMin",
)
_same(
    _p(_MATRIX, _MATRIX),
    "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or "
    "PRelu Pow Sub Sum Xor",
)
_same(
    _p(_MATRIX, [1]),
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Squeeze",
)
_same(_p(_IMAGE), "GlobalAveragePool GlobalMaxPool")

PROBES |= {
    "AffineGrid": [_p((1, 2, 3), [1, 1, 2, 2])],
    "Attention": [
        _p(
            *((1, 2, 3, 4),) * 3,
            (3, 3),
            varies={"left_window_size": (None, 1), "right_window_size": (None, 1)},
        )
    ],
    "AveragePool": [_p(_IMAGE, attrs={"kernel_shape": [2, 2]})],
    "BatchNormalization": [_p(_IMAGE, (2,), (2,), (2,), (2,))],
    "Bernoulli": [_p(_MATRIX, dtype_attr="dtype")],
    "BitCast": [_p((2, 64), dtype_attr="to")],
    "BitShift": [_p(_MATRIX, _MATRIX, varies={"direction": ("LEFT", "RIGHT")})],
    "BlackmanWindow": [_p((), dtype_attr="output_datatype")],
    "Cast": [_p(_MATRIX, dtype_attr="to")],
    "CastLike": [_p(_MATRIX, _MATRIX)],
    "CenterCropPad": [_p(_MATRIX, [2, 2])],
    "Clip": [_p(_MATRIX, (), ())],
    "Col2Im": [_p((1, 4, 4), [3, 3], [2, 2])],
    "Compress": [_p(_MATRIX, [1, 0], attrs={"axis": 0})],
    "Concat": [_p(_MATRIX, _MATRIX, attrs={"axis": 0})],
    "Constant": [_p(dtype_attr="value")],
    "ConstantOfShape": [_p([2, 3], dtype_attr="value")],
    "Conv": [_p(_IMAGE, (3, 2, 2, 2), (3,))],
    "ConvTranspose": [_p(_IMAGE, (2, 3, 2, 2), (3,))],
    "CumProd": [_p(_MATRIX, ())],
    "CumSum": [_p(_MATRIX, ())],
    "DFT": [_p((1, 4, 1)), _p((1, 4, 2))],
    "DepthToSpace": [_p((1, 4, 2, 2), attrs={"blocksize": 2})],
    "Det": [_p((2, 2))],
    "Dropout": [_p(_MATRIX)],
    "Einsum": [_p(_MATRIX, (3, 2), attrs={"equation": "ij,jk->ik"})],
    "Expand": [_p(_MATRIX, [2, 2, 3])],
    "EyeLike": [_p(_MATRIX, dtype_attr="dtype")],
    "GRU": [_p((2, 1, 1), (1, 3, 1), (1, 3, 1), attrs=_RNN)],
    "Gather": [_p(_MATRIX, [1, 0])],
    "GatherElements": [_p(_MATRIX, [[0, 1, 0]])],
    "GatherND": [_p(_MATRIX, [[1, 1]])],
    "Gelu": [_p(_MATRIX, varies={"approximate": ("none", "tanh")})],
    "Gemm": [_p(_MATRIX, (3, 2), (2,))],
    "GlobalLpPool": [_p(_IMAGE)],
    "GridSample": [_p(_IMAGE, (1, 2, 2, 2))],
    "GroupNormalization": [_p(_IMAGE, (2,), (2,), attrs={"num_groups": 2})],
    "HammingWindow": [_p((), dtype_attr="output_datatype")],
    "HannWindow": [_p((), dtype_attr="output_datatype")],
    "InstanceNormalization": [_p(_IMAGE, (2,), (2,))],
    "LRN": [_p(_IMAGE, attrs={"size": 1})],
    "LSTM": [_p((2, 1, 1), (1, 4, 1), (1, 4, 1), attrs=_RNN)],
    "LayerNormalization": [_p(_MATRIX, (3,), (3,))],
    "LpPool": [_p(_IMAGE, attrs={"kernel_shape": [2, 2]})],
    "MatMul": [_p(_MATRIX, (3, 2))],
    "MatMulInteger": [_p(_MATRIX, (3, 2))],
    "MaxPool": [_p(_IMAGE, attrs={"kernel_shape": [2, 2]})],
    "MeanVarianceNormalization": [_p(_IMAGE)],
    "Mod": [_p(_MATRIX, _MATRIX, varies={"fmod": (0, 1)})],
    "Multinomial": [_p((1, 3), dtype_attr="dtype")],
    "OneHot": [_p([0, 1], [3], [0, 1])],
    "Pad": [_p(_MATRIX, [0, 1, 0, 1], varies={"mode": ("constant", "reflect", "edge")})],
    "RMSNormalization": [_p(_MATRIX, (3,))],
    "RNN": [_p((2, 1, 1), (1, 1, 1), (1, 1, 1), attrs=_RNN)],
    "RandomNormal": [_p(attrs={"shape": [2, 3]}, dtype_attr="dtype")],
    "RandomNormalLike": [_p(_MATRIX, dtype_attr="dtype")],
    "RandomUniform": [_p(attrs={"shape": [2, 3]}, dtype_attr="dtype")],
    "RandomUniformLike": [_p(_MATRIX, dtype_attr="dtype")],
    "Range": [_p((), (), ())],
    "Reshape": [_p(_MATRIX, [3, 2])],
    "Resize": [
        _p(_IMAGE, None, [1.0, 1.0, 2.0, 2.0], varies={"mode": ("nearest", "linear")}),
        _p(_IMAGE, None, [1.0, 1.0, 2.0, 2.0], attrs={"cubic_coeff_a": -0.5}, varies={"mode": ("cubic",)}),
    ],
    "ReverseSequence": [_p((3, 2), [1, 2])],
    "RoiAlign": [_p(_IMAGE, (1, 4), [0])],
    "RotaryEmbedding": [_p((1, 2, 3, 4), (1, 3, 2), (1, 3, 2))],
    "STFT": [_p((1, 8, 1), (), None, ())],
    "ScatterElements": [
        _p((3, 3), [[0, 1, 0]], (1, 3), varies={"reduction": ("none", "add", "mul", "max", "min")}),
    ],
    "ScatterND": [_p((3, 3), [[1], [0]], (2, 3), varies={"reduction": ("none", "add", "mul", "max", "min")})],
    "Slice": [_p(_MATRIX, [0], [1], [0], [1])],
    "SpaceToDepth": [_p((1, 1, 4, 4), attrs={"blocksize": 2})],
    "Split": [_p((2, 3), attrs={"num_outputs": 2}, outputs=2)],
    "TensorScatter": [_p((1, 2, 4, 2), (1, 2, 1, 2), [0])],
    "Tile": [_p(_MATRIX, [2, 1])],
    "TopK": [_p(_MATRIX, [1], outputs=2)],
    "Trilu": [_p(_MATRIX)],
    "Unique": [_p(_MATRIX)],
    "Unsqueeze": [_p(_MATRIX, [0])],
    "Where": [_p(_MATRIX, _MATRIX, _MATRIX)],
}
PROBES["Pad"].append(_p(_MATRIX, [0, 1, 0, 1], varies={"mode": ("wrap",)}, since=19))
PROBES["Squeeze"] = [_p((2, 1), [1])]
