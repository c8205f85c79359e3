"""Regenerate the texts of `expect_graph`: `python tools/emit_expect_graph.py packages/NAME/tests/test_x.py`."""

import sys

from j2o_core.testing.emit_expect_graph import main

if __name__ == "__main__":
    sys.exit(main())
