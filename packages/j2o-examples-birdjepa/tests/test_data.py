"""Sources, batches that do not depend on how they are made, corrupt files, and iterators that resume."""

import collections
import itertools
import os
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from j2o_examples_birdjepa import (
    ArrayRecordSource,
    Batches,
    DataConfig,
    DataError,
    FolderSource,
    GaussianNoise,
    NpzSource,
    make_data,
    one_pass,
    write_shards,
)

NOISE = (GaussianNoise(0.1),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("songs")
    assert make_data(path, per_class=2, held_out=0.5) == 16
    return path


def as_set(batches):
    """Elements by index: what is made of a recording, whatever batch it came in."""
    found = {}
    for batch in batches:
        for index, data in zip(batch["index"], batch["data"], strict=True):
            found[int(index)] = data.tobytes()
    return found


def test_songs_are_flac_with_an_index(folder):
    source = FolderSource(folder)
    assert len(source) == 16
    assert len(source.classes) == 8
    assert len(FolderSource(folder, split="train")) == 8
    assert source[0].label == source.classes[source[0].target]
    info = soundfile.info(source[3].name)
    assert (info.format, info.samplerate) == ("FLAC", 32_000)
    assert 2 <= info.duration <= 8
    np.testing.assert_array_equal(source.multi_hot().sum(axis=1), 1)


def test_songs_to_choose_by_lie_between_those_to_learn_from_and_to_test(tmp_path):
    make_data(tmp_path, per_class=3, held_out=1 / 3, choose=1 / 3)
    splits = {split: FolderSource(tmp_path, split=split) for split in ("train", "choose", "test")}
    assert {split: len(source) for split, source in splits.items()} == {"train": 8, "choose": 8, "test": 8}
    assert len({source[place].name for source in splits.values() for place in range(8)}) == 24


def write_index(path, columns, rows):
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]), "utf-8")


def test_layouts(tmp_path):
    write_index(tmp_path / "metadata.csv", ["id", "gen", "sp", "file-name"], [(1, "Parus", "major", "a.mp3")])
    (xeno_canto,) = FolderSource(tmp_path)
    assert xeno_canto.label == "Parus major"
    assert xeno_canto.name == str(tmp_path / "a.mp3")
    table = {
        "filepath": ["x.ogg", "x.ogg"],
        "ebird_code_multilabel": [["b", "a"], []],
        "start_time": [0.0, 5.0],
        "end_time": [5.0, 10.0],
    }
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "test_5s.parquet")
    birdset = FolderSource(tmp_path / "test_5s.parquet")
    assert birdset.classes == ("a", "b")
    np.testing.assert_array_equal(birdset.multi_hot(), [[1, 1], [0, 0]])
    assert (birdset[0].target, birdset[1].target) == (1, -1)
    assert (birdset[1].start, birdset[1].end, birdset[1].samples()) == (5.0, 10.0, 160_000)


def test_a_part_of_a_file(folder, tmp_path):
    name = FolderSource(folder)[0].name
    write_index(tmp_path / "index.csv", ["file", "label", "start", "end"], [(name, "x", 0.5, 1.5)])
    part = FolderSource(tmp_path)[0]
    np.testing.assert_array_equal(part.read(0, 160_000), soundfile.read(name, dtype="float32")[0][16_000:48_000])


def test_index_errors(tmp_path):
    with pytest.raises(DataError, match="holds no index of recordings"):
        FolderSource(tmp_path)
    write_index(tmp_path / "index.csv", ["sound", "label"], [("a.wav", "x")])
    with pytest.raises(DataError, match="row 1 names no file; its columns are sound, label"):
        FolderSource(tmp_path)
    write_index(tmp_path / "index.csv", ["file", "label"], [("a.wav", "x")])
    with pytest.raises(DataError, match="row 1 has the label 'x', which is not a known class"):
        FolderSource(tmp_path, classes=["y"])
    with pytest.raises(DataError, match="lists no recordings of the split 'test'"):
        FolderSource(tmp_path, split="test")
    with pytest.raises(DataError, match=r"holds no \.npz shards"):
        NpzSource(tmp_path)


@pytest.mark.parametrize(("kind", "reader"), [("npz", NpzSource), ("array_record", ArrayRecordSource)])
def test_shards(folder, tmp_path, kind, reader):
    source = FolderSource(folder)
    assert write_shards(source, tmp_path, classes=source.classes, per_shard=7, kind=kind) == {}
    assert len(list(tmp_path.glob(f"*.{kind}"))) == 3
    shards = reader(tmp_path)
    assert len(shards) == 16
    assert shards.classes == source.classes
    for place in (0, 7, 15):
        assert (shards[place].target, shards[place].label) == (source[place].target, source[place].label)
        assert shards[place].samples() == source[place].samples()
        sound = source[place].read(100, 5000)
        np.testing.assert_allclose(shards[place].read(100, 5000), sound, atol=1e-4)


