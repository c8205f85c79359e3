"""Rewrite: fusions and clean-ups, each a small rule anchored at an operator, run to a fixed point."""

from . import _broadcasts as _broadcasts
from ._driver import rewrite
from ._rewriter import Rewriter

__all__ = ["Rewriter", "rewrite"]
