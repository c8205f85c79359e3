"""Random small JAX programs, exported and compared with JAX.

    python tools/fuzz.py --seed 123      print the program, its outcome and, if it fails, a smaller one that does
    python tools/fuzz.py --count 2000    run seeds 0 to 1999; ends with 1 if any fails

Outcomes:

    pass      the numbers, dtypes and shapes are JAX's
    refused   a clear error: something has no ONNX form
    value     other numbers, dtypes or shapes: a silent wrong answer
    runtime   ONNX's checker or ONNX Runtime rejects the model, or it fails on the inputs
    error     an error that is not meant for users
    crash     the process died or hung
    jax       the process died in JAX, before there was anything to export
    reference ONNX's reference implementation fails on a model that ONNX's checker accepts, such as on 65 rows to sort

A line of a program is drawn from the table `OPERATIONS` and kept if JAX can run it on the values that are there. Every
fourth program has an axis of symbolic length: it is exported once and compared at each of `LENGTHS`. One in ten takes
and returns empty trees and Python numbers, one in ten is exported for no runtime and run by ONNX's reference
implementation.

How close floats have to be: as close as `verify` asks for to what JAX gives for the program compiled whole. Where they
are not, JAX runs it again operation by operation, and both ways with the last bit of each inexact result changed at
random. Where its own answers differ the program is ill-conditioned and ONNX Runtime may differ as much, times `SLACK`;
where an integer or a truth value differs among them, that output is not compared.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import inspect
import json
import math
import os
import random
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# An error of a line that does not fit is looked at by nobody.
os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")
# Each program is compiled anew and run once on few numbers.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as ir
from jax import lax
from jax.extend.core import InconclusiveDimensionOperation
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_loop import Loop as ReferenceLoop

import j2o_core
from j2o_core.graph._sizes import evaluate_dimension
from j2o_core.program._comparison import compare
from j2o_core.program._session import Session, as_fed

OPSETS = tuple(range(18, 27))
SLACK = 30
NOISY_RUNS = 3
LENGTHS = (7, 2, 1)  # of the symbolic axis; the first is that of a program's inputs
LARGEST = 1000  # elements of an array
TREES, STANDARD = 0.1, 0.1  # shares of programs
NUMBERS = {"2.5": 2.5, "3": 3, "True": True}  # Python's, among the results of a program
CHUNK = 200  # programs to a process: what JAX keeps of them is given back
TIMEOUT_S = 120  # for one program
GOOD = ("pass", "refused", "jax", "reference")  # outcomes that are no fault of ours
WRITTEN = "written"  # a process says so between JAX's part and ours

# Parts of the lines:
#   F I B N A   a float, integer, boolean, numeric, any array; with a digit another one, if possible broadcastable
#   S           a scalar integer array
#   AX K P C    an axis of the first array, a small integer, a size from 1 to 4, a simple float
#   DT MODE YES a dtype, how indices out of range are treated, True or False
#   EXPR(x, y)  an elementwise expression of these
#   LIKE(c, e)  `e` with the shape and dtype of `c`
#   SMALL(x)    `x` cut to numbers whose sums of products do not overflow: where they do, their order decides
# `~` stands before what different correct implementations round differently.
OPERATIONS = """
  N + N2
  N - N2
  N * N2
  -N
  F / F2
  I // I2
  N % N2
  jnp.fmod(N, N2)
  lax.rem(N, N)
  lax.div(I, LIKE(I, I2))
  jnp.abs(N)
  jnp.sign(N)
  jnp.square(N)
  jnp.sqrt(jnp.abs(F))
  jnp.maximum(A, A2)
  jnp.minimum(A, A2)
  jnp.clip(N, K, K)
  lax.clamp(LIKE(N, K), N, LIKE(N, N2))
  jnp.floor(F)
  jnp.ceil(F)
  jnp.round(F)
  jnp.trunc(F)
  jnp.nan_to_num(F)
  jnp.isnan(F)
  jnp.isfinite(F)
  jnp.signbit(jnp.nan_to_num(F))
  jnp.copysign(F, jnp.nan_to_num(F2))
  jnp.heaviside(F, F2)
  N > N2
  N <= N2
  A == A2
  A != A2
  I & I2
  I | I2
  I ^ I2
  ~I
  I << (I2 & 7)
  I >> (I2 & 7)
  lax.shift_right_logical(I, LIKE(I, K))
  lax.shift_left(I, LIKE(I, I2))
  lax.population_count(I)
  lax.clz(I)
  jnp.logical_and(B, B2)
  jnp.logical_xor(A, A2)
  ~B
  jnp.where(B, A, A2)
  jnp.where(A, N, K)
  lax.select(B, LIKE(B, A).astype(A.dtype), LIKE(B, A2).astype(A.dtype))
  A.astype(DT)
  A.astype(DT)
  A.astype(DT)
  lax.bitcast_convert_type(I, jnp.uint8)
  lax.reduce_precision(F, 5, 7)
  F.astype("float8_e4m3fn").astype("float32")
  F.astype("float8_e5m2").astype("float32")
  jnp.flip(F.astype("float8_e4m3fn"), 0).astype("bfloat16")
  jnp.where(B, I, I2).astype("int4").astype("int32")
  jnp.stack([I, I], 0).astype("uint4").astype("int32")

  A.reshape(-1)
  A.T
  A.reshape(A.shape[::-1])
  A.reshape(-1, P)
  jnp.swapaxes(A, AX, AX)
  jnp.moveaxis(A, AX, AX)
  jnp.expand_dims(A, AX)
  A[..., None]
  jnp.squeeze(A)
  jnp.broadcast_to(A, (P, *A.shape))
  jnp.concatenate([A, A2], AX)
  jnp.stack([A, A], AX)
  jnp.flip(A, AX)
  jnp.roll(A, K, AX)
  jnp.rot90(A, K)
  jnp.tile(A, P)
  jnp.repeat(A, P, axis=AX)
  jnp.repeat(A, jnp.abs(I), axis=AX, total_repeat_length=P)
  jnp.pad(A, P, mode="edge")
  jnp.pad(A, P, mode="reflect")
  lax.pad(A, LIKE(A[..., :0].sum().astype(A.dtype), K), [(K, K, P - 1)] * A.ndim)
  lax.rev(A, (0,))
  A[K]
  A[K:]
  A[..., K:]
  A[::K]
  A[..., ::-1]
  A[:, K:K]
  A[S]
  A[..., S]
  A[I]
  A[:, I]
  A[I, I]
  A.at[I].get(mode=MODE)
  A.at[..., S].get(mode=MODE)
  A.at[:, I].get(mode="fill", fill_value=K)
  jnp.take(A, I, axis=AX, mode=MODE)
  jnp.take(A, I)
  jnp.take_along_axis(A, jnp.argsort(N, AX), AX)
  jnp.take_along_axis(A, I, AX, mode=MODE)
  A.at[I].set(K, mode=MODE)
  A.at[K].set(A2)
  A.at[..., K].set(A2)
  A.at[I].set(A2, mode=MODE)
  A.at[..., I].set(K)
  A.at[I, I].set(K, mode=MODE)
  A.at[K:].set(K)
  A.at[::P].set(A2)
  N.at[I].max(N2, mode=MODE)
  N.at[I].min(K, mode=MODE)
  I.at[I2].add(K, mode=MODE)
  I.at[I2].multiply(K, mode=MODE)
  N.at[S].add(K)
  N.at[S].apply(jnp.abs)
