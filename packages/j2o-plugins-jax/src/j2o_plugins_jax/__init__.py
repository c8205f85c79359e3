"""Lowerings of JAX's primitives and of its own composites, one page per family."""

from . import _arithmetic as _arithmetic
from . import _attention as _attention
from . import _bitcast as _bitcast
from . import _bits as _bits
from . import _comparisons as _comparisons
from . import _control_flow as _control_flow
from . import _conversions as _conversions
from . import _convolution as _convolution
from . import _creation as _creation
from . import _dot_general as _dot_general
from . import _joining as _joining
from . import _padding as _padding
from . import _passing as _passing
from . import _pooling as _pooling
from . import _powers as _powers
from . import _reductions as _reductions
from . import _rounding as _rounding
from . import _shapes as _shapes
from . import _slicing as _slicing
from . import _special_erf as _special_erf
from . import _transcendental as _transcendental
from . import _trigonometry as _trigonometry
from . import fusions as fusions
from ._plugin import plugin as plugin
