"""A small JAX library with operations of its own, and the plugin that exports them to ONNX."""

from ._operations import pixel_shuffle, signed_sqrt
from ._plugin import plugin

__all__ = ["pixel_shuffle", "plugin", "signed_sqrt"]
