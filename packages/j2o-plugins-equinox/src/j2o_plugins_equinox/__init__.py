"""Equinox on top of JAX: its own primitives, its files, and source lines that name the model instead of the library."""

from . import _control as _control
from . import _training as _training
from ._files import read_leaves as read_leaves
from ._plugin import plugin as plugin