def test_epochs_are_shuffled_and_complete(folder):
    batches = Batches(FolderSource(folder), DataConfig(batch_size=4))
    indices = [batch["index"] for batch in itertools.islice(batches, 8)]
    first, second = np.concatenate(indices[:4]), np.concatenate(indices[4:])
    np.testing.assert_array_equal(np.sort(first), np.arange(16))
    np.testing.assert_array_equal(np.sort(second), np.arange(16))
    assert not np.array_equal(first, second)


def test_elements_depend_on_seed_epoch_and_index_alone(folder):
    source = FolderSource(folder)

    def epoch(**fields):
        config = DataConfig(**{"batch_size": 4, "augmentations": NOISE} | fields)
        return itertools.islice(Batches(source, config), 16 // config.batch_size)

    found = as_set(epoch())
    assert found == as_set(epoch(batch_size=8))
    assert all(found[index] != other for index, other in as_set(epoch(seed=1)).items())
    shares = [Batches(source, DataConfig(4, augmentations=NOISE), process=p, processes=2) for p in range(2)]
    assert found == as_set(batch for share in shares for batch in itertools.islice(share, 4))


def test_an_iterator_resumes_at_the_very_next_element(folder):
    batches = Batches(FolderSource(folder), DataConfig(3, augmentations=NOISE))
    for _ in range(4):
        next(batches)
    state = batches.get_state()
    expected = [next(batches) for _ in range(4)]  # into the next epoch
    other = Batches(FolderSource(folder), DataConfig(3, augmentations=NOISE))
    next(other)
    other.set_state(state)
    for one in expected:
        again = next(other)
        np.testing.assert_array_equal(one["index"], again["index"])
        np.testing.assert_array_equal(one["data"], again["data"])


@pytest.mark.slow
def test_worker_processes_give_the_same_elements_and_resume(folder):
    config = DataConfig(4, augmentations=NOISE, workers=2)
    alone = Batches(FolderSource(folder), DataConfig(4, augmentations=NOISE))
    several = Batches(FolderSource(folder), config)
    assert as_set(itertools.islice(alone, 4)) == as_set(itertools.islice(several, 4))
    state = several.get_state()
    expected = next(several)
    several.close()
    other = Batches(FolderSource(folder), config)
    other.set_state(state)
    np.testing.assert_array_equal(next(other)["data"], expected["data"])
    other.close()


def test_views_are_independent_crops(folder):
    source = FolderSource(folder)
    long = max(range(16), key=lambda place: source[place].samples())
    batch = next(Batches([source[long]], DataConfig(1, n_views=3)))
    assert batch["views"].shape == (1, 3, 512, 128)
    assert batch["target"].shape == (1,)
    assert np.abs(batch["views"][0, 0] - batch["views"][0, 1]).max() > 0.1


@pytest.mark.parametrize("truncate", ["start", "end"])
def test_fixed_crops(folder, truncate):
    source = FolderSource(folder)
    long = source[max(range(16), key=lambda place: source[place].samples())]
    batch = next(Batches([long], DataConfig(1, truncate=truncate)))
    from j2o_examples_birdjepa import transform

    wave = long.read(0, long.samples())
    np.testing.assert_array_equal(
        batch["data"][0], transform(wave[:160_000] if truncate == "start" else wave[-160_000:])
    )


def test_corrupt_files_are_passed_over_counted_and_named(folder, tmp_path):
    rows = [(FolderSource(folder)[place].name, "x") for place in range(3)]
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    write_index(tmp_path / "index.csv", ["file", "label"], [*rows, ("broken.flac", "x"), ("missing.wav", "x")])
    source = FolderSource(tmp_path)
    batches = Batches(source, DataConfig(3))
    counts = collections.Counter(int(i) for batch in itertools.islice(batches, 4) for i in batch["index"])
    assert counts.keys() == {0, 1, 2}
    assert sorted(name.rpartition("/")[2] for name in batches.corrupt) == ["broken.flac", "missing.wav"]
    assert all("cannot be read as sound" in reason for reason in batches.corrupt.values())
    (batch, corrupt), *rest = one_pass(source, DataConfig(3))
    np.testing.assert_array_equal(batch["index"], [0, 1, 2])
    assert corrupt == {}
    assert rest == []
    missing = write_shards(source, tmp_path / "shards", classes=source.classes)
    assert len(missing) == 2


def test_nothing_but_corrupt_files_is_an_error(tmp_path):
    write_index(tmp_path / "index.csv", ["file", "label"], [("a.wav", "x"), ("b.wav", "x")])
    with pytest.raises(DataError, match="no recording of 2 can be read"):
        next(Batches(FolderSource(tmp_path), DataConfig(1)))


def test_one_pass_ends(folder):
    """Evaluation over an endless iterator would never."""
    sizes = [len(batch["index"]) for batch, _ in one_pass(FolderSource(folder), DataConfig(6))]
    assert sizes == [6, 6, 4]


def test_no_accelerator_is_claimed(folder):
    """JAX in a loader's worker would take the memory of the accelerator: here there is none that it could take."""
    code = (
        "from j2o_examples_birdjepa import Batches, DataConfig, FolderSource; import sys;"
        "print(next(Batches(FolderSource(sys.argv[1]), DataConfig(2)))['data'].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"JAX_PLATFORMS": "none_such"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "(2, 512, 128)", done.stderr
