"""The names of all tests: workers, machines and days have to agree on them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def collected(seed: str) -> list[str]:
    """The names of the tests of all packages, as a process with this seed for hashes collects them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "packages"]
    environment = os.environ | {"PYTHONHASHSEED": seed}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [line for line in run.stdout.splitlines() if "::" in line]


def test_names_of_tests_depend_on_no_address_and_no_hash_seed():
    """Two processes lay their objects elsewhere and hash strings otherwise."""
    first, second = collected("1"), collected("2")
    assert len(first) > 5000
    assert first == second
