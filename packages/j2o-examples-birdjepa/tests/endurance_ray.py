"""Two workers of Ray write what this process writes."""

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import soundfile

from j2o_examples_birdjepa import BirdMae, BirdMaeConfig, embed, export


@pytest.mark.filterwarnings("default")  # warnings of Ray at its start are not ours to judge
def test_ray_and_this_process_write_the_same(tmp_path):
    (tmp_path / "archive").mkdir()
    for number in range(6):
        sound = np.random.default_rng(number).standard_normal(32_000 * (number + 1)) / 10
        soundfile.write(tmp_path / "archive" / f"{number}.wav", sound, 32_000)
    (tmp_path / "archive" / "broken.wav").write_bytes(b"nothing")
    config = BirdMaeConfig(embed_dim=16, depth=1, n_heads=2, patch_h=64, patch_w=64)
    export(BirdMae(config, key=jax.random.key(0))).save(tmp_path / "m.onnx")
    here = embed(tmp_path / "m.onnx", tmp_path / "archive", tmp_path / "here.parquet", per_part=2)
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    try:
        there = embed(tmp_path / "m.onnx", tmp_path / "archive", tmp_path / "ray.parquet", per_part=2, engine="ray")
    finally:
        ray.shutdown()
    assert there.corrupt == here.corrupt
    assert len(there.corrupt) == 1
    one, other = pq.read_table(here.output), pq.read_table(there.output)
    assert one.select(["file", "start"]).equals(other.select(["file", "start"]))
    vectors = [np.array(table["embedding"].to_pylist(), np.float32) for table in (one, other)]
    np.testing.assert_allclose(*vectors, atol=1e-6)
