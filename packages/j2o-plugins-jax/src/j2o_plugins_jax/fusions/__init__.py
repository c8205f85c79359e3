"""Fusions: what was written by hand, recognised in the lowered graph. One operator a file, before and after on top."""

# ruff: noqa: I001  (rules for the same operator are tried in the order of these lines)

from .weights import _transposed_products as _transposed_products
from .attention import _attention as _attention
from .attention import _layout as _layout
from . import _average_pool as _average_pool
from . import _cancelled as _cancelled
from .activations import _clip as _clip
from . import _conditions as _conditions
from .activations import _elu as _elu
from .activations import _gelu as _gelu
from .norms import _batch_norm as _batch_norm
from .norms import _group_norm as _group_norm
from .norms import _group_norm_last as _group_norm_last
from .activations import _hard_swish as _hard_swish
from .norms import _layer_norm as _layer_norm
from .activations import _leaky_relu as _leaky_relu
from . import _masked_products as _masked_products
from . import _filled_outside as _filled_outside
from . import _narrow_clips as _narrow_clips
from . import _gathered_numbers as _gathered_numbers
from . import _gathered_vectors as _gathered_vectors
from . import _integer_division as _integer_division  # before choices that are sums
from . import _integer_choices as _integer_choices
from . import _known_indices as _known_indices
from . import _negative_indices as _negative_indices
from .activations import _relu as _relu
from .weights import _repeated_constants as _repeated_constants
from .recurrent import _recurrent as _recurrent
from .norms import _rms_norm as _rms_norm
from .attention import _rotary as _rotary
from . import _saturated as _saturated
from .weights import _scaled_products as _scaled_products
from . import _short_spans as _short_spans
from .activations import _silu as _silu
from . import _single_elements as _single_elements
from .activations import _softmax as _softmax
from .activations import _softplus as _softplus
from .activations import _softsign as _softsign
from .activations import _thresholded_relu as _thresholded_relu
from . import _tiny_products as _tiny_products
from . import _unsigned_shifts as _unsigned_shifts
