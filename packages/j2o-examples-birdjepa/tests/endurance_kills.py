"""A run that is killed at random moments finds the losses of one that was not; J2O_KILLS says how often."""

import csv
import os
import random
import subprocess
import sys
import time

from j2o_examples_birdjepa import make_data

KILLS = int(os.environ.get("J2O_KILLS", "20"))
STEPS = 3 * (KILLS + 1)
SCRIPT = """
import sys
from pathlib import Path
from j2o_examples_birdjepa import *
config = TrainConfig(
    TransformerConfig(patch_h=64, patch_w=64, embed_dim=16, depth=1, n_heads=2, use_scan=False, dropout=0.1),
    SupervisedConfig(8), 8, optimizer=OptimizerConfig(lr=1e-3, n_steps=int(sys.argv[3])),
    data=DataConfig(4, augmentations=(GaussianNoise(0.1),)), save_every=2,
)
train(config, FolderSource(sys.argv[1]), Path(sys.argv[2]), quiet=True)
"""


def start(folder, run):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(run), str(STEPS)])


def lines(run):
    try:
        with (run / "metrics.csv").open(newline="") as file:
            return [tuple(row) for row in csv.reader(file) if len(row) == 3 and "sec_per" not in row[1]]
    except FileNotFoundError:
        return []


def test_killed_and_continued(tmp_path):
    make_data(tmp_path / "songs", per_class=1)
    assert start(tmp_path / "songs", tmp_path / "whole").wait(600) == 0
    per_step = len(lines(tmp_path / "whole")) // STEPS
    draw = random.Random(0)
    for kill in range(KILLS):
        process = start(tmp_path / "songs", tmp_path / "parts")
        wanted = 1 + per_step * 3 * (kill + 1)
        while process.poll() is None and len(lines(tmp_path / "parts")) < wanted:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.2))
        process.kill()
        process.wait()
    assert start(tmp_path / "songs", tmp_path / "parts").wait(600) == 0
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
