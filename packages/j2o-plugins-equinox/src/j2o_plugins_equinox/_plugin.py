"""The plugin value that every page of this package registers on."""

from j2o_core import Plugin

plugin = Plugin("equinox", libraries=("equinox", "jaxtyping"))

plugin.module_class("equinox.Module", own_scopes=("eqx.",))
plugin.state_class("equinox.nn.State")