~ F.at[I].add(F2, mode=MODE)
~ F.at[I].multiply(F2, mode=MODE)
  lax.dynamic_slice_in_dim(A, S, P, AX)
  lax.dynamic_index_in_dim(A, S, AX, YES)
  lax.dynamic_update_slice_in_dim(A, lax.dynamic_slice_in_dim(A, S, P, AX), S, AX)
  lax.dynamic_update_slice(A, A, [S] * A.ndim)
  jnp.split(A, P, AX)
  jnp.array_split(A, P, AX)
  jnp.tril(A, K)
  jnp.triu(A, K)
  jnp.diag(A)
  jnp.diagonal(A, K)
  jnp.fill_diagonal(A, K, inplace=False)
  jnp.eye(P, P, K, dtype=DT)
  jnp.arange(P).astype(DT)
  jnp.full((P, P), K, DT)
  lax.broadcasted_iota(DT, A.shape, A.ndim - 1)
  jax.nn.one_hot(I, P)
  jnp.sort(A, AX)
  jnp.sort(A, AX, descending=YES)
  jnp.argsort(A, AX)
  jnp.argsort(A, AX, descending=YES)
  lax.sort((N, LIKE(N, A)), dimension=AX)
  lax.sort((LIKE(N, A), N), dimension=AX, num_keys=2)
  lax.top_k(jnp.where(N == 0, 0, jnp.where(N == N, N, abs(N))), P)
  jnp.searchsorted(jnp.sort(N.ravel()), N2)
  jnp.searchsorted(jnp.sort(N.ravel()), N2, side="right", method="sort")
  jnp.nonzero(A, size=P, fill_value=K)
  jnp.unique(N, size=P, fill_value=K)
  jnp.bincount(jnp.abs(I.ravel()), length=P)
  jax.ops.segment_max(N, I.ravel(), P)
  jax.ops.segment_sum(I, I2.ravel(), P)

  jnp.max(N, AX)
  jnp.min(N, AX, keepdims=YES)
  jnp.max(N, initial=K)
  jnp.any(A, AX)
  jnp.all(A, AX)
  jnp.argmax(A, AX)
  jnp.argmin(A, AX)
  jnp.nanargmax(F, AX)
  jnp.nanmax(F, AX)
  jnp.sum(I, AX)
  jnp.sum(I)
  jnp.sum(I, AX, dtype=DT)
  jnp.sum(B, AX)
  jnp.prod(I, AX)
  jnp.count_nonzero(A, AX)
  jnp.cumsum(I, AX)
  jnp.cumprod(I, AX)
  jnp.bitwise_or.reduce(I, AX)
  lax.reduce_xor(I, (0,))
  lax.reduce_and(B, (0,))
  lax.reduce(I, LIKE(I.ravel()[0], K), lambda a, b: a + b, (0,))
  lax.reduce(N, LIKE(N.ravel()[0], K), jnp.maximum, (0,))
  lax.cummax(N, axis=0, reverse=YES)
  lax.cummin(N, axis=0, reverse=YES)
  lax.cumsum(I, axis=0, reverse=YES)
  lax.associative_scan(jnp.maximum, N, reverse=YES, axis=AX)
  lax.reduce_window(N, LIKE(N.ravel()[0], K), lax.max, (P,) * N.ndim, (P,) * N.ndim, "SAME")
~ jnp.sum(F, AX)
~ jnp.sum(F)
~ jnp.mean(N, AX)
~ jnp.prod(F, AX)
~ jnp.var(F, AX, keepdims=YES)
~ jnp.cumsum(F, AX)
~ jnp.cumprod(F, AX)
~ lax.cumsum(F, axis=0, reverse=YES)
~ lax.cumlogsumexp(F, axis=0, reverse=YES)
~ lax.reduce_window(F, LIKE(F.ravel()[0], 0), lax.add, (P,) * F.ndim, (1,) * F.ndim, "VALID")
~ jnp.nanmean(F, AX)
~ jnp.median(F, AX)
~ jnp.quantile(F, 0.3)
~ jnp.trapezoid(F, axis=AX)
~ jnp.diff(F, axis=AX)
~ jnp.linalg.norm(F, axis=AX)
~ jax.nn.logsumexp(F, AX)
~ jax.nn.softmax(F, AX)
~ jax.nn.log_softmax(F, AX)
~ jax.nn.standardize(F, AX)

  I @ I2
  jnp.dot(I, I2)
  I.T @ I2
  jnp.outer(I, I2)
