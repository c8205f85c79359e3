"""Every fault of ONNX Runtime's CPU kernels and graph optimizer that is known here: one row each.

The witnesses are the tests: each is run as it is, and has to be wrong in the releases that a row names and right
in the others; and it is run legalized, where it has to be right. The page of known faults is generated from the rows.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from ._dtypes import FLOAT8, FLOATS, INTEGERS
from ._workaround import Witness, Workaround

T = ir.DataType

_WORDS = (T.INT32, T.INT64, T.UINT32, T.UINT64)
_FLOATS = (T.FLOAT16, T.FLOAT, T.DOUBLE)
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
)

_UPSTREAM = "https://github.com/microsoft/onnxruntime"

_NAN = float("nan")
_INF = float("inf")
_BIG = 3_000_000_000  # negative as an int32

WORKAROUNDS: tuple[Workaround, ...] = (
    # Sums and products of integers
    Workaround(
        "reduce-sum-integers",
        ("ReduceSum",),
        _WORDS,
        "kernel",
        "Integers are summed in float64: wrong above 2^53, and the limit of the type where a sum has to wrap.",
        "Products with vectors of ones.",
        Witness(
            "g (int32[2] x) => (int32 y) <int64[1] axes = {0}> { y = ReduceSum <keepdims = 0> (x, axes) }",
            ([2147483647, 2147483647],),
            -2,
        ),
        upstream=f"{_UPSTREAM}/pull/28743",
        cost=0.3,
    ),
    Workaround(
        "einsum-integers",
        ("Einsum",),
        _WORDS,
        "kernel",
        "A label of one operand alone is summed in float64, as by ReduceSum.",
        "ReduceSum before the product.",
        Witness(
            'g (int32[2] x) => (int32 y) { y = Einsum <equation = "i->"> (x) }',
            ([2147483647, 2147483647],),
            -2,
        ),
        cost=0.3,
    ),
    Workaround(
        "reduce-prod-integers",
        ("ReduceProd",),
        _WORDS,
        "kernel",
        "Integers are multiplied in float64: the product saturates where it has to wrap.",
        "Products of halves, log2(n) of them.",
        Witness(
            "g (int32[4] x) => (int32 y) <int64[1] axes = {0}> { y = ReduceProd <keepdims = 0> (x, axes) }",
            ([1048577] * 4,),
            4194305,
        ),
        upstream=f"{_UPSTREAM}/pull/28743",
        cost=0.6,
    ),
    Workaround(
        "mod-64-bits",
        ("Mod",),
        (T.INT64, T.UINT64),
        "kernel",
        "With fmod=1 the remainder is computed in float64.",
        "x - x / z * z; without signs, fmod=0.",
        Witness(
            "g (int64[1] x, int64[1] z) => (int64[1] y) { y = Mod <fmod = 1> (x, z) }",
            ([2**60 + 1], [10]),
            [(2**60 + 1) % 10],
        ),
        fixed=(1, 32),
        cost=1.2,
    ),
    # Order
    Workaround(
        "max-int64",
        ("Max", "Min"),
        (T.INT64,),
        "kernel",
        "Two numbers that agree in their upper 32 bits are ordered by the lower 32 as if these had a sign.",
        "Where(a > b, a, b).",
        Witness("g (int64[2] a, int64[2] b) => (int64[2] y) { y = Max (a, b) }", ([3, _BIG], [_BIG, 3]), [_BIG, _BIG]),
        fixed=(1, 32),
        upstream=f"{_UPSTREAM}/pull/25280",
        cost=11.6,
    ),
    Workaround(
        "clip-int64",
        ("Clip",),
        (T.INT64,),
        "kernel",
        "Numbers are ordered as by Max.",
        "Comparisons and Where.",
        Witness("g (int64[2] x) => (int64[2] y) <int64 low = {5}> { y = Clip (x, low) }", ([3, _BIG],), [5, _BIG]),
        fixed=(1, 32),
        upstream=f"{_UPSTREAM}/pull/25280",
        cost=1.4,
    ),
    Workaround(
        "sign-int64",
        ("Sign",),
        (T.INT64,),
        "kernel",
        "Numbers are compared with 0 as by Max.",
        "(x > 0) - (x < 0).",
        Witness("g (int64[16] x) => (int64[16] y) { y = Sign (x) }", ([3, _BIG] * 8,), [1] * 16),
        fixed=(1, 32),
        upstream=f"{_UPSTREAM}/pull/25280",
        cost=2.5,
    ),
    Workaround(
        "reduce-max-int64",
        ("ReduceMax", "ReduceMin"),
        (T.INT64,),
        "kernel",
        "Numbers are ordered as by Max.",
        "The elements at ArgMax or ArgMin.",
        Witness(
            "g (int64[16] x) => (int64 y) <int64[1] axes = {0}> { y = ReduceMax <keepdims = 0> (x, axes) }",
            ([3] * 8 + [_BIG] * 8,),
            _BIG,
        ),
        fixed=(1, 32),
        upstream=f"{_UPSTREAM}/pull/25280",
        cost=1.0,
    ),
    Workaround(
        "relu-int64",
        ("Relu",),
        (T.INT64,),
        "kernel",
        "Numbers are ordered as by Max.",
        "Where(x > 0, x, 0).",
        Witness("g (int64[16] x) => (int64[16] y) { y = Relu (x) }", ([3] * 8 + [_BIG] * 8,), [3] * 8 + [_BIG] * 8, 18),
        fixed=(1, 32),
        upstream=f"{_UPSTREAM}/pull/25280",
    ),
    # NaN, infinities and zeros with a sign
    Workaround(
        "reduce-max-nan",
        ("ReduceMax", "ReduceMin"),
        _FLOATS,
        "kernel",
        "NaN is lost unless it comes first.",
        "NaN where x == x does not hold for all elements.",
        Witness(
            "g (float[3] x) => (float y) <int64[1] axes = {0}> { y = ReduceMax <keepdims = 0> (x, axes) }",
            ([1.0, _NAN, 2.0],),
            _NAN,
        ),
        upstream=f"{_UPSTREAM}/issues/10514",
        cost=2.3,
    ),
    Workaround(
        "log-softmax-nan",
        ("LogSoftmax",),
        (T.DOUBLE,),
        "kernel",
        "A row with NaN or infinity holds numbers.",
        "NaN where Softmax is NaN.",
        Witness("g (double[3] x) => (double[3] y) { y = LogSoftmax (x) }", ([1.0, _NAN, 2.0],), [_NAN] * 3),
        cost=2.3,
    ),
    Workaround(
        "max-pool-nan",
        ("MaxPool", "GlobalMaxPool"),
        _FLOATS,
        "kernel",
        "NaN is lost.",
        'With `nonfinite="exact"`, a quotient, or Where, with the kinds of numbers in each window.',
        Witness(
            "g (float[1,1,3] x) => (float[1,1,1] y) { y = MaxPool <kernel_shape = [3]> (x) }",
            ([[[1.0, _NAN, 2.0]]],),
            [[[_NAN]]],
        ),
        cost=3.2,
    ),
    Workaround(
        "max-pool-minus-infinity",
        ("MaxPool", "GlobalMaxPool"),
        (T.FLOAT,),
        "kernel",
        "A window of minus infinity gives the lowest finite number.",
        "As for NaN.",
        Witness(
            "g (float[1,1,3] x) => (float[1,1,1] y) { y = MaxPool <kernel_shape = [3]> (x) }",
            ([[[-_INF, -_INF, -_INF]]],),
            [[[-_INF]]],
        ),
        cost=3.1,
    ),
    Workaround(
        "scatter-max-nan",
        ("ScatterND", "ScatterElements"),
        _FLOATS,
        "kernel",
        "With the reductions max and min, NaN is lost.",
        "NaN where a Scatter of IsNaN says so.",
        Witness(
            'g (float[3] x, int64[2,1] i, float[2] u) => (float[3] y) { y = ScatterND <reduction = "max"> (x, i, u) }',
            ([1.0, _NAN, 2.0], [[0], [1]], [_NAN, 2.0]),
            [_NAN, _NAN, 2.0],
        ),
        cost=4.0,
    ),
    Workaround(
        "sign-half-nan",
        ("Sign",),
        (T.FLOAT16, T.BFLOAT16),
        "kernel",
        "NaN becomes 0.",
        "Sign of float32.",
        Witness("g (float16[1] x) => (float16[1] y) { y = Sign (x) }", ([_NAN],), [_NAN]),
        unusable=True,
        cost=7.1,
    ),
    Workaround(
        "where-negative-zero",
        ("Where",),
        _FLOATS,
        "kernel",
        "-0 becomes 0 where the condition chooses it; the last operand keeps its zeros.",
        "The operands change places, or a product with 1 and -1.",
        Witness(
            "g (bool[1] c, float[1] x) => (float[1] y) <float[1] one = {1.0}> "
            "{ w = Where (c, x, one) y = Div (one, w) }",
            ([True], [-0.0]),
            [-_INF],
        ),
        cost=1.0,
    ),
    # Nothing to compute with
    Workaround(
        "reduce-empty-negative-axes",
        _REDUCTIONS,
        (T.BOOL, *FLOATS, *INTEGERS),
        "kernel",
        "Negative axes of an operand without elements are not reduced.",
        "Axes counted from the front.",
        Witness(
            "g (float[3,0] x) => (float[3] y) <int64[1] axes = {-1}> { y = ReduceSum <keepdims = 0> (x, axes) }",
            ([[], [], []],),
            [0.0] * 3,
        ),
        fixed=(1, 32),
    ),
    Workaround(
        "reduce-empty-bool",
        ("ReduceMax", "ReduceMin"),
        (T.BOOL,),
        "kernel",
        "An operand without elements fails.",
        "The reduction of uint8.",
        Witness(
            "g (bool[3,0] x) => (bool[3] y) <int64[1] axes = {1}> { y = ReduceMin <keepdims = 0> (x, axes) }",
            ([[], [], []],),
            [True] * 3,
        ),
        fails=True,
    ),
    Workaround(
        "matmul-empty-floats",
        ("MatMul",),
        (T.FLOAT16, T.FLOAT, T.DOUBLE),
        "kernel",
        "With nothing to sum, some products are memory as it was found; vectors times empty batches fail.",
        "A sum over the columns of one operand plus a sum over the rows of the other.",
        Witness("g (float[0,3] a, float[3] b) => (float[0] y) { y = MatMul (a, b) }", ([], [1.0, 1.0, 1.0]), []),
        fixed=(1, 32),
        fails=True,
        upstream=f"{_UPSTREAM}/issues/11895",
    ),
    Workaround(
        "windows-empty",
        ("Conv", "ConvTranspose", "MaxPool", "AveragePool"),
        (T.FLOAT16, T.FLOAT, T.DOUBLE, T.INT8, T.UINT8),
        "kernel",
        "An operand without elements fails.",
        "What windows of padding give. Where a constraint says that a size may be 0, an If around the operator.",
        Witness("g (float[1,1,0] x) => (float[1,1,0] y) { y = MaxPool <kernel_shape = [1]> (x) }", ([[[]]],), [[[]]]),
        fails=True,
    ),
    Workaround(
        "attention-empty",
        ("Attention",),
        (T.FLOAT16, T.FLOAT),
        "kernel",
        "Without queries or without keys it fails.",
        "Zeros. Where a constraint says that a size may be 0, an If around the operator.",
        Witness(
            "g (float[1,1,1,2] q, float[1,1,0,2] k, float[1,1,0,1] v) => (float[1,1,1,1] y) "
            "{ y = Attention (q, k, v) }",
            ([[[[0.1, 0.7]]]], [[[]]], [[[]]]),
            [[[[0.0]]]],
            23,
        ),
        fails=True,
    ),
    Workaround(
        "scatter-empty",
        ("ScatterND", "ScatterElements"),
        (T.BOOL, *FLOATS, *INTEGERS),
        "kernel",
        "Updates of an operand without elements fail.",
        "The operand. Where a constraint says that a size may be 0, an If around the operator.",
        Witness(
            "g (float[0] x, int64[1,1] i, float[1] u) => (float[0] y) { y = ScatterND (x, i, u) }",
            ([], [[0]], [1.0]),
            [],
        ),
        fails=True,
    ),
    Workaround(
        "matmul-empty-integers",
        ("MatMul",),
        _WORDS,
        "kernel",
        "Products of uint32 and uint64 with nothing to sum fail.",
        "As for floats.",
        Witness(
            "g (uint32[3,0] a, uint32[0,4] b) => (uint32[3,4] y) { y = MatMul (a, b) }",
            ([[], [], []], []),
            [[0] * 4] * 3,
        ),
        fails=True,
    ),
    # Casts
    Workaround(
        "cast-float64-float8",
        ("Cast",),
        (T.DOUBLE,),
        "kernel",
        "The number is rounded to float32 first: next to the middle of two numbers of the type, it becomes the other.",
        "A float32 number on the same side of the middle.",
        Witness(
            "g (double[1] x) => (float[1] y) { n = Cast <to = 17, saturate = 0> (x) y = Cast <to = 1> (n) }",
            ([5.25 + 2.0**-40],),
            [5.5],
        ),
    ),
    Workaround(
        "cast-powers-of-two",
        ("Cast",),
        (T.FLOAT, T.BFLOAT16, T.DOUBLE),
        "kernel",
        "E8M0 rounded to nearest: NaN above 2^127, where 2^127 is nearest; numbers below 2^-126 become NaN or 2^-127.",
        "Numbers clipped to the range before.",
        Witness(
            "g (float[1] x) => (float[1] y) "
            '{ n = Cast <to = 24, saturate = 0, round_mode = "nearest"> (x) y = Cast <to = 1> (n) }',
            ([1.25 * 2.0**127],),
            [2.0**127],
            opset=24,
        ),
    ),
    Workaround(
        "cast-float8-overflow",
        ("Cast",),
        (*FLOATS, *INTEGERS),
        "kernel",
        "With saturate=0, overflow to float8 gives the largest number (E4M3FN) or NaN (E5M2).",
        "The number times NaN or infinity, where it is beyond the limit.",
        Witness(
            "g (float[1] x) => (float[1] y) { n = Cast <to = 17, saturate = 0> (x) y = Cast <to = 1> (n) }",
            ([480.0],),
            [_NAN],
        ),
        cost=1.2,
    ),
    Workaround(
        "cast-float8-bool",
        ("Cast",),
        (*FLOAT8, T.FLOAT8E8M0),
        "kernel",
        "-0 becomes True, and 2^-127 of E8M0 False.",
        "A comparison with 0.",
        Witness(
            "g (float[1] x) => (bool[1] y) { n = Cast <to = 19, saturate = 0> (x) y = Cast <to = 9> (n) }",
            ([-0.0],),
            [False],
        ),
        cost=1.6,
    ),
    Workaround(
        "cast-4-bits",
        ("Cast",),
        (*FLOATS, *FLOAT8),
        "kernel",
        "Floats are rounded to 4-bit integers; to all other integers they are truncated.",
        "A cast to int32 in between.",
        Witness("g (float[1] x) => (int8[1] y) { n = Cast <to = 22> (x) y = Cast <to = 3> (n) }", ([0.5],), [0]),
        upstream=f"{_UPSTREAM}/issues/26451",
        cost=0.8,
    ),
    Workaround(
        "cast-chains",
        ("Cast",),
        (*INTEGERS, T.BFLOAT16),
        "optimizer",
        "float -> wide integer -> narrow integer becomes one undefined conversion; float -> bfloat16 -> int8 is not "
        "rounded to bfloat16.",
        "A Reshape to the same shape between the casts.",
        Witness(
            "g (double[1] x) => (int32[1] y) { n = Cast <to = 7> (x) y = Cast <to = 6> (n) }", ([2.0**40 + 123],), [123]
        ),
        cost=3.2,
    ),
    Workaround(
        "shape-of-cast",
        ("Shape",),
        (*INTEGERS, *FLOATS),
        "optimizer",
        "A cast before Shape is left out, and there is no kernel for the shape of 4-bit integers.",
        "The shape of the same numbers with an axis of size 1 in front, from its second size on.",
        Witness(
            "g (float[2] x) => (int64[1,2] y) "
            "{ n = NonZero (x) a = Cast <to = 22> (n) b = Cast <to = 3> (a) s = Shape (b) c = Cast <to = 7> (a) "
            "y = Sub (s, c) }",
            ([1.0, 2.0],),
            [[1, 1]],
        ),
        fails=True,
    ),
    Workaround(
        "cast-widens-float16",
        ("Cast",),
        (T.FLOAT16,),
        "optimizer",
        "Operators without a float16 kernel are computed in float32, and a cast that follows gets the number before it "
        "was rounded.",
        "A Reshape to the same shape before the cast.",
        Witness("g (float16[1] x) => (float[1] y) { s = Mul (x, x) y = Cast <to = 1> (s) }", ([300.0],), [_INF]),
        cost=1.0,
    ),
    Workaround(
        "cast-narrows-float16",
        ("Cast",),
        (T.FLOAT, T.DOUBLE, T.BFLOAT16, T.INT16, T.UINT16, *_WORDS),
        "optimizer",
        "A cast to float16 is left out where what follows is computed in float32.",
        "A Reshape to the same shape behind the cast.",
        Witness("g (float[1] x) => (float16[1] y) { n = Cast <to = 10> (x) y = Mul (n, n) }", ([1.0004],), [1.0]),
        cost=1.4,
    ),
    Workaround(
        "compares-float16",
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        (T.FLOAT16,),
        "optimizer",
        "What is computed may be compared before it was rounded to float16: a number does not equal its own slice.",
        "A comparison in float32 of both sides, rounded.",
        Witness(
            "g (float16[1] x, float16[1] z) => (bool[1] y) { s = Mul (x, x) y = Equal (s, z) }",
            ([0.0999755859375], [0.0999755859375**2]),
            [True],
        ),
        cost=1.2,
    ),
    Workaround(
        "orders-float16",
        ("ArgMax", "ArgMin", "TopK"),
        (T.FLOAT16,),
        "optimizer",
        "What is computed may be ordered before it was rounded to float16: of equal numbers another one comes first.",
        "The operator in float32, of rounded numbers.",
        Witness(
            "g (float16[2] x) => (int64[1] y) { s = Mul (x, x) y = ArgMax <axis=0> (s) }",
            ([300.0, 400.0],),
            [0],
        ),
        cost=1.1,
    ),
    # Operators that are merged
    Workaround(
        "reciprocal-times",
        ("Div",),
        (T.INT32, T.INT64),
        "optimizer",
        "(1 / y) * z becomes z / y.",
        "(y == 1) - (y == -1).",
        Witness(
            "g (int64[3] y, int64[3] z) => (int64[3] p) <int64 one = {1}> { q = Div (one, y) p = Mul (q, z) }",
            ([1, 2, 3], [5, 6, 7]),
            [5, 0, 0],
        ),
        cost=0.7,
    ),
    Workaround(
        "scaled-product-float64",
        ("Mul", "Div"),
        (T.DOUBLE,),
        "optimizer",
        "A number next to a MatMul is merged into it as a float32.",
        "The number along an axis, which is not merged.",
        Witness(
            "g (double[1,2,2] a, double[1,2,2] b) => (double[1,2,2] y) <double c = {0.1}> "
            "{ p = MatMul (a, b) y = Mul (p, c) }",
            ([[[1.0, 0.0], [0.0, 1.0]]], [[[1.0, 2.0], [3.0, 4.0]]]),
            [[[0.1, 0.2], [0.3, 0.4]]],
            rtol=1e-12,
        ),
        fixed=(1, 32),
        cost=1.0,
    ),
    Workaround(
        "scaled-convolution",
        ("Mul",),
        (T.FLOAT,),
        "optimizer",
        "A constant behind Conv is merged into the weights, which may overflow where no result does.",
        "A Reshape to the same shape in between, where the weights would not stay normal numbers.",
        Witness(
            "g (float[1,1,2] x) => (float[1,1,2] y) <float[1,1,1] w = {1e20}, float c = {1e30}> "
            "{ n = Conv (x, w) y = Mul (n, c) }",
            ([[[1e-30, 0.0]]],),
            [[[1e20, 0.0]]],
            rtol=1e-6,
        ),
    ),
    Workaround(
        "transposed-matrix-times-vector",
        ("MatMul",),
        FLOATS,
        "optimizer",
        "The transpose before a product with a vector is lost.",
        "The vector as a matrix of one column.",
        Witness(
            "g (float[2,2] a, float[2] v) => (float[2] y) { t = Transpose <perm = [1, 0]> (a) y = MatMul (t, v) }",
            ([[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0]),
            [31.0, 42.0],
        ),
        cost=0.0,
    ),
    # Functions that are inlined and inexact
    *(
        Workaround(
            f"{op_type.lower()}-float64",
            (op_type,),
            (T.DOUBLE,),
            "kernel",
            "An inlined function computes log(1 + exp(x)) or exp(x) - 1, which cancels.",
            "Operators that do not cancel.",
            Witness(f"g (double[1] x) => (double[1] y) {{ y = {op_type} (x) }}", ([x],), [expected], 18, rtol=1e-12),
            unusable=True,
        )
        for op_type, x, expected in (
            ("Elu", -1e-12, -1e-12),
            ("Selu", -1e-12, -1.05070102214813232 * 1.67326319217681885 * 1e-12),
            ("Softplus", -40.0, 4.248354255291589e-18),
            ("Mish", -40.0, -40.0 * 4.248354255291589e-18),
        )
    ),
    Workaround(
        "attention-float64",
        ("Attention",),
        (T.DOUBLE,),
        "kernel",
        "An inlined function computes in float32.",
        "MatMul and Softmax of float64.",
        Witness(
            "g (double[1,1,1,2] q, double[1,1,2,2] k, double[1,1,2,1] v) => (double[1,1,1,1] y) "
            "{ y = Attention (q, k, v) }",
            ([[[[0.1, 0.7]]]], [[[[0.3, 0.2], [0.5, 0.1]]]], [[[[1.0], [0.0]]]]),
            [[[[1 / (1 + math.exp((0.1 * (0.5 - 0.3) + 0.7 * (0.1 - 0.2)) / math.sqrt(2)))]]]],
            23,
            rtol=1e-12,
        ),
        unusable=True,
    ),
    Workaround(
        "gelu-float64",
        ("Gelu",),
        (T.DOUBLE,),
        "kernel",
        "An inlined function has constants of float32.",
        "Operators of float64.",
        Witness(
            'g (double[1] x) => (double[1] y) { y = Gelu <approximate = "tanh"> (x) }',
            ([1.0],),
            [0.8411919906082768],
            20,
            rtol=1e-12,
        ),
        unusable=True,
    ),
    Workaround(
        "hard-swish-float64",
        ("HardSwish",),
        (T.DOUBLE,),
        "kernel",
        "An inlined function has a constant of float32.",
        "Operators of float64.",
        Witness("g (double[1] x) => (double[1] y) { y = HardSwish (x) }", ([1.0],), [2 / 3], 18, rtol=1e-12),
        unusable=True,
    ),
)
