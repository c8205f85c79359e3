"""How composites transform: JVP, transpose and batching, derived from their bodies."""

from ._plugin import plugin as plugin