~ F @ F2
~ F @ F2.T
~ F.T @ F2
~ jnp.dot(N, F)
~ jnp.vdot(F, F)
~ jnp.outer(F, F2)
~ jnp.einsum("...i,...i->...", N, N)
~ jnp.einsum("i...,j...->ij...", F, F2)
~ jnp.tensordot(F, F2, 1)
~ jnp.convolve(SMALL(F.ravel()), SMALL(F2.ravel()), "same")
~ lax.conv(F.reshape(1, 1, -1), jnp.nan_to_num(LIKE(F, F2)).reshape(1, 1, -1), (P,), "SAME")
~ lax.dot_general(I, I, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

~ jnp.abs(F + 1j * jnp.nan_to_num(F2))
~ jnp.real((F + 1j * F2) * (F2 - 1j * F))
~ jnp.imag(jnp.exp(1j * F))
~ jnp.real(jnp.conj(SMALL(F) + 2j) @ (SMALL(F2) + 1j).T)
~ jnp.abs(jnp.fft.ifft(jnp.fft.fft(SMALL(F) + 1j, axis=AX), axis=AX))
~ jnp.abs(jnp.fft.rfft(SMALL(F), axis=AX))
~ jnp.real(jax.vmap(lambda z: jnp.cumsum(z * 1j, 0))(F + 1j))
~ jnp.sin(F)
~ jnp.cos(F)
~ jnp.tan(F)
~ jnp.tanh(N)
~ jnp.arctan2(F, F2)
~ jnp.arcsinh(F)
~ jnp.exp(-jnp.abs(F))
~ jnp.exp2(jnp.sin(F))
~ jnp.log(jnp.abs(F) + C)
~ jnp.log1p(jnp.abs(F))
~ jnp.expm1(jnp.sin(F))
~ jnp.cbrt(F)
~ lax.rsqrt(jnp.abs(F) + C)
~ lax.erf(F)
~ lax.lgamma(jnp.abs(F) + 2.25)
~ jnp.power(jnp.abs(F) + C, F2)
~ jnp.power(N, P)
~ F ** K
~ lax.integer_pow(N, P)
~ N / P
~ F * C + C
~ jnp.hypot(F, F2)
~ jnp.logaddexp(F, F2)
~ jnp.sinc(F)
~ jnp.interp(F, jnp.arange(4.0), jnp.array([1.0, 3.0, -1.0, 2.0]))
~ jnp.polyval(jnp.array([1.0, -2.0, 0.5]), F)
~ jax.nn.gelu(F, approximate=YES)
~ jax.nn.silu(F)
~ jax.nn.sigmoid(F)
~ jax.nn.softplus(F)
~ jax.nn.elu(F)
  jax.nn.relu(N)
  jax.nn.relu6(N)
  jax.nn.hard_tanh(F)
~ jnp.linspace(C, C, P)
~ EXPR(N, N2)
~ EXPR(F, F2)

~ lax.cond(jnp.any(A), lambda t: LIKE(t, EXPR(t, A2)), lambda t: LIKE(t, EXPR(t)), N)
~ lax.switch(S, [lambda t: LIKE(t, EXPR(t)), lambda t: t, lambda t: LIKE(t, EXPR(t, N2))], N)
  lax.cond(S > K, lambda: A, lambda: jnp.flip(A))
  lax.fori_loop(0, P, lambda i, c: c.at[i % c.shape[0]].set(LIKE(c[0], i)), A)
~ lax.fori_loop(0, P, lambda i, c: LIKE(c, EXPR(c, i)), N)
~ lax.fori_loop(0, S % 5, lambda i, c: LIKE(c, EXPR(c)), N)
~ lax.while_loop(lambda s: s[0] < P, lambda s: (s[0] + 1, LIKE(s[1], EXPR(s[1], N2))), (0, N))
~ lax.scan(lambda c, x: (LIKE(c, EXPR(c, x)), EXPR(c, x)), N, N2)
~ lax.scan(lambda c, x: (LIKE(c, EXPR(c, x)), c), N[0], N, reverse=YES)
~ lax.scan(lambda c, _: (LIKE(c, EXPR(c)), c.sum()), N, length=P)
~ lax.map(lambda x: EXPR(x), N)
  lax.map(lambda x: jnp.sort(x), A)
~ jax.vmap(lambda x: EXPR(x, N2))(N)
~ jax.vmap(lambda x, y: EXPR(x, y), (0, None))(N, N2)
  jax.vmap(lambda x, i: x[i])(A, I)
  jax.vmap(lambda x, i: x.at[i].set(K), (0, None))(A, S)
  jax.vmap(lambda i: lax.dynamic_slice_in_dim(A, i, P))(I.ravel())
  jax.vmap(lambda x, i: lax.dynamic_update_slice_in_dim(x, x[:1], i, 0), (None, 0))(A, I.ravel())
  jax.vmap(lambda i: lax.cond(i > K, lambda: A, lambda: -A))(I)
~ jax.vmap(lambda i: lax.while_loop(lambda s: s[0] < i, lambda s: (s[0] + 1, LIKE(s[1], EXPR(s[1]))), (0, N)))(I % 5)
~ jax.vmap(lambda x, y: x @ y)(F, F2)
  jax.vmap(lambda i: lax.switch(i, [lambda: A, lambda: A[::-1]]))(I)
  jax.vmap(jnp.argmax)(N)
  jax.vmap(lambda x: jnp.cumsum(x, 0), 1, 1)(I)
~ jax.grad(lambda t: jnp.sum(EXPR(t, F2)).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.sum(jnp.abs(t * (2 + 1j)) ** 2).astype(jnp.float32))(F)
~ jax.vmap(jax.grad(lambda t: jnp.sum(EXPR(t)).astype(jnp.float32)))(F)
~ jax.vmap(lambda t: lax.cond(jnp.sum(t) > C, lambda: LIKE(t, EXPR(t)), lambda: t))(F)
~ jax.jvp(lambda t: lax.scan(lambda c, x: (LIKE(c, EXPR(c, x)), c), t[0], t)[1], (F,), (LIKE(F, C),))
  lax.while_loop(lambda s: s[0] < 7, lambda s: (s[0] + P, {"a": s[1]["a"] ^ 5}), (0, {"a": I}))[1]["a"]
  jnp.einsum("h...,h->h...", I, LIKE(I[(..., *[0] * (I.ndim - 1))], I2.ravel()[0]))
~ jax.grad(lambda t: jnp.sum(jax.nn.softmax(t, AX) * t).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.sum(jnp.max(t, AX)).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.sum(t[I] * C).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.sum(jnp.sort(t, AX) * t).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.sum(t @ F2).astype(jnp.float32))(F)
~ jax.grad(lambda t: jnp.prod(jnp.cumsum(t, AX)).astype(jnp.float32))(F)
~ jax.grad(lambda t: lax.scan(lambda c, x: (LIKE(c, EXPR(c, x)), None), t, F2)[0].sum().astype(jnp.float32))(F)
~ jax.jvp(lambda t: EXPR(t, N2), (F,), (LIKE(F, F2),))
~ jax.vjp(lambda t: jnp.where(B, t, C), F)[0]
~ jax.value_and_grad(lambda t: jnp.sum(lax.cond(S > 0, jnp.sin, jnp.square, t)).astype(jnp.float32))(F)
~ jax.checkpoint(lambda t: EXPR(t))(F)
~ jax.jit(lambda t: EXPR(t, N2))(N)
"""

# Comparisons are with what is seldom close: a last digit must not decide.
EXPRESSIONS = [
    *("{} + {}", "{} - {}", "{} * {}", "jnp.maximum({}, {})", "jnp.where({} > {} + 0.3719, {}, {})", "-{}", "abs({})"),
    *(
        "jnp.tanh({})",
        "jnp.sin({})",
        "{} * 0.5",
        "{} + 1",
        "jnp.minimum({}, 2)",
        "jnp.sum({}) + {}",
        "jnp.sqrt(abs({}))",
    ),
]
DTYPES = {
    False: ["float32", "float16", "bfloat16", "int8", "int16", "int32", "uint8", "uint16", "uint32", "bool"],
    True: ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool"],
}
USUAL = {False: ("float32", "int32", "bool"), True: ("float64", "int64", "bool")}
MODES = ("clip", "fill", "drop", "promise_in_bounds", "wrap")
KINDS = {
    "F": lambda dtype: jnp.issubdtype(dtype, jnp.floating),
    "I": lambda dtype: jnp.issubdtype(dtype, jnp.integer),
    "B": lambda dtype: dtype == np.bool_,
    "N": lambda dtype: dtype != np.bool_,
    "A": lambda dtype: True,
}


def like(target: Any, value: Any) -> Any:
    """A value with the shape and dtype of another. What becomes an integer is seldom close to where it would jump."""
    dtype = jnp.result_type(target)
    if jnp.issubdtype(jnp.result_type(value), jnp.floating) and not jnp.issubdtype(dtype, jnp.floating):
        value = jnp.floor(value + 0.3719)
    return jnp.broadcast_to(value, jnp.shape(target)).astype(dtype)


def small(value: Any) -> Any:
    """Finite numbers whose products and sums of these are finite, too."""
    return jnp.clip(jnp.nan_to_num(value), -99, 99)


HELPERS = (like, small)
NAMES = {"jax": jax, "jnp": jnp, "lax": lax, "np": np, "ml_dtypes": ml_dtypes, **{one.__name__: one for one in HELPERS}}


# -- Programs ----------------------------------------------------------------------------------------------------------


def _variables(source: str) -> set[str]:
    return set(re.findall(r"\bv\d+(?:_\d+)?\b", source))


@dataclass(frozen=True)
class Line:
    """An assignment: `targets = source`."""

    targets: tuple[str, ...]
    source: str
    inexact: bool

    def __str__(self) -> str:
        return f"{', '.join(self.targets)}{',' if len(self.targets) == 1 and self.many else ''} = {self.source}"

    @property
    def many(self) -> bool:
        """Whether the source gives several arrays."""
        return self.targets[0].endswith("_0")

    @property
    def reads(self) -> set[str]:
        """Variables in the source."""
        return _variables(self.source)


@dataclass(frozen=True)
class Program:
    """Lines, the values of the variables that they begin with, what they return, and how they are exported."""

    inputs: dict[str, Any]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]
    opset: int
    x64: bool
    symbolic: frozenset[str] = frozenset()  # inputs whose first axis is as long as the caller likes
    trees: bool = False  # empty trees among arguments and results, Python numbers among these
    standard: bool = False  # ONNX for no runtime, run by ONNX's reference implementation

    def at(self, length: int) -> Program:
        """With inputs of this length where it is symbolic."""
        shorter = {name: _array(np.asarray(self.inputs[name])[:length]) for name in self.symbolic}
        return replace(self, inputs={**self.inputs, **shorter})

    @property
    def specs(self) -> list[Any]:
        """The specs of the arguments, symbolic where the program is."""
        specs = [_spec(value) if name in self.symbolic else value for name, value in self.inputs.items()]
        return [*specs, *[{}] * self.trees]

    @property
    def definition(self) -> str:
        """The program as a function."""
        body = "\n".join(f"    {line}" for line in self.lines)
        arguments = [*self.inputs, *["nothing={}"] * self.trees]
        results = ["()", *self.outputs, "None", "{}"] if self.trees else self.outputs
        return f"def program({', '.join(arguments)}):\n{body}\n    return [{', '.join(results)}]\n"

    def __str__(self) -> str:
        """The program as a script."""
        values = (f"{name} = {_literal(value)}" for name, value in self.inputs.items())
        specs = [*(name + "_spec" * (name in self.symbolic) for name in self.inputs), *["{}"] * self.trees]
        return "\n".join(
            [
                "from typing import Any\n",
                "import jax, j2o_core, ml_dtypes, numpy as np\nfrom jax import lax, numpy as jnp\n",
                f"jax.config.update('jax_enable_x64', {self.x64})",
                *values,
                "",
                *("\n" + inspect.getsource(one) for one in HELPERS if f"{one.__name__}(" in self.definition),
                "",
                self.definition,
                *(
                    f"{name}_spec = jax.ShapeDtypeStruct(jax.export.symbolic_shape('{_sizes(self.inputs[name])}'), "
                    f"{name}.dtype)"
                    for name in self.inputs
                    if name in self.symbolic
                ),
                *(["# One scope for all: give them as shapes such as ('T', 3)."] if len(self.symbolic) > 1 else []),
                f"j2o_core.to_onnx(program, [{', '.join(specs)}], opset={self.opset}{', target=None' * self.standard})"
                f".verify({', '.join([*self.inputs, *['{}'] * self.trees])})",
            ]
        )

    @property
    def function(self) -> Any:
        """The program as a function that can be called."""
        names = dict(NAMES)
        exec(self.definition, names)
        return names["program"]

    def live(self) -> Program:
        """Without the lines and the inputs that nothing reads."""
        needed, lines = set(self.outputs), []
        for line in reversed(self.lines):
            if needed & set(line.targets):
                needed |= line.reads
                lines.append(line)
        inputs = {name: value for name, value in self.inputs.items() if name in needed}
        return replace(self, inputs=inputs, lines=tuple(reversed(lines)), symbolic=self.symbolic.intersection(inputs))


def _sizes(value: Any) -> str:
    return ", ".join(["T", *map(str, value.shape[1:])]) + ","


def _array(value: np.ndarray[Any, Any]) -> jax.Array:
    """An array of JAX, for which nothing is compiled."""
    return jax.device_put(value)


@functools.cache
def _scope() -> Any:
    return jax.export.SymbolicScope()


def _spec(value: Any) -> Any:
    return jax.ShapeDtypeStruct(jax.export.symbolic_shape(_sizes(value), scope=_scope()), value.dtype)


def _concrete(shape: Any, length: int = LENGTHS[0]) -> tuple[int, ...]:
    """The shape where the symbolic axis has this length."""
    return tuple(evaluate_dimension(size, {"T": length}) for size in shape)


def _literal(value: Any) -> str:
    array = np.asarray(value)
    if jax.typeof(value).weak_type and not array.ndim:
        return f"jax.numpy.asarray({array.item()!r})"  # a Python number, for `jax.jit`
    dtype = f"ml_dtypes.{array.dtype}" if array.dtype.name == "bfloat16" else f"np.{array.dtype.name}"
    dtype = "bool" if array.dtype == np.bool_ else dtype
    wide = array.astype(np.float64) if array.dtype.name == "bfloat16" else array
    text = re.sub(r"\b(nan|inf)\b", r"np.\1", repr(wide.tolist()))
    return f"np.array({text}, {dtype}).reshape({array.shape})"


class Writer:
    """Writes a program. Every line is traced as it comes; which values are fit to be compared is seen by running it."""

    def __init__(self, seed: int, share: float = 0.25):
        self.share = share  # of programs with an axis of symbolic length
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.values: dict[str, Any] = {}  # shapes and dtypes
        self.wild = self.rng.random() < 0.15  # NaN, infinities, numbers at the ends of their types

    def program(self) -> tuple[Program, list[Any]]:
        """One program, and what JAX gives for it; call under the x64 mode that it is for."""
        rng, x64 = self.rng, jax.config.jax_enable_x64
        sizes = [rng.choice((1, 2, 3, 3, 4, 5)) if rng.random() > 0.03 else 0 for _ in range(3)]
        usual = rng.random() < 0.5
        inputs = {}
        symbolic: set[str] = set()
        any_length = rng.random() < self.share
        trees, standard = rng.random() < TREES, rng.random() < STANDARD
        for index in range(rng.choice((2, 3, 4))):
            shape = tuple(size if rng.random() > 0.15 else 1 for size in sizes[rng.choice((0, 1, 1, 1, 2, 3)) :])
            dtype = USUAL[x64][index % 3] if usual else rng.choice(DTYPES[x64])
            if any_length and shape and shape[0] > 1 and rng.random() < 0.8:
                shape = (LENGTHS[0], *shape[1:])
                symbolic.add(f"v{index}")
            value = self.array(shape, np.dtype(dtype))
            inputs[f"v{index}"] = jnp.asarray(value.item()) if trees and not shape else value
        self.values.update(
            {name: _spec(value) if name in symbolic else jax.typeof(value) for name, value in inputs.items()}
        )
        lines: list[Line] = []
        templates = [line for line in OPERATIONS.splitlines() if line]
        wanted = rng.randint(5, 20)
        for _ in range(20 * wanted):
            if len(lines) == wanted:
                break
            template = rng.choice(templates)
            line = self.line(template[2:], template[0] == "~")
            if line is not None:
                lines.append(line)
        made = tuple(name for line in lines for name in line.targets)
        everything = Program(inputs, tuple(lines), made, rng.choice(OPSETS), x64, frozenset(symbolic))
        values = dict(zip(made, map(as_fed, jax.jit(everything.function)(*inputs.values())), strict=True))
        read = {name for line in lines for name in line.reads}
        tame = [name for name in made if self.is_tame(values[name])]
        outputs = tuple(name for name in tame if name not in read or rng.random() < 0.3) or made[-1:]
        answer = [values[name] for name in outputs]
        numbers = NUMBERS if trees else {}
        program = replace(everything, outputs=(*outputs, *numbers), trees=trees, standard=standard).live()
        return program, [*answer, *(as_fed(jnp.asarray(number)) for number in numbers.values())]

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Small numbers, those of floats exact in every dtype."""
        if dtype == np.bool_:
            return _array(self.numbers.integers(0, 2, shape).astype(bool))
        integer = jnp.issubdtype(dtype, jnp.integer)
        low = 0 if dtype.kind == "u" else -8
        values = (self.numbers.integers(low, 9, shape) / (1 if integer else 4)).astype(dtype)
        if self.wild and values.size:
            info = ml_dtypes.iinfo(dtype) if integer else ml_dtypes.finfo(dtype)
            special = [info.min, info.max, 0] if integer else _special_floats(info)
            values.reshape(-1)[self.rng.randrange(values.size)] = self.rng.choice(special)
        return _array(values)

    def line(self, template: str, inexact: bool) -> Line | None:
        """The template on variables that JAX can run it on, or nothing."""
        chosen: dict[str, str] = {}
        first: Any = None

        def variable(token: str) -> str:
            nonlocal first
            if token not in chosen:
                scalar = token == "S"
                kind = KINDS["I" if scalar else token[0]]
                fitting = [name for name, value in self.values.items() if kind(value.dtype)]
                if scalar:
                    fitting = [name for name in fitting if self.values[name].ndim == 0]
                    fitting = fitting or [f"jnp.int32({self.rng.randint(-3, 6)})"]
                elif first is not None:
                    fitting = [name for name in fitting if _broadcast(first, self.values[name])] or fitting
                chosen[token] = self.rng.choice(fitting)  # IndexError where there is none
                if first is None and not scalar:
                    first = self.values[chosen[token]]
            return chosen[token]

        try:
            source = re.sub(r"\b(?:[FIBNA]\d?|S)\b(?=[^(\"]|$)", lambda match: variable(match[0]), template)
            source = re.sub(r"\b(AX|K|P|C|DT|MODE|YES)\b", lambda match: self.number(match[0], first), source)
            while match := re.search(r"EXPR\(([^()]*(?:\([^()]*\))?[^()]*)\)", source):
                source = source[: match.start()] + self.expression(match[1].split(", ")) + source[match.end() :]
            for one in HELPERS:
                source = source.replace(f"{one.__name__.upper()}(", f"{one.__name__}(")
            read = {name: self.values[name] for name in _variables(source)}
            function = eval(f"lambda {', '.join(read)}: {source}", dict(NAMES))
            result = jax.eval_shape(function, *read.values())
            if not all(leaf.shape == _concrete(leaf.shape) for leaf in read.values()):
                # JAX may refuse a number where it traces a symbol.
                numbers = [jax.ShapeDtypeStruct(_concrete(v.shape), v.dtype) for v in read.values()]
                jax.eval_shape(function, *numbers)
        except Exception:  # noqa: BLE001 (the line does not fit the values: try another)
            return None
        name = f"v{sum(1 for value in self.values if '_' not in value) + len(self.values)}"
        leaves = list(result) if isinstance(result, (tuple, list)) else [result]
        if not leaves or any(np.prod(_concrete(leaf.shape)) > LARGEST or leaf.ndim > 5 for leaf in leaves):
            return None
        many = isinstance(result, (tuple, list))
        targets = tuple(f"{name}_{place}" for place in range(len(leaves))) if many else (name,)
        self.values.update(zip(targets, leaves, strict=True))
        return Line(targets, source, inexact)

    def number(self, token: str, first: Any) -> str:
        """The number that a token denotes, if it is no variable."""
        rng = self.rng
        choices: dict[str, Any] = {
            "AX": range(-first.ndim, first.ndim) if first is not None and first.ndim else (0,),
            "K": range(-4, 6),
            "P": range(1, 5),
            "C": (0.5, 0.25, -1.5, 2.0, 1e-3),
            "DT": [repr(dtype) for dtype in DTYPES[jax.config.jax_enable_x64]],
            "MODE": [repr(mode) for mode in MODES],
            "YES": (True, False),
        }
        return str(rng.choice(choices[token]))

    def expression(self, names: Sequence[str], depth: int = 0) -> str:
        """An elementwise expression."""
        rng = self.rng

        def operand() -> str:
            return rng.choice(names) if depth == 2 or rng.random() < 0.6 else self.expression(names, depth + 1)

        template = rng.choice(EXPRESSIONS)
        return f"({template.format(*(operand() for _ in range(template.count('{}'))))})"

    def is_tame(self, value: Any) -> bool:
        """Whether there is something to compare."""
        if not jnp.issubdtype(value.dtype, jnp.floating) or not value.size:
            return True
        wide = value.astype(np.float64)
        finite = np.isfinite(wide)
        limit = 1e38 if self.wild else 1e6
        return bool(2 * finite.sum() >= wide.size and np.abs(wide[finite]).max(initial=0) < limit)


def _special_floats(info: Any) -> list[float]:
    """Special floats beside small numbers; none that only one of XLA and ONNX Runtime loses (docs/support.md)."""
    # Half precision overflows inside a line in XLA alone, numbers below the tiny ones are zero for XLA alone.
    large = 200.0 if info.dtype == np.float16 else float(info.max)
    return [np.nan, np.inf, -np.inf, large, float(info.tiny) / float(info.eps), -0.0]


def _broadcast(left: Any, right: Any) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(left.shape[::-1], right.shape[::-1], strict=False))


