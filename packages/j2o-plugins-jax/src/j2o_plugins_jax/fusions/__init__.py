"""Fusions: what was written by hand, recognised in the lowered graph. One operator a file, before and after on top."""

from . import _attention as _attention
from . import _attention_layout as _attention_layout
from . import _average_pool as _average_pool
from . import _clip as _clip
from . import _elu as _elu
from . import _gelu as _gelu
from . import _group_norm as _group_norm
from . import _group_norm_last as _group_norm_last
from . import _hard_swish as _hard_swish
from . import _layer_norm as _layer_norm
from . import _leaky_relu as _leaky_relu
from . import _negative_indices as _negative_indices
from . import _relu as _relu
from . import _repeated_constants as _repeated_constants
from . import _rms_norm as _rms_norm
from . import _rotary as _rotary
from . import _scaled_products as _scaled_products
from . import _silu as _silu
from . import _softmax as _softmax
from . import _softplus as _softplus
from . import _softsign as _softsign
from . import _thresholded_relu as _thresholded_relu
