"""Losses do not depend on the number of devices and processes: sums in another order differ by rounding."""

import csv
import os
import socket
import subprocess
import sys
import textwrap

import numpy as np

from j2o_examples_birdjepa import make_data

SCRIPT = """
import sys
from pathlib import Path
import jax
if len(sys.argv) > 3:
    jax.distributed.initialize(sys.argv[3], 2, int(sys.argv[4]))
from j2o_examples_birdjepa import *
config = TrainConfig(
    TransformerConfig(patch_h=64, patch_w=32, embed_dim=16, depth=2, n_heads=2, n_cls_tokens=2),
    LeJepaConfig(n_views=2, hidden=32), 8, optimizer=OptimizerConfig(lr=1e-3, n_steps=3),
    data=DataConfig(8, augmentations=(GaussianNoise(0.1),), n_views=2), save_every=2, eval_every=4,
)
train(config, FolderSource(sys.argv[1], split="train"), Path(sys.argv[2]), quiet=True)
"""


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if "sec_per" not in row["name"]]
    return {(int(row["step"]), row["name"]): float(row["value"]) for row in rows}


def start(folder, run, *arguments, **env):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(run), *arguments],
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_eight_devices_and_two_processes_find_the_same_losses(tmp_path):
    make_data(tmp_path / "songs", per_class=4, held_out=0.5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count="
    processes = [
        start(tmp_path / "songs", tmp_path / "two", address, str(rank), XLA_FLAGS=flags + "1") for rank in (0, 1)
    ]
    processes += [
        start(tmp_path / "songs", tmp_path / name, XLA_FLAGS=flags + n) for name, n in (("one", "1"), ("eight", "8"))
    ]
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    expected = losses(tmp_path / "one")
    for name in ("eight", "two"):
        found = losses(tmp_path / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=2e-3, atol=1e-5, err_msg=f"{name} {key}")