# -- Comparing ---------------------------------------------------------------------------------------------------------


def disturbed_runs(program: Program, *, compiled: bool = True) -> list[list[Any]]:
    """The outputs, and several times the outputs with the last bits of inexact results changed.

    Once more where there is float16, with each line in float32: inside a line ONNX Runtime rounds nothing.
    """

    def function(factors_of_lines: Any, *inputs: Any, widened: bool = False) -> list[Any]:
        names = {**NAMES, **dict(zip(program.inputs, inputs, strict=True))}
        for line, factors in zip(program.lines, factors_of_lines, strict=True):
            exec(str(line), names)
            if widened:
                names |= _in_float32(line, names)
            floats = [names[name] for name in {*line.reads, *line.targets} if KINDS["F"](names[name].dtype)]
            epsilon = max((float(ml_dtypes.finfo(value.dtype).eps) for value in floats), default=0)
            if floats and any(KINDS["I"](names[n].dtype) and names[n].dtype.itemsize <= 4 for n in line.reads):
                epsilon = max(epsilon, float(np.finfo(np.float32).eps))  # functions of them are float32 inside
            # Both XLA and ONNX Runtime may compute several operations on half precision in float32.
            if epsilon and (line.inexact or epsilon > 1e-5):
                # Inside a line what it reads may cancel out: what is left is as inexact as that.
                noise = factors * epsilon
                if not compiled:  # NumPy compiles nothing
                    floats, noise = [np.asarray(x) for x in floats], np.asarray(noise)
                xp = jnp if compiled else np
                size = functools.reduce(xp.maximum, [_largest(x, xp) for x in floats])
                for name in line.targets:
                    if KINDS["F"](names[name].dtype):
                        value = names[name] if compiled else np.asarray(names[name])
                        disturbed = _disturbed(value, noise, size, xp)
                        names[name] = disturbed if compiled else _array(disturbed)
        return [NUMBERS[name] if name in NUMBERS else names[name] for name in program.outputs]

    random = np.random.default_rng(0).uniform(-1, 1, (1 + NOISY_RUNS, len(program.lines), LARGEST)).astype(np.float32)
    random[0] = 0
    inputs = list(program.inputs.values())
    if compiled:
        function = jax.jit(function, static_argnames="widened")
    with jax.disable_jit(not compiled):  # XLA computes what jnp compiles by itself in float32 too
        results = [function(noise, *inputs) for noise in random]
        if any(value.dtype == jnp.float16 for value in inputs) or "float16" in str(program):
            results.append(function(random[0], *inputs, widened=True))
    return [[as_fed(value) for value in values] for values in results]


