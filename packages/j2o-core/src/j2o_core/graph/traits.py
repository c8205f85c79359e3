"""Traits of ONNX's operators, each stated once: what inference, rewrites and workarounds ask of an operator's name.

    if node.op_type in traits.LAYOUT: ...
    layout = rw.producer(value, *traits.RESHAPES)

A trait holds at every opset that has the operator, for every element type. The first operand is the one that ONNX lists
first, whose name is `X`, `input` or `data` in most operators.
"""

RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")
"""The elements of the first operand in their order, along other axes."""

LAYOUT = (*RESHAPES, "Transpose")
"""The elements of the first operand, each once."""

MOVES = (
    *LAYOUT,
    *("Identity", "Flatten", "Expand", "Tile", "Slice", "Split", "Gather", "GatherElements", "GatherND"),
)
"""Every element of a result is one of the first operand."""

MAPS = (
    *("Abs", "Neg", "Sign", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Erf"),
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"),
    *("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Gelu", "Swish", "Mish", "Elu", "Selu", "Celu", "LeakyRelu"),
    *("ThresholdedRelu", "Softplus", "Softsign", "Clip", "Not", "BitwiseNot", "IsNaN", "IsInf"),
)
"""A function of each element of the first operand; further operands are numbers."""

COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")

OPPOSITES = {
    "Less": "GreaterOrEqual",
    "LessOrEqual": "Greater",
    "Greater": "LessOrEqual",
    "GreaterOrEqual": "Less",
}
"""For each comparison the one that holds where it does not, of numbers that are not NaN."""

TURNED = {
    "Less": "Greater",
    "LessOrEqual": "GreaterOrEqual",
    "Greater": "Less",
    "GreaterOrEqual": "LessOrEqual",
}
"""For each comparison the one that is the same with the two operands changed for one another."""

LOGIC = ("And", "Or", "Xor")

COMMUTATIVE = ("Add", "Mul", "Equal", *LOGIC, "BitwiseAnd", "BitwiseOr", "BitwiseXor")
"""The result is the same, bit for bit, with the two operands changed for one another."""

BROADCASTS = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Where"),
    *COMPARISONS,
    *LOGIC,
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"),
)
"""A function of elements at the same place, with NumPy's broadcasting among all operands."""

POINTWISE = (*MAPS, *BROADCASTS, "Cast", "Identity")
"""An element of the result depends on the elements at its place, as broadcasting places them, and on nothing else."""

SAME_SHAPE = (
    *MAPS,
    *("Cast", "BitCast", "Identity", "Softmax", "LogSoftmax", "CumSum", "CumProd", "Trilu", "RotaryEmbedding"),
    *("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "BatchNormalization"),
    *("ScatterElements", "ScatterND"),
)
"""The first result has the shape of the first operand."""

TRUTHS = (*COMPARISONS, *LOGIC, "Not", "IsNaN", "IsInf")
"""The result is boolean."""

ARG_REDUCTIONS = ("ArgMax", "ArgMin")

REDUCTIONS = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", *ARG_REDUCTIONS)
"""Elements along some axes become one; the attribute `keepdims` keeps these axes, with size 1."""

COUNTS = ("Shape", "NonZero", *ARG_REDUCTIONS)
"""int64 sizes of axes, or places along them: at least 0, and below 2**31."""

CONVOLUTIONS = ("Conv", "ConvTranspose")

CONTROL_FLOW = ("If", "Loop", "Scan")
"""Nested graphs compute the results."""

IGNORES_SIGN_OF_ZERO = (
    *("Abs", "Cos", "Cosh", "Exp", "Log", "Sigmoid", "Softmax", "LogSoftmax", "IsInf", "IsNaN"),
    *COMPARISONS,
    *ARG_REDUCTIONS,
    *("Attention", "Conv", "Gemm", "MatMul", "ReduceL2", "ReduceSum"),
)
"""The results are the same whether a zero among the operands is negative."""

PASSES_ZERO_ON = (
    *(*MOVES, "Concat"),
    *("Add", "Sub", "Mul", "Max", "Min", "Clip", "Neg", "Relu", "Sqrt", "Floor", "Ceil", "Round"),
    *("Sin", "Tanh", "Erf", "Sign", "ReduceMax", "ReduceMin", "ReduceMean"),
)
"""Where zeros among the operands have the other sign, the results are the same but for the sign of zeros."""

NO_NEGATIVE_ZERO = ("Abs", "Exp", "Log", "Sigmoid", "Sign", "Softmax")
"""No element of the result is a negative zero, with the kernels of ONNX Runtime too."""

NOT_DETERMINISTIC = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli")
"""Two nodes with the same operands and attributes give different results."""
