"""A model file that ONNX's checker accepts, with the weights that were saved: in the file or beside it."""

from __future__ import annotations

import os
import re

import onnx_ir as ir

from .._errors import CheckError
from ._digests import DIGEST, check_digests
from ._external_data import check_external_data


def read_model(path: str | os.PathLike[str], *, in_memory: bool = False) -> ir.Model:
    """The model in a file.

    Args:
        path: the file.
        in_memory: whether weights beside it are read now, rather than when they are used.

    Raises:
        CheckError: if there is no such file, or it is not valid ONNX, or a weight is not the one that was saved.
    """
    import onnx

    path = os.fspath(path)
    if not os.path.isfile(path):
        raise CheckError(
            f"{path} is a folder. Expected an .onnx file." if os.path.isdir(path) else f"There is no file {path}."
        )
    try:
        onnx.checker.check_model(os.path.abspath(path), full_check=True)
        model = ir.load(path)
        check_external_data(model)
        check_digests(model)
        if in_memory:
            ir.external_data.load_to_model(model)
    except CheckError as error:
        raise CheckError(f"{path} is not a valid ONNX model: {error}") from error
    except Exception as error:  # protobuf, the checker and the reader each have errors of their own
        raise CheckError(f"{path} is not a valid ONNX model: {str(error).strip() or type(error).__name__}") from error
    return model


def take_weights(model: ir.Model) -> None:
    """Weights become arrays, those beside the model mapped ones, as an export has them, to be saved as it is saved."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        props = {key: text for key, text in tensor.metadata_props.items() if key != DIGEST}
        value.const_value = ir.Tensor(tensor.numpy(), tensor.dtype, name=name, metadata_props=props)
        if not re.fullmatch(r"const_\d+(_\d+)?", name):
            value.meta["j2o_name"] = name
