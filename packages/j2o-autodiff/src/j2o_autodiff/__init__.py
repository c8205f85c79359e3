"""How composites transform: JVP, transpose and batching, derived from their bodies."""

from ._coverage import Row as Row
from ._coverage import coverage as coverage
from ._coverage import markdown as markdown
from ._plugin import plugin as plugin
