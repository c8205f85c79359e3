"""Faults of reading: checkpoints that are damaged, or of which a bit has flipped."""

import hashlib
import json
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy

from j2o_examples_dino import CheckpointError, DinoConfig, build, load, save, state_dict

CONFIG = DinoConfig(dim=16, depth=1, heads=2, patch_size=4)
# Formats with a checksum of the weights; the files of the others are compared with a digest from elsewhere.
_CHECKED = ("a.safetensors", "a.tar.lz4", "a.npz", "a.pth")


def checkpoints(folder: Path) -> dict[Path, list[Path]]:
    """Checkpoints in every format that `load` reads, and the files of each."""
    model = build(CONFIG, key=jax.random.key(0))
    tensors = state_dict(model)
    paths = {folder / name: [folder / name] for name in (*_CHECKED, "a.eqx", "plain.safetensors")}
    for name in ("a.safetensors", "a.eqx", "a.tar.lz4"):
        save(folder / name, model)
    np.savez(folder / "a.npz", **tensors)
    write_torch_file(folder / "a.pth", tensors)
    safetensors.numpy.save_file(tensors, folder / "plain.safetensors")
    save(folder / "equimo", model)
    paths[folder / "equimo"] = [folder / "equimo" / name for name in ("metadata.json", "weights.eqx")]
    (sharded := folder / "sharded").mkdir()
    shards = {f"model-{part}.safetensors": dict(list(tensors.items())[part::2]) for part in range(2)}
    for name, part in shards.items():
        safetensors.numpy.save_file(part, sharded / name)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    paths[sharded] = sorted(sharded.iterdir())
    return paths


def write_torch_file(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A state dict as `torch.save` writes it: a zip archive of a pickle and of the storages that it refers to."""

    def text(word: str) -> bytes:
        return b"X" + struct.pack("<I", len(word.encode())) + word.encode()

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    pieces = [b"\x80\x02}("]
    for key, (name, array) in enumerate(tensors.items()):
        strides = tuple(stride // 4 for stride in np.ascontiguousarray(array).strides)
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu") + number(array.size)
        hooks = b"ccollections\nOrderedDict\n)R"
        arguments = (
            b"(" + storage + b"tQ" + number(0) + numbers(array.shape) + numbers(strides) + b"\x89" + hooks + b"t"
        )
        pieces.append(text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"".join([*pieces, b"u."]))
        archive.writestr("archive/byteorder", b"little")
        for key, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{key}", np.ascontiguousarray(array, np.float32).tobytes())


def _damaged(content: bytes, chance: random.Random) -> bytes:
    """With a bit flipped, a piece left out or put in, or cut off; half of it at the beginning or end."""
    changed = bytearray(content)
    place = chance.randrange(len(content))
    if chance.random() < 0.5:
        place = min(place, chance.randrange(600)) if chance.random() < 0.5 else max(0, len(content) - 1 - place % 4000)
    kind = chance.randrange(4)
    if kind == 0:
        del changed[place:]
    elif kind == 1:
        changed[place] ^= 1 << chance.randrange(8)
    elif kind == 2:
        del changed[place : place + chance.randrange(1, 200)]
    else:
        changed[place:place] = chance.randbytes(chance.randrange(1, 200))
    return bytes(changed)


def damaged_checkpoints(chance: random.Random, rounds: int) -> list[str]:
    """Bytes changed, left out, put in or cut off: a CheckpointError that names file, record and remedy.

    A format without a checksum gets the digests of its files.
    """
    wrong, refused, unharmed, by_digest = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        formats = checkpoints(Path(folder))
        expected = state_dict(load(next(iter(formats)), CONFIG))
        digests = {
            path: {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            for path, files in formats.items()
        }
        for number in range(rounds):
            path = chance.choice(list(formats))
            file = chance.choice(formats[path])
            content = file.read_bytes()
            file.write_bytes(_damaged(content, chance))
            what = f"damage {number} of {file.relative_to(folder)}"
            try:
                found = state_dict(load(path, CONFIG))
                if all(np.array_equal(found[name], array) for name, array in expected.items()):
                    unharmed += 1
                elif path.name in _CHECKED:
                    wrong.append(f"{what}: other weights load")
                else:
                    by_digest += 1
                    load(path, CONFIG, sha256=digests[path])
                    wrong.append(f"{what}: loads in spite of the digest")
            except CheckpointError as error:
                refused += 1
                parts = [error.path, error.record, error.remedy]
                # Of a folder, the file that shows the damage, or the folder where it is in how the files go together.
                if error.path not in (path, *formats[path]) or not all(
                    part and str(part) in str(error) for part in parts
                ):
                    wrong.append(f"{what}: {error} does not name file, record and remedy")
            except BaseException as error:  # noqa: BLE001 - that is what is looked for
                wrong.append(f"{what}: {type(error).__name__}: {error}")
            file.write_bytes(content)
    print(
        f"  {refused} of {rounds} damaged files were refused, {by_digest} of them by a digest that was given; "
        f"{unharmed} have their weights"
    )
    return wrong


def flipped_bits(chance: random.Random, rounds: int) -> list[str]:
    """A bit of a weight flips: its format's checksum, or a digest given to `load`, notices."""
    wrong, harmless = [], 0
    with tempfile.TemporaryDirectory() as folder:
        files = [path for path in checkpoints(Path(folder)) if path.is_file()]
        contents = {path: path.read_bytes() for path in files}
        expected = {path: state_dict(load(path, CONFIG)) for path in files}
        for number in range(rounds):
            path = chance.choice(files)
            changed = bytearray(contents[path])
            place = chance.randrange(len(changed) // 4, len(changed) // 2)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            digest = hashlib.sha256(contents[path]).hexdigest()
            try:
                found = state_dict(load(path, CONFIG, sha256=None if path.name in _CHECKED else digest[:8]))
            except CheckpointError:
                pass
            else:  # a date in an archive, for instance
                harmless += 1
                if any(not np.array_equal(found[name], array) for name, array in expected[path].items()):
                    wrong.append(f"flip {number}: byte {place} of {path.name} is another weight")
            path.write_bytes(contents[path])
    print(f"  {rounds - harmless} of {rounds} were refused; the others changed no weight")
    return wrong