def _in_float32(line: Line, names: dict[str, Any]) -> dict[str, Any]:
    """The result of a line for float16, computed in float32 and rounded at its end."""
    halves = {name: names[name] for name in {*line.reads, *line.targets} if names[name].dtype == jnp.float16}
    wide = {**names, **{name: value.astype(jnp.float32) for name, value in halves.items()}}
    try:
        exec(str(line), wide)
    except (TypeError, ValueError):  # it insists on float16
        return {}
    return {name: wide[name].astype(names[name].dtype) for name in line.targets}


def _largest(value: Any, xp: Any) -> Any:
    wide = value.astype("float32")
    return xp.max(xp.where(xp.isfinite(wide), xp.abs(wide), 0), initial=0)


def _disturbed(value: Any, noise: Any, size: Any, xp: Any) -> Any:
    noise = noise[: value.size].reshape(value.shape)
    wide = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    disturbed = (wide + noise.astype(wide.dtype) * xp.maximum(xp.abs(wide), size)).astype(value.dtype)
    disturbed = xp.where(xp.isfinite(wide) & (noise != 0), disturbed, value)
    if value.dtype != jnp.float16:
        return disturbed
    # An overflow need not be one in float32: the largest number stands in for the infinity.
    return xp.where(xp.isinf(value) & (noise != 0), xp.nan_to_num(value), disturbed)


