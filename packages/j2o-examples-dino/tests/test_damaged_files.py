"""Checkpoints are not trusted: any damage is one kind of error, and what is announced but not there takes no memory."""

import hashlib
import io
import json
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy

from j2o_examples_dino import CheckpointError, ConfigError, DinoConfig, build, from_state_dict, load, save, state_dict

from .torch_files import write_torch_file

CONFIG = DinoConfig(dim=16, depth=1, heads=2, patch_size=4)
CONTAINERS = ["safetensors", "eqx", "tar.lz4", "npz", "pth"]
CHECKED = ["safetensors", "tar.lz4", "npz", "pth"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One checkpoint in every container, by suffix."""
    pytest.importorskip("lz4")
    from .conftest import formula_weights

    folder = tmp_path_factory.mktemp("whole")
    weights = {name: array.astype(np.float32) for name, array in formula_weights(CONFIG).items()}
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"].reshape(-1)[: 16 * 3 * 16]
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"].reshape(16, 3, 4, 4)
    model = from_state_dict(weights, CONFIG)
    for suffix in CONTAINERS[:3]:
        save(folder / f"a.{suffix}", model)
    np.savez(folder / "a.npz", **weights)
    write_torch_file(folder / "a.pth", weights)
    return {suffix: (folder / f"a.{suffix}").read_bytes() for suffix in CONTAINERS}


def damaged(content, chance):
    """Truncated, with bytes changed, or with a piece left out or doubled."""
    kind = chance.randrange(4)
    place = chance.randrange(len(content))
    # Half of the damage lies where the descriptions are, at one end.
    if chance.random() < 0.5:
        place = min(place, chance.randrange(600)) if chance.random() < 0.5 else max(0, len(content) - 1 - place % 4000)
    if kind == 0:
        return content[:place]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 5)):
            changed[min(place + chance.randrange(16), len(content) - 1)] = chance.randrange(256)
        return bytes(changed)
    end = min(len(content), place + chance.randrange(1, 200))
    return content[:place] + content[end:] if kind == 2 else content[:end] + content[place:]


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_damage_is_a_checkpoint_error(whole, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole[suffix])
    load(path, CONFIG)
    chance = random.Random(suffix)
    refused = 0
    for _ in range(40):
        path.write_bytes(damaged(whole[suffix], chance))
        try:
            load(path, CONFIG)
        except CheckpointError as error:
            check_error(error, path)
            refused += 1
    assert refused >= 20


def check_error(error, path):
    """It names the file, the part of it that is wrong, and what to do, all in its text."""
    assert error.path == path
    assert error.record
    assert error.remedy
    for part in (str(path), error.record, error.remedy):
        assert part in str(error)


def test_damaged_shards_and_indices(whole, tmp_path):
    from safetensors.numpy import load as parse
    from safetensors.numpy import save_file

    tensors = sorted(parse(whole["safetensors"]).items())  # safetensors gives another order in each process
    parts = {f"model-{i}.safetensors": dict(tensors[i::2]) for i in range(2)}
    for name, part in parts.items():
        save_file(part, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, part in parts.items() for key in part}}))
    load(tmp_path, CONFIG)
    chance = random.Random(0)
    refused = 0
    for path in [index, *(tmp_path / name for name in parts)] * 20:
        content = path.read_bytes()
        path.write_bytes(damaged(content, chance))
        try:
            load(tmp_path, CONFIG)
        except CheckpointError as error:
            # Whether all tensors are there, the index tells or, where it tells less, the folder.
            check_error(error, tmp_path if error.path == tmp_path else index if error.path == index else path)
            refused += 1
        path.write_bytes(content)
    assert refused >= 30


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:7]), r"the header \(bytes 0 to \d+\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"the header \(bytes 0 to \d+\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), r"the weights \(bytes \d+ to \d+\)"),
    ],
)
def test_errors_name_the_bytes(whole, tmp_path, change, record):
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole["safetensors"])
    change(path)
    with pytest.raises(CheckpointError, match=record) as failure:
        load(path, CONFIG)
    check_error(failure.value, path)


def test_a_damaged_storage_is_named_with_its_tensor(whole, tmp_path):
    path = tmp_path / "a.pth"
    changed = bytearray(whole["pth"])
    changed[len(changed) // 3] ^= 1
    path.write_bytes(changed)
    with pytest.raises(
        CheckpointError, match=r"tensor '[\w.]+' in the entry '\w+/data/\d+' \(bytes \d+ to \d+\): .*checksum"
    ):
        load(path, CONFIG)


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings.cls_token": (1, 1, 16), "embeddings.mask_token": (0, 1, 16)},
        {"embeddings.cls_token": (), **{f"layer.0.attention.{letter}_proj.weight": () for letter in "qkv"}},
    ],
)
def test_tensors_that_the_layout_cannot_have(tensors, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, path)
    with pytest.raises(CheckpointError) as failure:
        load(path, CONFIG)
    check_error(failure.value, path)


@pytest.mark.parametrize("suffix", CHECKED)
def test_a_flipped_bit_of_a_weight_is_noticed(whole, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole[suffix])
    wanted = state_dict(load(path, CONFIG))
    chance = random.Random(suffix)
    refused = 0
    for _ in range(30):
        changed = bytearray(whole[suffix])
        changed[chance.randrange(len(changed) // 4, len(changed) // 2)] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            read = state_dict(load(path, CONFIG))
        except CheckpointError:
            refused += 1
        else:  # a date, for instance
            assert all(np.array_equal(read[name], wanted[name]) for name in wanted)
    assert refused >= 10


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_digest_is_compared(whole, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole[suffix])
    digest = hashlib.sha256(whole[suffix]).hexdigest()
    load(path, CONFIG, sha256=digest)
    load(path, CONFIG, sha256=digest[:8].upper())
    with pytest.raises(CheckpointError, match=f"has the SHA-256 digest {digest} instead of 01234567"):
        load(path, CONFIG, sha256="01234567")
    with pytest.raises(CheckpointError, match="Expected the hexadecimal digest"):
        load(path, CONFIG, sha256="file")


def test_digests_of_the_files_of_a_folder(tmp_path):
    model = build(CONFIG, key=jax.random.key(0))
    save(tmp_path / "equimo", model)
    (sharded := tmp_path / "sharded").mkdir()
    (single := tmp_path / "single").mkdir()
    tensors = state_dict(model)
    index = {"weight_map": {name: f"{number % 2}.safetensors" for number, name in enumerate(tensors)}}
    for part in range(2):
        safetensors.numpy.save_file(dict(list(tensors.items())[part::2]), sharded / f"{part}.safetensors")
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors.numpy.save_file(tensors, single / "model.safetensors")
    for folder in (tmp_path / "equimo", sharded, single):
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        load(folder, CONFIG, sha256=digests)
        for name in digests:
            with pytest.raises(CheckpointError, match=f"no digest of {name}.*Give one of each"):
                load(folder, CONFIG, sha256={file: digest for file, digest in digests.items() if file != name})
            with pytest.raises(CheckpointError, match=f"{name} has the SHA-256 digest"):
                load(folder, CONFIG, sha256=digests | {name: "01234567"})
    with pytest.raises(CheckpointError, match="by their names"):
        load(sharded, CONFIG, sha256="01234567")
    index_digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sharded.iterdir()}
    load(sharded / "model.safetensors.index.json", CONFIG, sha256=index_digests)


def _npz(path, header):
    with zipfile.ZipFile(path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode())
    return path / "a.npz"


def _safetensors(path, dtype, size):
    header = json.dumps({"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}}).encode()
    (path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    return path / "a.safetensors"


def _index(path, text):
    (path / "model.safetensors.index.json").write_text(text)
    return path / "model.safetensors.index.json"


def _equimo(path, **arguments):
    base = {"patch_size": 4, "in_channels": 3, "num_classes": 0, "use_global_pos_embed": False}
    base |= {"use_local_pos_embed": True, "init_values": 0.8, "act_layer": "exactgelu", "dim": 16, "num_heads": 2}
    (path / "weights.eqx").write_bytes(b"")
    (path / "metadata.json").write_text(json.dumps({"model_config": base | {"depths": [1]} | arguments}))
    return path


def _bomb(path):
    """A member of 6 GB of zeros, and a long name as large."""
    frame = pytest.importorskip("lz4.frame")
    member = tarfile.TarInfo("metadata.json")
    member.size = 6 << 30
    (path / "a.tar.lz4").write_bytes(frame.compress(member.tobuf() + bytes(1 << 22)))
    return path / "a.tar.lz4"


def _long_name(path):
    frame = pytest.importorskip("lz4.frame")
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 6 << 30
    (path / "a.tar.lz4").write_bytes(frame.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 22)))
    return path / "a.tar.lz4"


def _zeros(path):
    """Two kilobytes that unpack to one gigabyte."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (268435456,), }\n"
    with zipfile.ZipFile(path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(18):
            file.write(bytes(1 << 24))
    return path / "a.npz"


def _pickle(path, content):
    with zipfile.ZipFile(path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path / "a.pth"


def _doubled():
    """A tuple that holds one twice, and so on, 64 times: to hash it, or to write it, takes for ever."""
    steps = (bytes([ord("h"), i, ord("h"), i, 0x86, ord("q"), i + 1]) for i in range(64))
    return b"\x80\x02)q\0" + b"".join(steps)


HOSTILE = {
    "npz header without end": lambda path: _npz(path, "{'descr':'<f4'\n"),
    "npz of 4 TB": lambda path: _npz(path, "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n"),
    "npz header of signs": lambda path: _npz(path, "-" * 9000 + "1\n"),
    "npz of zeros": _zeros,
    "safetensors F8_E8M0": lambda path: _safetensors(path, "F8_E8M0", 4),
    "safetensors F4": lambda path: _safetensors(path, "F4", 2),
    "index of 200,000 lists": lambda path: _index(path, "[" * 200_000),
    "index with a long name": lambda path: _index(path, json.dumps({"weight_map": {"a": "x" * 300}})),
    "depth of 10**12": lambda path: _equimo(path, depths=[10**12]),
    "no heads": lambda path: _equimo(path, num_heads=[]),
    "epsilon a letter": lambda path: _equimo(path, eps="a"),
    "settings of 6 GB": _bomb,
    "name of 6 GB": _long_name,
    "pickle that allocates": lambda path: _pickle(path, b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
    "pickle of many parts": lambda path: _pickle(path, b"\x80\x02Nr" + struct.pack("<I", 0x7FFFFFFF) + b"."),
    "pickle of doubled tuples": lambda path: _pickle(path, _doubled() + b"}h\x40Ns."),
    "pickle of doubled pairs": lambda path: _pickle(path, _doubled() + b"ccollections\nOrderedDict\n(]h\x40N\x86atR."),
    "pickle of a doubled storage": lambda path: _pickle(path, _doubled() + b"(h\x40h\x40h\x40h\x40h\x40tQ."),
    "pickle nested": lambda path: _pickle(path, b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b"."),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_and_take_no_memory(what, tmp_path):
    path = HOSTILE[what](tmp_path)
    config = None if path.is_dir() or path.suffix == ".lz4" else CONFIG
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as failure:
            load(path, config)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    check_error(failure.value, path)
    assert peak < 256 << 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes pipes")
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.npz", "a.eqx", "a.json", "a.tar.lz4", "metadata.json"])
def test_pipes_are_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    (tmp_path / "weights.eqx").write_bytes(b"")
    path = tmp_path if name == "metadata.json" else tmp_path / name
    with pytest.raises(CheckpointError, match=r"is a pipe or a device|metadata\.json: there is no such file"):
        load(path, CONFIG)


@pytest.mark.parametrize(
    ("field", "value"), [("norm_eps", "a"), ("norm_eps", float("nan")), ("depth", 2.0), ("dim", True), ("heads", [2])]
)
def test_settings_of_another_type_are_refused(field, value):
    with pytest.raises(ConfigError, match=rf"DinoConfig\.{field} must be"):
        DinoConfig(**({"dim": 16, "depth": 1, "heads": 2} | {field: value}))


def test_records_are_read_as_numpy_writes_them():
    from j2o_examples_dino._damage import read_record

    for array in (np.arange(6.0).reshape(2, 3), np.float32(3), np.zeros((0, 4), np.int8), np.eye(3, order="F")[:2].T):
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, np.asanyarray(array), version=version)
            file.seek(0)
            np.testing.assert_array_equal(read_record(file, "a"), array)
            assert read_record(file, "b") is None
