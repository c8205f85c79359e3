"""The testing kit, for our plugins and for third-party ones."""

from ._check import DTYPES as DTYPES
from ._check import Spec as Spec
from ._check import check as check
