"""How composites and primitives transform: JVP, transpose and batching, derived from a body or a reference."""

from ._coverage import PrimitiveRow as PrimitiveRow
from ._coverage import Row as Row
from ._coverage import coverage as coverage
from ._coverage import markdown as markdown
from ._coverage import primitive_coverage as primitive_coverage
from ._derive import derive as derive
from ._plugin import plugin as plugin
