"""The plugin through which core gives every composite its rules."""

from j2o_core import Plugin

from ._rules import derive_rules

plugin = Plugin("autodiff")
plugin.transforms = derive_rules
