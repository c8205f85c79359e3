"""The plugin value that the clean-ups of this package are registered on."""

from ..plugin._plugin import Plugin

plugin = Plugin("core")
