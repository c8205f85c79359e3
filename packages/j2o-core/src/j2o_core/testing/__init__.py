"""The testing kit, for our plugins and for third-party ones."""

from ._check import DTYPES as DTYPES
from ._check import Spec as Spec
from ._check import check as check
from ._construct import Construction as Construction
from ._construct import construct_and_call as construct_and_call
from ._expect_graph import expect_graph as expect_graph
from ._graph_text import graph_text as graph_text
from ._not_in_memory import NotInMemory as NotInMemory
from ._wrong_rewrite import WrongRewrite as WrongRewrite
from ._wrong_rewrite import wrong_rewrite as wrong_rewrite
