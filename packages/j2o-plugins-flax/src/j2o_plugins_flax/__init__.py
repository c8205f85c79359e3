"""Flax on top of JAX: nodes by the paths of modules, source lines that name the model instead of the library."""

from ._plugin import plugin as plugin
