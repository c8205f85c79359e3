"""A few of the random programs of tools/fuzz.py; `nox -s fuzz` runs many."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "fuzz.py"


def test_a_few_random_programs():
    done = subprocess.run([sys.executable, str(TOOL), "--count", "25"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
