"""The plugin value that every family of this package registers on."""

from j2o_core import Plugin

plugin = Plugin("jax")
