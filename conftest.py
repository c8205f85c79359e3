"""Settings that all tests of the repository run under, whichever package they belong to."""

import importlib.util
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A key used twice is a bug in a test as in a model; JAX finds it when asked.
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "1")

if importlib.util.find_spec("hypothesis"):  # not every package draws examples
    from hypothesis import settings

    # The first example of a shape compiles it: no deadline is fair. The same examples come on every machine.
    settings.register_profile("j2o", deadline=None, derandomize=True)
    settings.load_profile("j2o")
