"""Faults on purpose: savers that race, killed processes, interrupts, forks, damaged checkpoints, large programs.

`nox -s faults` runs all of it in about ten minutes; `nox -s faults -- --share 0.01 --seed 7` a hundredth of it. Each
trial prints its seed and what it found; the exit status says whether anything was wrong.
"""

import argparse
import os
import random
import sys
import time
import warnings
from collections.abc import Callable

from exporting import forks, interrupts
from growth import large_programs, nested_scans, symbolic_dimensions
from reading import damaged_checkpoints, flipped_bits
from saving import damaged_models, killed_savers, two_savers

warnings.filterwarnings("ignore", message=r"os\.fork\(\)|.*multi-threaded.*")

# The trials, and how often each is run in all.
TRIALS: dict[Callable[[random.Random, int], list[str]], int] = {
    two_savers: 1000,
    killed_savers: 180,
    damaged_models: 500,
    interrupts: 500,
    forks: 500,
    damaged_checkpoints: 5000,
    flipped_bits: 500,
    large_programs: 10_000,
    nested_scans: 20,
    symbolic_dimensions: 6,
}


def main() -> int:
    """Run the trials; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all rounds")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--only", choices=[trial.__name__ for trial in TRIALS])
    options = parser.parse_args()
    count = 0
    for trial, rounds in TRIALS.items():
        if options.only not in (None, trial.__name__):
            continue
        rounds = max(3, round(rounds * options.share))
        print(f"{trial.__name__}: {rounds} rounds, seed {options.seed}", flush=True)
        begin = time.monotonic()
        wrong = trial(random.Random(f"{trial.__name__} {options.seed}"), rounds)
        print(f"  {len(wrong)} wrong, {time.monotonic() - begin:.0f} s", *wrong[:5], sep="\n  ", flush=True)
        count += len(wrong)
    print(f"{len(TRIALS) if options.only is None else 1} trials: {count} wrong")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