def run(program: Program, known: dict[int, list[Any]] | None = None) -> tuple[str, str]:
    """Outcome and detail of a program; `known` is what JAX gives for it at some lengths."""
    with warnings.catch_warnings(), jax.enable_x64(program.x64), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            target = {"target": None} if program.standard else {}
            exported = j2o_core.to_onnx(program.function, program.specs, opset=program.opset, **target)
        except (j2o_core.UnsupportedError, j2o_core.LegalizeError) as error:
            return "refused", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the outcome)
            return "error", f"{type(error).__name__}: {error}"
        try:
            exported.check()
        except j2o_core.J2oError as error:
            return "runtime", str(error)
        try:
            session = Reference(exported.model) if program.standard else Session(exported.model, threads=1)
        except j2o_core.J2oError as error:
            return "reference" if program.standard else "runtime", str(error)
        for length in LENGTHS if program.symbolic else LENGTHS[:1]:
            outcome, problem = _compared(program.at(length), session, (known or {}).get(length))
            if problem:
                return outcome, f"{problem} (T is {length})" if program.symbolic else problem
    return "pass", ""


def _compared(program: Program, session: Session, answer: list[Any] | None) -> tuple[str, str]:
    """Outcome and detail on the inputs of a program."""
    arguments = list(program.inputs.values())
    answers = [answer or _jax_results(program)]
    try:
        results = session.run(arguments)
    except j2o_core.J2oError as error:
        return "reference" if program.standard else "runtime", str(error)
    problem = _problem(program.outputs, results, answers)
    if problem and program.symbolic:  # JAX may trace another program where it does not know the size
        try:
            exported = jax.export.export(jax.jit(program.function))(*program.specs)
            results_of_jax = exported.call(*arguments, *[{}] * program.trees)
            answers = [[as_fed(value) for value in jax.tree.leaves(results_of_jax)]]
            problem = _problem(program.outputs, results, answers)
        except (InconclusiveDimensionOperation, NotImplementedError, ValueError):  # not all that JAX traces compiles
            problem = "" if _holds_nothing(program) else problem
    for compiled in (True, False):
        if problem:
            with contextlib.suppress(ValueError):  # JAX runs no scan over nothing by its operations
                answers += disturbed_runs(program, compiled=compiled)
            problem = _problem(program.outputs, results, answers)
    return "value", problem


