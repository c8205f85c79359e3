"""j2o with the npm package onnxruntime-web, in node or in Chromium: `nox -s web`."""

from __future__ import annotations

import inspect

import onnxruntime

import j2o_core

from .runtimes import Web
from .sessions import session_class


def use(folder: str, place: str) -> Web:
    """From now on, programs are exported for the package in `folder` and run in it.

    `to_onnx` has `target="onnxruntime-web"` where nothing else is said, and `onnxruntime.InferenceSession` is a class
    of ours.
    """
    runtime = Web(folder, place)
    onnxruntime.InferenceSession = session_class(runtime)
    inspect.unwrap(j2o_core.to_onnx).__kwdefaults__["target"] = "onnxruntime-web"
    return runtime
