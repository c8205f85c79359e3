"""Lowerings of JAX's primitives and of its own composites, one page per family."""

from . import _arithmetic as _arithmetic
from ._plugin import plugin as plugin