def _holds_nothing(program: Program) -> bool:
    """Whether some array is empty: JAX's functions do what they like then, where they know it."""
    targets = tuple(name for line in program.lines for name in line.targets)
    values = jax.eval_shape(replace(program, outputs=targets).function, *program.inputs.values())
    return any(value.size == 0 for value in jax.tree.leaves(values))


def _problem(names: Sequence[str], results: Sequence[Any], answers: Sequence[Sequence[Any]]) -> str:
    for name, got, *versions in zip(names, results, *answers, strict=True):
        problem, _ = compare(name, versions[0], _within_slack(got, versions))
        if problem:
            return problem
    return ""


def _within_slack(got: Any, versions: Sequence[Any]) -> Any:
    """ONNX Runtime's results, with JAX's in places where JAX's own answers differ as much."""
    want = versions[0]
    if got.shape != want.shape or got.dtype != want.dtype or not want.size:
        return got
    if not jnp.issubdtype(want.dtype, jnp.floating):
        return got if all(np.array_equal(want, other) for other in versions) else want
    if len(versions) == 1:
        return got
    wide, *rest = (array.astype(np.float64) for array in versions)
    spread = np.max([np.where(other == wide, 0, np.abs(other - wide)) for other in rest], 0)
    shaky = (np.isfinite(rest) != np.isfinite(wide)).any(0)
    settled = spread[np.isfinite(spread)]
    allowed = SLACK * (spread + (settled.mean() if settled.size else 0))
    return np.where(shaky | (np.abs(got.astype(np.float64) - wide) <= allowed), want, got)


