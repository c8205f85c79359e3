"""An archive of any length is embedded in bounded memory: 10,000 clips of five seconds in less than 2 GB."""

import os
import subprocess
import sys

import jax
import numpy as np
import pyarrow.parquet as pq
import soundfile

from j2o_examples_birdjepa import BirdMae, BirdMaeConfig, export

CLIPS = 10_000
SCRIPT = """
import resource, sys
from pathlib import Path
from j2o_examples_birdjepa import embed
embed(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_an_archive_in_bounded_memory(tmp_path):
    sound = np.random.default_rng(0).standard_normal(5 * 32_000) / 10
    (tmp_path / "archive").mkdir()
    first = tmp_path / "archive" / "0.flac"
    soundfile.write(first, sound, 32_000)
    for number in range(1, CLIPS):
        os.link(first, first.with_name(f"{number}.flac"))
    config = BirdMaeConfig(embed_dim=16, depth=1, n_heads=2, patch_h=64, patch_w=64)
    export(BirdMae(config, key=jax.random.key(0))).save(tmp_path / "m.onnx")

    paths = [tmp_path / "m.onnx", tmp_path / "archive", tmp_path / "out.parquet"]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, paths)], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.splitlines()[-1])  # Linux counts in kilobytes
    print(f"{CLIPS:,} clips: {kilobytes / 1e6:.2f} GB at the most")
    assert kilobytes * 1024 < 2e9
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == CLIPS
