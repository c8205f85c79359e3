"""Compute the numbers of the references with PyTorch: `--write` keeps them, otherwise they must be those kept.

Run by `nox -s parity`. `test_parity.py` compares ours with what is kept, so that it needs no PyTorch.
"""

import argparse
import sys
from pathlib import Path

import audio_pt
import numpy as np
import objectives_pt
import optimizer_pt
import torch
import transformer_pt

FOLDER = Path(__file__).parent / "goldens"
REFERENCES = {
    "transformer": transformer_pt,
    "objectives": objectives_pt,
    "optimizer": optimizer_pt,
    "audio": audio_pt,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the numbers")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    wrong = 0
    for name, reference in REFERENCES.items():
        found = {key: np.asarray(value, np.float64) for key, value in reference.goldens().items()}
        path = FOLDER / f"{name}.npz"
        if write:
            np.savez_compressed(path, **found)
            print(f"{path}: {len(found)} arrays, {path.stat().st_size} bytes")
            continue
        with np.load(path) as kept:
            if kept.keys() != found.keys():
                print(f"{name}: other arrays than are kept: {sorted(kept.keys() ^ found.keys())}")
                wrong += 1
                continue
            # An exactly silent bin has the rounding of its neighbours for its value.
            differ = {k: np.abs(v - kept[k]).max() for k, v in found.items() if not np.allclose(v, kept[k], 1e-9, 1e-9)}
        wrong += len(differ)
        print(f"{name}: {len(found)} arrays, {len(differ)} differ from those kept")
        for key, difference in differ.items():
            print(f"  {key}: by {difference:.3g}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
