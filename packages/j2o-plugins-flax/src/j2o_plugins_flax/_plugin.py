"""The plugin value that every page of this package registers on."""

from j2o_core import Plugin

plugin = Plugin("flax", libraries=("flax",))

# Linen opens a named scope for each module that it calls, under the name of the instance: it needs no class here.
plugin.module_class("flax.nnx.Module")
