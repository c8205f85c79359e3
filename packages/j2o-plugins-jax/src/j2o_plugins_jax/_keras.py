"""Keras models on its JAX backend: their functions, and files of them. Keras itself is not imported."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import jax

from j2o_core import OnnxProgram, SpecError, to_onnx

_NO_JAX = """Keras runs on {backend}, whose arrays JAX cannot trace. Set KERAS_BACKEND=jax in the environment before
keras is imported, and build or load the model there."""
_NO_INPUTS = """The model {name} does not say what its inputs are. Begin it with keras.Input, or give
inputs=[...], one spec per argument, such as ("B", 224, 224, 3)."""


def keras_function(model: Any) -> Callable[..., Any]:
    """A Keras model in inference as a JAX function that holds its variables, each under its path.

    Args:
        model: a built `keras.Model`, `keras.Sequential` among them, on the backend `jax`.

    Raises:
        SpecError: if Keras runs on another backend.
    """
    backend = sys.modules["keras"].config.backend() if "keras" in sys.modules else "jax"
    if backend != "jax":
        raise SpecError(_NO_JAX.format(backend=backend))

    def call(variables: dict[str, Any], *inputs: Any) -> Any:
        trainable = [variables[variable.path] for variable in model.trainable_variables]
        others = [variables[variable.path] for variable in model.non_trainable_variables]
        return model.stateless_call(trainable, others, *inputs, training=False)[0]

    return functools.partial(call, {variable.path: variable.value for variable in model.variables})


def keras_export(model: Any, path: str | os.PathLike[str], inputs: Any = None, **options: Any) -> OnnxProgram:
    """Write a Keras model in inference as an ONNX file; takes the place of `model.export(path, format="onnx")`.

    Args:
        model: a built `keras.Model` on the backend `jax`.
        path: the file.
        inputs: specs of the arguments, as `to_onnx` takes them; those of `keras.Input` without. A first size of None is
            the batch `B`, another one a symbol of its own, named after the input and the axis.
        options: those of `to_onnx`.

    Raises:
        SpecError: if Keras runs on another backend, or the model has no known inputs.
        J2oError: another one, as `to_onnx` and `OnnxProgram.save` raise them.
    """
    function = keras_function(model)
    if inputs is None:
        tensors = getattr(model, "_inputs_struct", None) or getattr(model, "inputs", None)
        if tensors is None:
            raise SpecError(_NO_INPUTS.format(name=getattr(model, "name", model)))
        options.setdefault("input_names", [tensor.name for tensor in jax.tree.leaves(tensors)])
        tensors = tensors[0] if isinstance(tensors, list) and len(tensors) == 1 else tensors
        inputs = [jax.tree.map(_spec, tensors)]  # several tensors are one argument
    program = to_onnx(function, inputs, **options)
    program.save(path)
    return program


def _spec(tensor: Any) -> jax.ShapeDtypeStruct:
    sizes = enumerate(tensor.shape)
    shape = tuple((f"{tensor.name}_{axis}" if axis else "B") if size is None else size for axis, size in sizes)
    return jax.ShapeDtypeStruct(shape, tensor.dtype)
