import concurrent.futures
import errno
import functools
import hashlib
import itertools
import json
import os
import stat
import subprocess
import sys
import tracemalloc
import warnings

import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import safetensors.numpy

from j2o_core import J2oError, SaveError
from j2o_core.program import _file_lock, _model_file, _pieces, _save, _save_turn, _weights_file

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def program(export):
    """A program with a weight of 4 x 512 and one of 512."""
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((4, 512)), jnp.float32)
    bias = jnp.arange(512, dtype=jnp.float32)
    return export(lambda x: x @ weight + bias, [(2, 4)])


@pytest.fixture
def other(export):
    """Another one with other weights."""
    weight = jnp.asarray(np.random.default_rng(1).standard_normal((4, 512)), jnp.float32)
    return export(lambda x: x @ weight, [(2, 4)])


def run(path, x=X):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def content(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


WAYS = [{}, {"external_data": True}, {"weights": "data"}, {"weights": "safetensors"}]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_saved_runs_and_gives_the_same_numbers(program, tmp_path, way):
    path = tmp_path / "m.onnx"
    program.save(path, **way)
    np.testing.assert_array_equal(run(path), program(X))
    onnx.checker.check_model(str(path), full_check=True)
    assert len(content(tmp_path)) == (2 if way else 1)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_saving_twice_gives_the_same_bytes_and_nothing_grows(program, tmp_path, way):
    path = tmp_path / "m.onnx"
    program.save(path, **way)
    first = content(tmp_path)
    for _ in range(3):
        program.save(path, **way)
    assert content(tmp_path) == first


def test_the_data_file_of_an_earlier_save_is_removed(program, other, tmp_path):
    path = tmp_path / "m.onnx"
    program.save(path, weights="data")
    (first,) = content(tmp_path).keys() - {"m.onnx"}
    other.save(path, weights="data")
    (second,) = content(tmp_path).keys() - {"m.onnx"}
    assert first != second
    np.testing.assert_array_equal(run(path), other(X))
    other.save(path, weights="safetensors")
    assert {name.rpartition(".")[2] for name in content(tmp_path)} == {"onnx", "safetensors"}
    other.save(path)
    assert list(content(tmp_path)) == ["m.onnx"]


def test_files_of_others_stay(program, tmp_path):
    for name in ("m.onnx.data", "m2.onnx.0123456789abcdef.data", "m.onnx.backup"):
        (tmp_path / name).write_text("mine")
    program.save(tmp_path / "m.onnx", external_data=True)
    program.save(tmp_path / "m.onnx")
    assert sorted(content(tmp_path)) == ["m.onnx", "m.onnx.backup", "m.onnx.data", "m2.onnx.0123456789abcdef.data"]


def child(function):
    """Run a function in a forked process, and return what waits for its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: the child starts none and waits for none
        process = os.fork()
    if process == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


KILLED = 9


def killed_at(moment, function):
    """The exit status of a process that is killed when it is about to change a file for the `moment`-th time."""

    def run():
        calls = iter(range(moment))

        def guard(change):
            def call(*args):
                if next(calls, None) is None:
                    os._exit(KILLED)
                return change(*args)

            return call

        for name in ("fsync", "replace", "remove"):
            setattr(os, name, guard(getattr(os, name)))
        function()

    return child(run)()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@needs_fork
@pytest.mark.parametrize("old_way", [{}, {"weights": "data"}, {"weights": "safetensors"}], ids=str)
@pytest.mark.parametrize("way", [{}, {"weights": "data"}, {"weights": "safetensors"}], ids=str)
def test_a_process_killed_at_any_moment_leaves_a_whole_model(program, other, tmp_path, old_way, way):
    old, new = program(X), other(X)
    seen = set()
    for moment in itertools.count():
        folder = tmp_path / f"{moment}"
        folder.mkdir()
        path = folder / "m.onnx"
        program.save(path, **old_way)
        status = killed_at(moment, lambda path=path: other.save(path, **way))
        result = run(path)
        assert np.array_equal(result, old) or np.array_equal(result, new)
        seen.add(np.array_equal(result, old))
        if status == 0:
            break
        assert status == KILLED
        other.save(path, **way)  # the next save works, and clears what the killed one left
        np.testing.assert_array_equal(run(path), new)
        left = sorted(name.rpartition(".")[2] for name in content(folder))
        assert left == sorted(["onnx", *way.values()])
    assert moment >= 4
    assert seen == {True, False}


@needs_fork
def test_only_files_of_dead_writers_are_removed(program, other, tmp_path):
    """A writer that lives, however slow, finishes; whatever a user put there stays."""
    path = tmp_path / "m.onnx"
    for name in ("m.onnx.tmp", "m.onnx.0123.tmp", "m2.onnx.01234567.tmp"):
        (tmp_path / name).write_text("mine")
    slow = _save_turn.TemporaryFiles(str(path))
    with slow.new() as (file, alive):
        file.write(b"slow")
    for moment in range(3):
        assert killed_at(moment, lambda: program.save(path, weights="data")) == KILLED
    assert len(content(tmp_path)) > 5
    other.save(path)
    left = {"m.onnx", os.path.basename(alive), "m.onnx.tmp", "m.onnx.0123.tmp", "m2.onnx.01234567.tmp"}
    assert content(tmp_path).keys() == left
    slow.move(alive, str(path))
    assert path.read_bytes() == b"slow"


def no_locks(file):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@needs_fork
@pytest.mark.parametrize("locks", [True, False], ids=["locks", "without"])
@pytest.mark.parametrize("ways", [("data", "data"), ("data", "safetensors"), ("data", None)], ids=str)
def test_the_last_of_two_processes_wins(program, other, tmp_path, monkeypatch, ways, locks):
    path = tmp_path / "m.onnx"
    wanted = [program(X), other(X)]
    if not locks:
        monkeypatch.setattr(_file_lock, "_lock", no_locks)
    for _ in range(5):
        savers = [
            child(functools.partial(one.save, path, weights=way))
            for one, way in zip((program, other), ways, strict=True)
        ]
        assert [saved() for saved in savers] == [0, 0]
        assert any(np.array_equal(run(path), result) for result in wanted)
    other.save(path)
    assert locks is False or list(content(tmp_path)) == ["m.onnx"]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "without"])
def test_threads_save_one_program(program, tmp_path, monkeypatch, locks):
    """To one path and to several, embedded and beside: the program stays as it is, every file is whole."""
    if not locks:
        monkeypatch.setattr(_file_lock, "_lock", no_locks)
    monkeypatch.setattr(_model_file, "_SMALL_BYTES", 16)
    wanted = program(X)
    before = [value.const_value for value in program.model.graph.initializers.values()]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        ways = [{}, {"weights": "data"}, {"weights": "safetensors"}]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = [pool.submit(program.save, tmp_path / f"{k % 4}.onnx", **ways[k % 3]) for k in range(24)]
            done += [pool.submit(program.check) for _ in range(4)]
            for future in done:
                future.result()
    finally:
        sys.setswitchinterval(interval)
    after = [value.const_value for value in program.model.graph.initializers.values()]
    assert all(one is two for one, two in zip(before, after, strict=True))
    for path in tmp_path.glob("*.onnx"):
        np.testing.assert_array_equal(run(path), wanted)


def test_without_locks_nothing_grows(program, other, tmp_path, monkeypatch):
    """The data file's name is then one that no other save gives, and the next save removes it."""
    monkeypatch.setattr(_file_lock, "_lock", no_locks)
    path = tmp_path / "m.onnx"
    for one in (program, other, program):
        one.save(path, weights="data")
        assert len(content(tmp_path)) == 2
        np.testing.assert_array_equal(run(path), one(X))
    program.save(path)
    assert list(content(tmp_path)) == ["m.onnx"]


def test_whoever_waits_too_long_for_a_turn_saves_all_the_same(program, other, tmp_path, monkeypatch):
    monkeypatch.setattr(_save_turn, "_WAIT_SECONDS", 0.05)
    path = tmp_path / "m.onnx"
    program.save(path, weights="data")
    with _save_turn.turn(str(path)) as held:
        assert held.locked
        other.save(path, weights="data")
        np.testing.assert_array_equal(run(path), other(X))
    np.testing.assert_array_equal(run(path), other(X))
    other.save(path)
    np.testing.assert_array_equal(run(path), other(X))


def failing_at(moment, function, code):
    calls = iter(range(10))

    def call(*args):
        if next(calls) == moment:
            raise OSError(code, os.strerror(code))
        return function(*args)

    return call


@pytest.mark.parametrize("way", [{}, {"weights": "data"}, {"weights": "safetensors"}], ids=str)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_is_a_clear_error_and_changes_nothing(program, other, tmp_path, monkeypatch, way, code):
    path = tmp_path / "m.onnx"
    program.save(path, **way)
    before = content(tmp_path)
    for function in ("fsync", "replace"):
        for moment in range(2 if way else 1):
            with monkeypatch.context() as patch:
                patch.setattr(os, function, failing_at(moment, getattr(os, function), code))
                with pytest.raises(SaveError) as failure:
                    other.save(path, **way)
            assert str(failure.value) == f"Cannot save to {path}: {os.strerror(code)}. Nothing was changed there."
            assert isinstance(failure.value, OSError)
            assert isinstance(failure.value, J2oError)
            assert content(tmp_path) == before


def test_a_write_that_fails_half_way_leaves_no_file(program, tmp_path, monkeypatch):
    def write(self, content, _real=_weights_file._Digesting.write):
        if self.position > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _real(self, content)

    monkeypatch.setattr(_weights_file._Digesting, "write", write)
    with pytest.raises(SaveError, match="No space left on device"):
        program.save(tmp_path / "m.onnx", weights="data")
    assert content(tmp_path) == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a file system of its own")
def test_a_disk_that_is_really_full(program, tmp_path):
    """In a mount namespace of its own, with 8 kB in all. Where the kernel forbids that, the tests above have to do."""
    program.save(tmp_path / "whole.onnx")
    script = f"""
set -e
mount -t tmpfs -o size=8k tmpfs {tmp_path}/disk
{sys.executable} - <<'END'
import os
import onnx_ir as ir
from j2o_core import SaveError
from j2o_core.program._save import save
model = ir.load({str(tmp_path / "whole.onnx")!r})
folder = {str(tmp_path / "disk")!r}
with open(folder + "/m.onnx", "w") as file:
    file.write("old")
for way in ({{}}, {{"weights": "data"}}, {{"weights": "safetensors"}}):
    try:
        save(model, folder + "/m.onnx", **way)
    except SaveError as error:
        print(error)
    print(os.listdir(folder), open(folder + "/m.onnx").read())
END
"""
    (tmp_path / "disk").mkdir()
    allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    if allowed.returncode:
        pytest.skip(f"no mount namespace here: {allowed.stderr.decode().strip()}")
    result = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("No space left on device. Nothing was changed there.") == 3
    assert result.stdout.count("['m.onnx'] old") == 3


def test_paths_that_cannot_be_written_are_told_apart(program, tmp_path):
    with pytest.raises(SaveError, match=r"missing does not exist\. Create it first"):
        program.save(tmp_path / "missing" / "m.onnx")
    with pytest.raises(SaveError, match="it is a folder"):
        program.save(tmp_path)
    assert content(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(program, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SaveError, match="Permission denied"):
            program.save(tmp_path / "m.onnx")
    finally:
        tmp_path.chmod(0o700)


def test_wrong_arguments(program, tmp_path):
    with pytest.raises(SaveError, match=r"weights is 'zip'\. Expected one of 'data', 'safetensors'"):
        program.save(tmp_path / "m.onnx", weights="zip")
    with pytest.raises(SaveError, match="Give one of them"):
        program.save(tmp_path / "m.onnx", weights="data", external_data=False)


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_permissions_are_those_of_any_new_file(program, tmp_path):
    old = os.umask(0o027)
    try:
        program.save(tmp_path / "m.onnx", external_data=True)
        (tmp_path / "any").touch()
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert modes == {0o640}


def test_the_working_directory_plays_no_role(program, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    program.save("m.onnx", external_data=True)
    monkeypatch.chdir(tmp_path / "b")
    np.testing.assert_array_equal(run(tmp_path / "a" / "m.onnx"), program(X))
    assert content(tmp_path / "b") == {}


def test_a_saved_model_can_be_moved_with_its_data(program, tmp_path):
    (tmp_path / "a").mkdir()
    program.save(tmp_path / "a" / "m.onnx", external_data=True)
    locations = {
        entry.value
        for tensor in onnx.load(tmp_path / "a" / "m.onnx", load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert locations  # a bare name: nothing leads out of the folder
    assert all(os.path.basename(location) == location for location in locations)
    (tmp_path / "a").rename(tmp_path / "b")
    np.testing.assert_array_equal(run(tmp_path / "b" / "m.onnx"), program(X))


def test_saving_changes_neither_the_model_nor_a_session(program, tmp_path):
    before = program(X)
    tensors = [value.const_value for value in program.model.graph.initializers.values()]
    program.save(tmp_path / "m.onnx", external_data=True)
    after = [value.const_value for value in program.model.graph.initializers.values()]
    assert all(one is two for one, two in zip(tensors, after, strict=True))
    np.testing.assert_array_equal(program(X), before)


def test_a_safetensors_file_is_one(export, tmp_path):
    weights = {
        "half": jnp.arange(8, dtype=jnp.float16),
        "brain": jnp.arange(8, dtype=jnp.bfloat16),
        "whole": jnp.arange(8, dtype=jnp.int8),
        "flag": jnp.arange(8) > 3,
        "wide": jnp.linspace(0, 1, 8),
    }
    program = export(lambda: list(weights.values()), [])
    program.save(tmp_path / "m.onnx", weights="safetensors")
    (path,) = tmp_path.glob("*.safetensors")
    read = safetensors.numpy.load_file(path)
    assert set(read) == set(weights)
    assert read["brain"].dtype.itemsize == 2  # this reader gives bfloat16 as bits or as its own type
    for name in set(weights) - {"brain"}:
        assert read[name].dtype == weights[name].dtype
        np.testing.assert_array_equal(read[name], weights[name])


def test_a_dtype_that_safetensors_does_not_have_is_refused(export, tmp_path):
    packed = jnp.arange(8, dtype=jnp.int4)
    program = export(lambda: packed, [], opset=21)
    with pytest.raises(SaveError, match=r"dtype int4, which safetensors does not have. Save with weights=.data."):
        program.save(tmp_path / "m.onnx", weights="safetensors")
    assert content(tmp_path) == {}


def test_packed_and_empty_weights_survive(export, tmp_path):
    weights = {"packed": jnp.arange(-4, 5, dtype=jnp.int4), "empty": jnp.zeros((0, 3)), "scalar": jnp.float32(2)}
    program = export(lambda: list(weights.values()), [])
    program.save(tmp_path / "m.onnx", external_data=True)
    values = ir.load(tmp_path / "m.onnx").graph.initializers
    for name, weight in weights.items():
        np.testing.assert_array_equal(values[name].const_value.numpy(), weight)


def test_tied_weights_are_stored_once(export, tmp_path):
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((64, 64)), jnp.float32)
    model = {"embed": weight, "head": weight}
    program = export(lambda x: (x @ model["embed"]) @ model["head"], [(2, 64)])
    assert list(program.model.graph.initializers) == ["embed"]
    program.save(tmp_path / "m.onnx", weights="data")
    assert sum(map(len, content(tmp_path).values())) < 1.5 * weight.nbytes


def test_large_weights_begin_at_a_page(export, tmp_path):
    small, large = jnp.ones(3), jnp.ones((1024, 513))
    program = export(lambda: [small, large, small + 1], [])
    program.save(tmp_path / "m.onnx", external_data=True)
    offsets = {
        tensor.name: int(entry.value)
        for tensor in onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    }
    assert offsets["large"] % 4096 == 0
    assert all(offset % 64 == 0 for offset in offsets.values())


@pytest.mark.parametrize("weights", [None, "data", "safetensors"])
def test_weights_are_written_without_a_second_copy(tmp_path, weights):
    """The memory allocated while saving stays below 5% of the weights, inside the model file or beside it."""
    count, size = 16, 1 << 20
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21})
    for index in range(count):
        value = ir.Value(
            name=f"w{index}", const_value=ir.Tensor(np.full((4, size), index, np.float32), name=f"w{index}")
        )
        graph.initializers.add(value)
    wide = np.broadcast_to(np.arange(1024, dtype=np.float32), (8, 1024, 1024))  # takes no memory until it is written
    graph.initializers.add(ir.Value(name="wide", const_value=ir.Tensor(wide, name="wide")))
    model = ir.Model(graph, ir_version=10)
    total = _save.weight_bytes(model)
    assert total > 250e6
    tracemalloc.start()
    _save.save(model, tmp_path / "m.onnx", weights=weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.05 * total
    values = ir.load(tmp_path / "m.onnx").graph.initializers
    np.testing.assert_array_equal(values["wide"].const_value.numpy(), wide)
    assert (values["w7"].const_value.numpy() == 7).all()
    header = json.loads(json.dumps(list(values)))
    assert len(header) == count + 1


def test_a_file_written_in_pieces_is_the_one_that_protobuf_writes(export, tmp_path):
    """But for the order of its initializers, for their digests, and for their types, which their tensors have."""
    weights = [jnp.arange(count, dtype=dtype) for count in (3, 2000, 40000) for dtype in (jnp.float32, jnp.bfloat16)]
    model = export(lambda x: [x + weight[:1].astype(x.dtype) for weight in weights] + weights, [(1,)]).model
    large = next(v.const_value for v in model.graph.initializers.values() if v.const_value.nbytes > 100_000)
    large.metadata_props["origin"] = "a test"
    _save.save(model, tmp_path / "m.onnx")
    expected = ir.to_proto(model)
    for tensor in expected.graph.initializer:
        digest = hashlib.sha256(tensor.raw_data).hexdigest()[:32]
        tensor.metadata_props.append(onnx.StringStringEntryProto(key="j2o.sha256", value=digest))
    written = onnx.load(tmp_path / "m.onnx")
    weights = {tensor.name for tensor in expected.graph.initializer}
    inside = [info for info in expected.graph.value_info if info.name not in weights]
    del expected.graph.value_info[:]
    expected.graph.value_info.extend(inside)
    for proto in (expected, written):
        proto.graph.initializer.sort(key=lambda tensor: tensor.name)
    assert written == expected
    assert any(tensor.metadata_props for tensor in written.graph.initializer)


def test_a_model_too_large_for_one_file_is_refused(program, tmp_path, monkeypatch):
    program.save(tmp_path / "m.onnx")
    before = content(tmp_path)
    monkeypatch.setattr(_model_file, "_LARGEST_BYTES", 1000)
    with pytest.raises(SaveError, match="external_data=True"):
        program.save(tmp_path / "m.onnx", external_data=False)
    assert content(tmp_path) == before


def test_external_data_is_chosen_by_size(program, tmp_path, monkeypatch):
    monkeypatch.setattr(_save, "EMBED_LIMIT_BYTES", 1000)
    program.save(tmp_path / "m.onnx")
    assert len(content(tmp_path)) == 2
    program.save(tmp_path / "m.onnx", external_data=False)
    assert len(content(tmp_path)) == 1


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("transposed", [False, True])
def test_weights_in_a_mapped_file(export, tmp_path, monkeypatch, mode, transposed):
    monkeypatch.setattr(_pieces, "_BLOCK_BYTES", 3 << 12)
    values = np.random.default_rng(0).standard_normal((96, 160)).astype(np.float32)
    values.tofile(tmp_path / "weights")
    weight = np.memmap(tmp_path / "weights", np.float32, mode, shape=values.shape)
    if mode == "c":  # written to the map alone
        weight[5, 7] = values[5, 7] = 3
    program = export(
        (lambda x: x @ weight.T) if transposed else (lambda x: x @ weight), [(2, 160 if transposed else 96)]
    )
    program.save(tmp_path / "m.onnx", external_data=True)
    x = np.random.default_rng(1).standard_normal((2, 160 if transposed else 96)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x), x @ (values.T if transposed else values), atol=1e-4)
    np.testing.assert_array_equal(weight, values)


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("name", ["m.onnx.j2o-lock", "m.onnx.00000000.tmp", "m.onnx"])
def test_a_link_leads_a_save_to_nobody_else_s_file(program, tmp_path, link, name):
    """In a folder of several people, one of them puts a link where the save puts a file of its own."""
    (theirs := tmp_path / "theirs").mkdir()
    (ours := tmp_path / "ours").mkdir()
    (theirs / "diary").write_text("secret\nm.onnx.0123456789abcdef.data")
    link(theirs / "diary", ours / name)
    program.save(ours / "m.onnx", weights="data")
    assert (theirs / "diary").read_text() == "secret\nm.onnx.0123456789abcdef.data"
    assert (theirs / "diary").stat().st_mode & stat.S_IRUSR
    assert onnxruntime.InferenceSession(ours / "m.onnx").run(None, {"x": X})[0].shape == (2, 512)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
def test_a_pipe_or_folder_in_the_place_of_the_lock(program, tmp_path):
    os.mkfifo(tmp_path / "m.onnx.j2o-lock")
    (tmp_path / "n.onnx.j2o-lock").mkdir()
    for name in ("m.onnx", "n.onnx"):
        program.save(tmp_path / name, weights="data")
        assert onnxruntime.InferenceSession(tmp_path / name).run(None, {"x": X})[0].shape == (2, 512)