class Erf(OpRun):
    """Erf of float64 in float64: ONNX's reference implementation computes it in float32."""

    op_domain = ""

    def _run(self, x: Any) -> tuple[Any]:
        return (np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype),)


class Loop(ReferenceLoop):
    """Scalars of the turns as a vector: ONNX's reference implementation gives each a row of its own."""

    op_domain = ""

    def __init__(self, node: Any, params: Any):
        super().__init__(node, params)
        (body,) = (attribute.g for attribute in node.attribute if attribute.name == "body")
        self._ranks = [len(output.type.tensor_type.shape.dim) for output in body.output[1:]]

    def _run(
        self, M: Any, cond: Any, *args: Any, context=None, body=None, attributes=None, bindings=None
    ) -> tuple[Any, ...]:
        options = {"context": context, "body": body, "attributes": attributes, "bindings": bindings}
        results = list(super()._run(M, cond, *args, **options))
        for place in range(self.N, len(self._ranks)):
            if self._ranks[place] == 0:
                results[place] = results[place].reshape(-1)
        return tuple(results)


class Reference:
    """Runs a model by ONNX's reference implementation; see `Session`."""

    def __init__(self, model: ir.Model):
        with self._named_errors():
            self._evaluator = ReferenceEvaluator(ir.to_proto(model), new_ops=[Erf, Loop])

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Results for arrays in the order of the inputs."""
        feed = dict(zip(self._evaluator.input_names, map(as_fed, arrays), strict=True))
        with self._named_errors():
            return list(self._evaluator.run(None, feed))

    @staticmethod
    @contextlib.contextmanager
    def _named_errors() -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise j2o_core.RunError(f"ONNX's reference implementation: {type(error).__name__}: {error}") from error


# -- Reducing ----------------------------------------------------------------------------------------------------------


def reduced(program: Program, outcome: str) -> Program:
    """A program that fails in the same way with fewer lines: one output, and inputs in place of what leads to it."""

    def fails(candidate: Program) -> bool:
        try:
            return run(candidate)[0] == outcome
        except Exception:  # noqa: BLE001 (JAX cannot run it)
            return False

    for name in program.outputs:
        alone = replace(program, outputs=(name,)).live()
        if fails(alone):
            program = alone
            break
    if program.symbolic:
        return program  # lines that lead to a value may have a length that no input can have
    with jax.enable_x64(program.x64):
        names = {**NAMES, **program.inputs}
        for line in program.lines:
            exec(str(line), names)
    for line in program.lines:
        values = {name: names[name] for name in line.targets if name not in program.outputs}
        if len(values) == len(line.targets):
            lines = tuple(other for other in program.lines if other != line)
            shorter = replace(program, inputs={**program.inputs, **values}, lines=lines).live()
            program = shorter if fails(shorter) else program
    return program


# -- Many programs -----------------------------------------------------------------------------------------------------


def write(seed: int) -> tuple[Program, dict[int, list[Any]]]:
    """The program of a seed, and what JAX gives for it at each length of its symbolic axis."""
    rng = random.Random(seed)
    with warnings.catch_warnings(), jax.enable_x64(rng.random() < 0.25):
        warnings.simplefilter("ignore")
        try:
            program, answer = Writer(seed).program()
            others = LENGTHS[1:] if program.symbolic else ()
            return program, {LENGTHS[0]: answer, **{length: _jax_results(program.at(length)) for length in others}}
        except (IndexError, TypeError, ValueError):  # JAX traces a line that it cannot compile, or run on what is empty
            program, answer = Writer(seed + 10**6, share=0).program()
            return program, {LENGTHS[0]: answer}


def _jax_results(program: Program) -> list[Any]:
    return [as_fed(value) for value in jax.tree.leaves(jax.jit(program.function)(*program.inputs.values()))]


def run_seeds(seeds: range) -> Iterator[dict[str, Any]]:
    """An outcome for each seed, from processes of their own."""
    while seeds:
        command = [sys.executable, __file__, "--first", str(seeds[0]), "--count", str(min(len(seeds), CHUNK)), "--json"]
        done, written = 0, False
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            for text in process.stdout or ():
                result = json.loads(text)
                written = result["outcome"] == WRITTEN
                if not written:
                    yield result
                    done += 1
        if done < min(len(seeds), CHUNK):
            outcome = "crash" if written else "jax"
            yield {"seed": seeds[done], "outcome": outcome, "detail": f"the process ended with {process.returncode}"}
            done += 1
        seeds = seeds[done:]


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="one program")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="seed of the first program")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="how many programs")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each program, in this process")
    options = parser.parse_args()
    if options.seed is not None:
        return one(options.seed)
    seeds = range(options.first, options.first + options.count)
    if options.json:
        import faulthandler

        gc.freeze()
        gc.set_threshold(100_000)  # JAX makes much garbage, little of it in circles
        for seed in seeds:
            faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
            program = write(seed)
            print(json.dumps({"seed": seed, "outcome": WRITTEN}), flush=True)
            outcome, detail = run(*program)
            print(json.dumps({"seed": seed, "outcome": outcome, "detail": detail}), flush=True)
        return 0
    counts: Counter[str] = Counter()
    for row in run_seeds(seeds):
        counts[row["outcome"]] += 1
        if row["outcome"] != "pass":
            print(f"{row['outcome']} --seed {row['seed']}: {row['detail'].splitlines()[0][:200]}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    return int(not counts.keys() <= set(GOOD))


def one(seed: int) -> int:
    """Print the program of a seed and how it went."""
    program, answers = write(seed)
    print(program)
    outcome, detail = run(program, answers)
    print(f"\n# {outcome} {detail}".rstrip())
    if outcome not in GOOD:
        smaller = reduced(program, outcome)
        print(f"\n# Smaller:\n{smaller}\n\n# {' '.join(run(smaller))}")
    return int(outcome not in GOOD)


if __name__ == "__main__":
    sys.exit(main())
