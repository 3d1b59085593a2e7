"""Weights in files: what was saved comes back, and nothing else does, whatever the file is."""

import contextlib
import errno
import importlib.util
import io
import json
import os
import pickle
import re
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import FormatError, InputError, MicrogadError, MissingExtraError, StateDictError
from microgad.nn.files import load, save
from microgad.nn.module import Module, Parameter

needs_package = pytest.mark.skipif(not importlib.util.find_spec("safetensors"), reason="safetensors is not installed")
SUFFIXES = (".npz", pytest.param(".safetensors", marks=needs_package))
either = pytest.mark.parametrize("suffix", SUFFIXES)


class Bag(Module):
    """What it is given, as parameters in a list or a dict; whole numbers become buffers."""

    def __init__(self, parts):
        self.parts = parts


class Some(Module):
    """An array of each sort that a model may hold."""

    def __init__(self, fill=0.0):
        self.layers = [Parameter(np.full((2, 3), fill)), Parameter(np.full(3, fill, np.float32))]
        self.scale = Value(fill)
        self.none = Parameter(np.zeros((0, 4)))
        self.register_buffer("seen", np.array(int(fill)))


class Scalar(Module):
    def __init__(self):
        self.scale = Parameter(2.0)


def content(x):
    """Names, types, shapes and bits of a state."""
    state = x.state_dict() if isinstance(x, Module) else x
    return {name: (x.dtype, x.shape, x.tobytes()) for name, x in state.items()}


def refused(model, path, error, match=None, **kwargs):
    """The message with which `load` refuses a file; it has to leave the model as it was."""
    before = content(model)
    with pytest.raises(error, match=match) as caught:
        load(model, path, **kwargs)
    assert type(caught.value) is error
    assert content(model) == before
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@contextlib.contextmanager
def little_memory(megabytes):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20
    finally:
        tracemalloc.stop()


# ---- what was saved comes back


@either
def test_a_round_trip(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    saved, model = Some(1.5), Some(7.0)
    assert save(saved, path) is None
    layers = list(model.layers)
    assert load(model, path) is model
    assert content(model) == content(saved)
    assert model.layers[0] is layers[0]
    assert type(model.scale.data) is float
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@either
@pytest.mark.parametrize("kind", [str, Path, lambda path: type("P", (), {"__fspath__": lambda self: str(path)})()])
def test_kinds_of_paths(tmp_path, suffix, kind):
    path = tmp_path / f"weights{suffix.upper()}"
    save(Some(2.0), kind(path))
    assert content(load(Some(), kind(path))) == content(Some(2.0))


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
bits = st.sampled_from([(np.float64, np.uint64), (np.float32, np.uint32)]).flatmap(
    lambda kinds: arrays.arrays(kinds[1], arrays.array_shapes(min_dims=0, min_side=0, max_side=3)).map(
        lambda x: x.view(kinds[0])
    )
)


@either
@given(parts=st.dictionaries(names, bits, max_size=4))
def test_any_numbers_under_any_names_bit_for_bit(tmp_path_factory, suffix, parts):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    saved = Bag({name: Parameter(x) for name, x in parts.items()})
    model = Bag({name: Parameter(np.zeros_like(x)) for name, x in parts.items()})
    assert content(saved) == {f"parts.{name}": (x.dtype, x.shape, x.tobytes()) for name, x in parts.items()}
    save(saved, path)
    assert content(load(model, path)) == content(saved)


@given(
    parts=st.dictionaries(names, arrays.arrays(arrays.scalar_dtypes(), (2,)).filter(lambda x: x.dtype.kind in "biuf"))
)
def test_numpy_reads_what_was_saved(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "read.npz"
    parts = {name: x for name, x in parts.items() if x.dtype.itemsize <= 8 and not name.endswith(".npy")}
    save(parts, path)
    with np.load(path, allow_pickle=False) as file:
        assert list(file) == list(parts)
        for name, x in parts.items():
            assert file[name].dtype == x.dtype.newbyteorder("<")
            assert file[name].astype(x.dtype).tobytes() == x.tobytes()


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "given",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
        np.arange(6, dtype=np.float16).reshape(2, 3) / 8,
        np.arange(6, dtype=">i2").reshape(2, 3) - 3,
        np.arange(6, dtype=np.uint64).reshape(2, 3),
        np.arange(6).reshape(2, 3) % 2 == 0,
        np.array([[np.nan, np.inf, -np.inf], [-0.0, 5e-324, 1e308]]),
    ],
    ids=lambda x: f"{x.dtype.str}{'F' * (not x.flags.c_contiguous)}",
)
def test_what_numpy_wrote_is_read(tmp_path, savez, given):
    path = tmp_path / "weights.npz"
    savez(path, **{"parts.0": given})
    model = load(Bag([Parameter(np.ones((2, 3)))]), path)
    assert model.parts[0].data.tobytes() == given.astype(np.float64).tobytes()
    assert model.parts[0].dtype == np.float64


@either
def test_a_mapping_is_saved_as_a_module_is(tmp_path, suffix):
    path, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save(Some(1.0), path)
    save(Some(1.0).state_dict(), other)
    assert path.read_bytes() == other.read_bytes()


@either
def test_what_an_entry_may_be(tmp_path, suffix):
    class Entries(Module):
        def __init__(self):
            for name in "abcdefg":
                setattr(self, name, Parameter(np.zeros(() if name in "def" else 2)))

    path = tmp_path / f"entries{suffix}"
    strided = np.array([1.0, 9.0, 2.0, 9.0])[::2]
    given = {
        "a": [1, 2],
        "b": Tensor([1.0, 2.0]),
        "c": strided,
        "d": Value(3.0),
        "e": 4,
        "f": np.float32(5),
        "g": (1, 2),
    }
    save(given, path)
    loaded = load(Entries(), path)
    assert {name: x.tolist() for name, x in loaded.state_dict().items()} == {
        "a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0], "d": 3.0, "e": 4.0, "f": 5.0, "g": [1.0, 2.0],
    }  # fmt: skip


def test_numbers_of_more_than_8_bytes_become_float64(tmp_path):
    save({"w": np.array([0.1, 2.0], np.longdouble)}, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as file:
        assert file["w"].dtype == np.float64
        assert file["w"].tolist() == [0.1, 2.0]


@either
def test_equal_numbers_give_equal_bytes(tmp_path, monkeypatch, suffix):
    path, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    x = np.arange(6.0).reshape(2, 3)
    save({"w": x}, path)
    monkeypatch.setattr("time.time", lambda: 2e9)
    save({"w": np.asfortranarray(x).astype(">f8")}, other)
    assert path.read_bytes() == other.read_bytes()


def test_shared_parameters(tmp_path):
    def tied(fill):
        p = Parameter(np.full(2, fill))
        return Bag([p, p])

    save(tied(3.0), tmp_path / "w.npz")
    model = load(tied(0.0), tmp_path / "w.npz")
    assert model.parts[0] is model.parts[1]
    assert model.parts[0].tolist() == [3.0, 3.0]


def test_a_model_of_no_parameters(tmp_path):
    save(Bag([]), tmp_path / "w.npz")
    assert content(load(Bag([]), tmp_path / "w.npz")) == {}
    refused(Some(), tmp_path / "w.npz", FormatError, "there is nothing in it", strict=False)


def test_the_weights_of_a_pytorch_module(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2))
    save(theirs, tmp_path / "w.npz")
    ours = load(mg.nn.Sequential(mg.nn.Linear(3, 2)), tmp_path / "w.npz")
    x = np.arange(3.0, dtype=np.float32)
    np.testing.assert_allclose(ours(Tensor([x])).data, theirs(torch.tensor(x)[None]).detach().numpy(), rtol=1e-6)
    save(dict(theirs.named_parameters()), tmp_path / "again.npz")  # which need a gradient
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()
    with pytest.raises(InputError, match=r"the entry w is no array: .*BFloat16"):
        save({"w": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "no.npz")


# ---- what cannot be saved


@pytest.fixture(params=SUFFIXES)
def old(tmp_path, request):
    """A file from before; whatever happens, it is there afterwards as it was, with nothing beside it."""
    path = tmp_path / f"weights{request.param}"
    save(Some(1.0), path)
    before, mode = path.read_bytes(), path.stat().st_mode
    yield path
    assert path.read_bytes() == before
    assert path.stat().st_mode == mode
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"a": 1.0, "b": object()}, "the entry b: .*real numbers, not object"),
        ({"a": 1.0, "b": None}, "the entry b: "),
        ({"a": [[1.0], [1.0, 2.0]]}, "the entry a: rows of different lengths"),
        ({"a": np.array([1j])}, "the entry a: .*complex128"),
        ({"a": np.array(["1"])}, "the entry a: "),
        ({"a": np.array([{}], object)}, "the entry a: "),
        ({"a": np.ma.masked_array([1.0], [True])}, "the entry a: .*mask"),
        ({"a\nb": None}, r"the entry a\\nb: "),
        ({"state": {}, "param_groups": []}, "the entry state: "),
        ({1: 2.0}, "the name of an entry is text .*, not int 1"),
        ({"a\0": 2.0}, r"the name of an entry .*, not str 'a\\x00'"),
        ({"\ud800": 2.0}, r"the name of an entry .*, not str '\\ud800'"),
        ({"é" * 32_501: 2.0}, "the name of an entry is text of up to 65,000 bytes"),
        ([1.0], "a module is saved, or a mapping from names to numbers, not list"),
        (None, "a module is saved, .*, not NoneType"),
        (Some, "a module is saved, .*, not the class Some"),
    ],
)
def test_what_is_no_state(old, state, match):
    with pytest.raises(MicrogadError, match=match) as error:
        save(state, old)
    assert "\n" not in str(error.value)


def test_a_name_as_long_as_it_may_be(tmp_path):
    save({"é" * 32_500: 2.0}, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as file:
        assert list(file) == ["é" * 32_500]


@needs_package
def test_a_name_that_safetensors_does_not_have(tmp_path):
    with pytest.raises(InputError, match=r"__metadata__: save as \.npz"):
        save({"__metadata__": 1.0}, tmp_path / "w.safetensors")
    save({"__metadata__": 1.0}, tmp_path / "w.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


@pytest.mark.parametrize("at", ["os.fdopen", "os.fsync", "os.chmod", "os.replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_what_stops_in_the_middle_leaves_the_old_file(old, monkeypatch, at, error):
    def stop(*args, **kwargs):
        if at == "os.fdopen":
            os.close(args[0])
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(at, stop)
        with pytest.raises(type(error)) as caught:
            save(Some(2.0), old)
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(old)
        assert "nothing was saved; the folder has to exist" in str(caught.value)


def test_an_interrupt_when_all_is_done_is_still_one(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(*args):
        replace(*args)
        raise KeyboardInterrupt

    save(Some(1.0), tmp_path / "w.npz")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(Some(2.0), tmp_path / "w.npz")
    assert content(load(Some(), tmp_path / "w.npz")) == content(Some(2.0))
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_no_room_leaves_the_old_file(old):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="nothing was saved"):
            save({"w": np.zeros(100_000)}, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@either
@pytest.mark.parametrize(
    ("place", "error"),
    [("no folder/w", FileNotFoundError), ("file/w", NotADirectoryError), ("folder", IsADirectoryError)],
)
def test_where_no_file_can_be_written(tmp_path, suffix, place, error):
    (tmp_path / "file").write_text("")
    (tmp_path / f"folder{suffix}").mkdir()
    path = tmp_path / f"{place}{suffix}"
    with pytest.raises(error, match="nothing was saved") as caught:
        save(Some(), path)
    assert caught.value.filename == str(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", f"folder{suffix}"]


@pytest.mark.skipif(sys.version_info >= (3, 13) or os.name != "posix", reason="such a link is replaced there")
def test_a_link_to_itself_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "w.npz"
    path.symlink_to(path)
    with pytest.raises(OSError, match="nothing was saved") as caught:
        save(Some(), path)
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(path))


@pytest.mark.skipif(os.name != "posix", reason="the permissions are POSIX's")
def test_permissions_and_links_are_kept(tmp_path):
    path, link, new = tmp_path / "w.npz", tmp_path / "link.npz", tmp_path / "new.npz"
    save(Some(1.0), path)
    path.chmod(0o640)
    link.symlink_to(path)
    save(Some(2.0), link)
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert content(load(Some(), path)) == content(Some(2.0))
    mask = os.umask(0o027)
    try:
        save(Some(), new)
    finally:
        os.umask(mask)
    assert new.stat().st_mode & 0o777 == 0o640


# ---- paths


@pytest.mark.parametrize(
    "run", [lambda path: save(Some(), path), lambda path: load(Some(), path)], ids=["save", "load"]
)
@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("w.txt", r"w\.txt: unknown suffix '.txt': use .npz or .safetensors"),
        ("w", "w: unknown suffix '': use .npz or .safetensors"),
        ("w.npz.gz", "unknown suffix '.gz'"),
        (".npz", "unknown suffix ''"),
        ("", "unknown suffix ''"),
        ("w\n.pt", r"w\\n.pt: unknown suffix"),
        (b"w.npz", "a path is text or a Path, without a zero, not bytes"),
        (None, "a path is text or a Path, without a zero, not NoneType"),
        (3, "a path is text or a Path, without a zero, not int 3"),
        ("a\0b.npz", "a path is text or a Path, without a zero, not str"),
        (Some(), "a path is text or a Path, without a zero, not Some"),
    ],
)
def test_a_path_that_will_not_do(tmp_path, monkeypatch, run, path, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=match):
        run(path)
    assert list(tmp_path.iterdir()) == []


@either
def test_no_file_to_load(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{path}'")):
        load(Some(), path)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=re.escape(f"'{path}'")):
        load(Some(), path)


@pytest.mark.parametrize("model", [None, {"a": np.zeros(2)}, Some, "w.npz", lambda: 0])
def test_only_a_module_is_filled(tmp_path, model):
    save({"a": 1.0}, tmp_path / "w.npz")
    with pytest.raises(InputError, match=r"load fills a module, as in load\(model, path\), not "):
        load(model, tmp_path / "w.npz")


@pytest.mark.parametrize("run", [save, load])
def test_a_missing_package_says_what_installs_it(tmp_path, monkeypatch, run):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "w.safetensors"
    with pytest.raises(MissingExtraError, match=r'need a package: pip install "microgad\[safetensors\]"$') as error:
        run(Some(), path)
    assert isinstance(error.value, ImportError)
    assert not path.exists()
    save(Some(1.0), tmp_path / "w.npz")
    assert content(load(Some(), tmp_path / "w.npz")) == content(Some(1.0))


# ---- what does not fit


@either
def test_all_that_does_not_fit_is_said_at_once_in_the_words_of_load_state_dict(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    state = {"layers.0": np.zeros((3, 2)), "layers.1": np.zeros(()), "other": np.zeros(2), "scale": np.zeros(1)}
    save(state, path)
    said = refused(Some(), path, StateDictError)
    with pytest.raises(StateDictError) as error:
        Some().load_state_dict({name: state[name] for name in sorted(state)})
    lines, theirs = (sorted(text.removeprefix(f"{path}: ").split("\n")) for text in (said, str(error.value)))
    assert lines == theirs
    assert "  shape: layers.0 is (3, 2), and the model's is (2, 3)" in lines
    assert len(lines) == 1 + 2 + 1 + 3


@either
def test_not_strict(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save({"scale": 4.0, "other": np.zeros(2)}, path)
    expected = content(Some(1.0)) | {"scale": (np.dtype(float), (), np.float64(4.0).tobytes())}
    refused(Some(1.0), path, StateDictError)
    assert content(load(Some(1.0), path, strict=False)) == expected
    save({"scale": [4.0], "seen": 4}, path)
    assert refused(Some(1.0), path, StateDictError, strict=False).count("\n") == 1


def test_what_is_not_expected_is_not_read(tmp_path):
    path = tmp_path / "w.npz"
    write(path, {"scale.npy": npy(4.0), "other.npy": b"no array"})
    assert load(Some(), path, strict=False).scale.data == 4.0
    assert "unexpected: other" in refused(Some(), path, StateDictError)


# ---- files that are damaged, or were never weights


def npy(x, version=(1, 0), **header):
    """An array as a member of a .npz, with another header than it should have."""
    data, x = io.BytesIO(), np.asarray(x)
    fields = np.lib.format.header_data_from_array_1_0(x) | header
    write_header = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write_header(data, fields)
    return data.getvalue() + x.tobytes(order="A")


def raw(header, data=b"", version=b"\x01\x00", length=None):
    """A member with any header."""
    length = len(header) if length is None else length
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", length)
    return b"\x93NUMPY" + version + size + header + data


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items() if isinstance(members, dict) else members:
            file.writestr(name, data)


def one(data, **kwargs):
    """What writes a file with that as its entry "scale"."""
    return lambda path: write(path, {"scale.npy": data}, **kwargs)


def changed(data, where, new, count=-1):
    """What writes a .npz of the entry "scale" and then replaces bytes in it."""

    def make(path):
        write(path, {"scale.npy": data})
        before = path.read_bytes()
        assert where in before
        path.write_bytes(before.replace(where, new, count))

    return make


def stored(x):
    return lambda path: np.savez(path, scale=x)


def twice(path):
    write(path, {"scale.npy": npy(1.0), "scald.npy": npy(2.0)})
    path.write_bytes(path.read_bytes().replace(b"scald", b"scale"))


class Runs:
    """What sets a mark when it is unpickled."""

    ran = False

    def __reduce__(self):
        return (setattr, (Runs, "ran", True))


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
HEAD = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }"


def head(descr="<f8", order="False", shape="()"):
    return (HEAD % (descr, order, shape)).encode()


def long_name(path):
    """A name of which a message does not show all, and which is another one in the table of contents."""
    write(path, {f"{'x' * 60_000}.npy": npy(1.0)})
    path.write_bytes(path.read_bytes().replace(b"x.npy", b"y.npy", 1))


def commented():
    info = zipfile.ZipInfo("scale.npy")
    info.comment = b"said"
    return info


def flags(path, bit):
    write(path, {"scale.npy": npy(1.0)})
    data = bytearray(path.read_bytes())
    for start, offset in ((LOCAL, 6), (CENTRAL, 8)):
        data[data.index(start) + offset] |= bit
    path.write_bytes(data)


def longer(path):
    """A compressed member that ends before the length that is said in all places, and in its own header."""
    write(path, {"scale.npy": raw(head(), b"")}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    size = struct.unpack_from("<I", data, data.index(CENTRAL) + 24)[0]
    for start, offset in ((LOCAL, 22), (CENTRAL, 24)):
        struct.pack_into("<I", data, data.index(start) + offset, size + 8)
    path.write_bytes(data)


ONE = np.float64(1.0).tobytes()
DAMAGED = {
    "empty": (lambda path: path.write_bytes(b""), "no .npz at all"),
    "text": (lambda path: path.write_text("weights\n" * 100), "no .npz at all"),
    "zeros": (lambda path: path.write_bytes(bytes(1000)), "no .npz at all"),
    "one array": (lambda path: path.write_bytes(npy(1.0)), "no .npz at all"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Runs())), r"a pickle, .* microgad\.nn\.save\(torch\.load"),
    "objects": (stored(np.array(Runs(), object)), "scale in it is of dtype |O, .*unpickling"),
    "a pickle as a member": (lambda path: write(path, {"w/data.pkl": pickle.dumps(Runs())}), r"data\.pkl' .*torch\."),
    "complex": (stored(np.array(1j)), "scale in it is of dtype <c16"),
    "text in it": (stored(np.array("1.0")), "scale in it is of dtype <U3"),
    "bytes in it": (stored(np.array(b"1.0")), r"scale in it is of dtype \|S3"),
    "void": (stored(np.void(b"12345678")), r"scale in it is of dtype \|V8"),
    "dates": (stored(np.datetime64("2020-01-01")), "scale in it is of dtype <M8"),
    "records": (stored(np.zeros((), "f8,i4")), "scale in it is no array of real numbers"),
    "long doubles": (one(raw(head("<f16"), bytes(16))), "scale in it is of dtype <f16"),
    "no dtype": (one(raw(head(""), ONE)), "scale in it is of dtype "),
    "an unknown order of bytes": (one(raw(head("?f8"), ONE)), r"scale in it is of dtype \?f8"),
    "an unknown dtype": (one(raw(head("<f7"), ONE)), "scale in it is of dtype <f7"),
    "no .npy": (lambda path: write(path, {"scale.txt": b"1.0"}), r"'scale\.txt' in it is no array \(\.npy\); nothing"),
    "a folder": (lambda path: write(path, {"scale/": b""}), "'scale/' in it is no array"),
    "an entry twice": (twice, "'scale' is in it twice"),
    "a comment": (lambda path: write(path, [(commented(), npy(1.0))]), "'scale' in it is commented"),
    "bzip2": (one(npy(1.0), compression=zipfile.ZIP_BZIP2), "'scale' in it is .* compressed"),
    "lzma": (one(npy(1.0), compression=zipfile.ZIP_LZMA), "'scale' in it is .* compressed"),
    "encrypted": (lambda path: flags(path, 1), "password"),
    "a name after a zero": (changed(npy(1.0), b"scale.npy", b"sca\0e.npx"), r"'sca\\x00e\.npx' in it is no array"),
    "two names": (changed(npy(1.0), b"scale.npy", b"scald.npy", 1), "File name in directory"),
    "two long names": (long_name, "File name in directory"),
    "no member where one is said to be": (changed(npy(1.0), LOCAL, b"PK\x03\x05"), "Bad magic number for file header"),
    "no table of contents where it is said to be": (changed(npy(1.0), CENTRAL, b"PK\x01\x03"), "central directory"),
    "numbers that were changed": (changed(npy(1.0), ONE, bytes(8)), "Bad CRC-32"),
    "an empty member": (one(b""), "scale in it is no array of real numbers"),
    "a member of a few bytes": (one(b"\x93NUMPY"), "scale in it is no array of real numbers"),
    "version 2.0": (one(npy(1.0, version=(2, 0))), "format 1.0"),
    "a header of 4 GB": (one(raw(b"", version=b"\x02\x00", length=2**32 - 1)), "format 1.0"),
    "no header": (one(raw(b"", ONE)), "scale in it is no array"),
    "half a header": (one(raw(head()[:30])), "scale in it is no array"),
    "a header that says to be longer": (one(raw(head(shape="(0,)"), length=60_000)), "that is not what its length is"),
    "code in the header": (one(raw(b"{'descr': exit(), 'fortran_order': False, 'shape': ()}", ONE)), "no array"),
    "deep brackets": (one(raw(b"(" * 60_000, ONE)), "scale in it is no array"),
    "spaces": (one(raw(b" " * 60_000, ONE)), "scale in it is no array"),
    "a name in the header": (one(raw(head(order="None"), ONE)), "scale in it is no array"),
    "a negative length": (one(raw(head(shape="(-1,)"), ONE)), "scale in it is no array"),
    "a length of a float": (one(raw(head(shape="(1.0,)"), ONE)), "scale in it is no array"),
    "a length of True": (one(raw(head(shape="(True,)"), ONE)), "scale in it is no array"),
    "a length of 25 digits": (one(raw(head(shape=f"({'9' * 25},)"), ONE)), "scale in it is no array"),
    "lengths whose product is 2 ** 64": (one(raw(head(shape="(4294967296, 4294967296)"), ONE)), "not what its length"),
    "lengths that no array has": (one(raw(head(shape="(0, 9999999999, 9999999999)"))), "which no array has"),
    "65 axes": (one(raw(head(shape=f"({'1, ' * 64}1)"), ONE)), "which no array has"),
    "66 axes": (one(raw(head(shape=f"({'1, ' * 65}1)"), ONE)), "scale in it is no array"),
    "20,000 axes": (one(raw(head(shape=f"({'1, ' * 20_000})"), ONE)), "scale in it is no array"),
    "more numbers than it says": (one(raw(head(), ONE * 2)), r"scale in it is said to be \(\) of float64"),
    "fewer numbers than it says": (one(raw(head(), ONE[:7])), "that is not what its length is"),
    "fewer numbers than the table of contents says": (longer, "shorter than it says|CRC"),
}  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_file_of_weights(tmp_path, name, strict):
    make, match = DAMAGED[name]
    path = tmp_path / "w.npz"
    make(path)
    with little_memory(3):
        said = refused(Scalar(), path, FormatError, match, strict=strict)
    assert "\n" not in said
    assert len(said) < len(str(path)) + 450
    assert said.endswith("; nothing was loaded")
    assert not Runs.ran


def test_the_members_of_that_table_are_read_where_they_are_right(tmp_path):
    for data in (
        npy(1.0),
        raw(head(), ONE),
        raw(head().replace(b"'", b'"').replace(b" ", b"\n"), ONE),
        raw(head("=f8"), ONE),
    ):
        write(tmp_path / "w.npz", {"scale.npy": data})
        assert load(Scalar(), tmp_path / "w.npz").scale.data == 1.0


@pytest.mark.parametrize("new", [True, False], ids=["zip", "pickle"])
def test_a_file_of_torch_save(tmp_path, new):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.npz"
    torch.save({"scale": torch.ones(())}, path, _use_new_zipfile_serialization=new)
    said = refused(Scalar(), path, FormatError)
    advice = re.search(r"microgad\.nn\.(save\(torch\.load\(path, weights_only=True\), )'weights\.npz'\)", said)
    eval(f"{advice[1]}target)", {"save": save, "torch": torch, "path": path, "target": tmp_path / "new.npz"})
    assert load(Scalar(), tmp_path / "new.npz").scale.data == 1.0
    with pytest.raises(InputError, match=r"unknown suffix '\.pt'.*microgad\.nn\.save\(torch\.load\("):
        load(Scalar(), tmp_path / "w.pt")


def test_names_are_keys_and_never_paths(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path, odd = folder / "w.npz", ["../x", "/x", "..\\x", "C:\\x", "", ".", "a//b", "x.npy", "é \U0001f600\n"]
    save({f"parts.{name}": 1.0 for name in odd}, path)
    model = Bag({name: Parameter(0.0) for name in odd})
    assert [float(x) for x in load(model, path).state_dict().values()] == [1.0] * len(odd)
    write(path, {"../y.npy": npy(1.0), "/y.npy": npy(1.0)})
    refused(Some(), path, StateDictError, r"unexpected: \.\./y")
    load(Some(), path, strict=False)
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["a", "b", "w.npz"]


@either
def test_no_part_of_a_file_is_a_file(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save(Some(1.0), path)
    good = path.read_bytes()
    for end in range(0, len(good), 3):
        path.write_bytes(good[:end])
        refused(Some(), path, FormatError)
    path.write_bytes(good)
    assert content(load(Some(), path)) == content(Some(1.0))


@pytest.mark.parametrize(
    "by", [save, lambda x, path: np.savez_compressed(path, **x.state_dict())], ids=["save", "numpy"]
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_changed_bit_is_seen_or_does_not_matter(tmp_path, by, strict):
    path = tmp_path / "w.npz"
    by(Some(1.0), path)
    good, right, seen = path.read_bytes(), content(Some(1.0)), 0
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1 :])
        model = Some()
        before = content(model)
        try:
            load(model, path, strict=strict)
        except FormatError:
            assert content(model) == before
            seen += 1
        else:
            assert content(model) == right, i
    assert seen > len(good) / 2


@either
def test_any_changes_give_an_error_of_microgad_or_numbers(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save(Some(1.0), path)
    good, shapes = path.read_bytes(), {name: x.shape for name, x in Some().state_dict().items()}
    random = np.random.default_rng(1)
    for _ in range(800):
        data = bytearray(good)
        for _ in range(random.integers(1, 6)):
            at, n = random.integers(len(data)), random.choice([1, 2, 4, 8])
            data[at : at + n] = (b"\0" * n, b"\xff" * n, random.bytes(n))[random.integers(3)]
        path.write_bytes(data)
        model = Some()
        before = content(model)
        try:
            load(model, path, strict=False)
        except (FormatError, StateDictError):
            assert content(model) == before
        assert {name: x.shape for name, x in model.state_dict().items()} == shapes


# ---- bombs


ZEROS = bytes(1 << 20)


def inflated(path, name, start, megabytes):
    """A member that is small in the file and large in memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(name, "w") as member:
        member.write(start)
        for _ in range(megabytes):
            member.write(ZEROS)


def directory(path, size, zip64=False, entries=b""):
    """An empty file that says to end in a table of contents of that size."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, min(size, 2**32 - 1), 0, 0)
    if zip64:
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 0) + (
            struct.pack("<4sLQL", b"PK\6\7", 0, size, 1) + end
        )
    with open(path, "wb") as file:
        file.write(entries)
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        file.write(end)


def sized(path, shape, size):
    """A member that says to be of a shape and, in all places, of that many bytes."""
    write(path, {"scale.npy": raw(head(shape=shape), ONE)})
    data = bytearray(path.read_bytes())
    for start, offset in ((LOCAL, 22), (CENTRAL, 24)):
        struct.pack_into("<I", data, data.index(start) + offset, size + 10 + len(head(shape=shape)))
    path.write_bytes(data)


ENTRY = struct.pack("<4s4B4HL2L5H2L", CENTRAL, *[0] * 18)
BOMBS = {
    "more zeros than the header says": (
        lambda path: inflated(path, "scale.npy", raw(head()), 150), FormatError, "not what its length is"),
    "zeros in another shape": (
        lambda path: inflated(path, "scale.npy", raw(head(shape=f"({150 << 17},)")), 150), StateDictError,
        rf"shape: scale is \({150 << 17},\), and the model's is \(\)"),
    "zeros in a header": (
        lambda path: inflated(path, "scale.npy", b"\x93NUMPY\x01\x00\xff\xff", 150), FormatError, "no array"),
    "zeros in a long header": (
        lambda path: inflated(path, "scale.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", 150), FormatError, "no array"),
    "zeros that nobody expects": (
        lambda path: inflated(path, "other.npy", raw(head()), 150), StateDictError, "unexpected: other"),
    "4 GB that are not there": (
        lambda path: sized(path, "(500000000,)", 4_000_000_000), StateDictError, r"scale is \(500000000,\)"),
    "a table of contents of 100 MB": (
        lambda path: directory(path, 100 << 20), FormatError, "table of contents has 104,857,600 bytes"),
    "a table of contents of 100 MB in 64 bits": (
        lambda path: directory(path, 100 << 20, True), FormatError, "table of contents has 104,857,600 bytes"),
    "as many names as there may be": (
        lambda path: directory(path, len(ENTRY) * 22_000, entries=ENTRY * 22_000), FormatError, "'' in it is no array"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_memory(tmp_path, name):
    make, error, match = BOMBS[name]
    path = tmp_path / "w.npz"
    make(path)
    with little_memory(10):
        refused(Scalar(), path, error, match)


def test_what_is_not_expected_may_be_as_large_as_it_likes(tmp_path):
    inflated(tmp_path / "w.npz", "other.npy", raw(head(shape=f"({150 << 17},)")), 150)
    with zipfile.ZipFile(tmp_path / "w.npz", "a") as file:
        file.writestr("scale.npy", npy(3.0))
    with little_memory(3):
        assert load(Scalar(), tmp_path / "w.npz", strict=False).scale.data == 3.0


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_memory_for_a_large_model_is_that_of_a_few_copies(tmp_path, compression):
    x = np.random.default_rng(0).normal(size=(1000, 1000))
    write(tmp_path / "w.npz", {"parts.0.npy": npy(x)}, compression)
    model = Bag([Parameter(np.zeros_like(x))])
    with little_memory(3 * x.nbytes / 2**20):
        load(model, tmp_path / "w.npz")
    assert (model.parts[0].data == x).all()


def test_a_model_of_very_many_small_parts(tmp_path):
    """As a network of Values has them: its table of contents is longer than what any other model is allowed."""
    parts = {f"{'layer' * 20}.{i}": np.float64(i) for i in range(9000)}
    save({f"parts.{name}": x for name, x in parts.items()}, tmp_path / "w.npz")
    model = Bag({name: Value(0.0) for name in parts})
    load(model, tmp_path / "w.npz")
    assert [x.data for x in model.parts.values()] == list(map(float, range(9000)))
    refused(Scalar(), tmp_path / "w.npz", FormatError, "far more names than this model", strict=False)


# ---- safetensors


def tensors(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(dtype, shape, end):
    return {"scale": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


TENSORS = {
    "an .npz": (lambda path: write(path, {"scale.npy": npy(1.0)}), FormatError, "this is no .safetensors"),
    "a header of 2 ** 62 bytes": (lambda path: tensors(path, {}, length=2**62), FormatError, "this is no .safetensors"),
    "a header of 50 MB": (lambda path: tensors(path, b" " * (50 << 20)), FormatError, "far more names than this model"),
    "no JSON": (lambda path: tensors(path, b"weights"), FormatError, "no .safetensors at"),
    "deep brackets": (lambda path: tensors(path, b"[" * 500_000), FormatError, "no .safetensors at"),
    "bfloat16": (lambda path: tensors(path, entry("BF16", [], 2), bytes(2)), FormatError, "is of type BF16"),
    "complex": (lambda path: tensors(path, entry("C64", [], 8), bytes(8)), FormatError, "is of type C64"),
    "an unknown type": (lambda path: tensors(path, entry("F7", [], 8), ONE), FormatError, "no .safetensors at"),
    "too few bytes": (lambda path: tensors(path, entry("F64", [], 8), ONE[:7]), FormatError, "no .safetensors at"),
    "too many bytes": (lambda path: tensors(path, entry("F64", [], 8), ONE * 2), FormatError, "no .safetensors at"),
    "an overflow": (lambda path: tensors(path, entry("F64", [2**40] * 2, 8), ONE), FormatError, "no .safetensors at"),
    "a negative length": (lambda path: tensors(path, entry("F64", [-1], 8), ONE), FormatError, "no .safetensors at"),
    "65 axes": (lambda path: tensors(path, entry("F64", [1] * 65, 8), ONE), FormatError, "which no array has"),
    "lengths that no array has": (lambda path: tensors(path, entry("F64", [0, 2**63], 0)), FormatError, "no array has"),
    "100 MB": (
        lambda path: tensors(path, entry("F64", [100 << 17], 100 << 20), bytes(100 << 20)), StateDictError,
        r"scale is \(13107200,\)"),
}  # fmt: skip


@needs_package
@pytest.mark.parametrize("name", TENSORS)
def test_a_file_that_is_no_safetensors(tmp_path, name):
    make, error, match = TENSORS[name]
    path = tmp_path / "w.safetensors"
    make(path)
    with little_memory(3):
        refused(Scalar(), path, error, match)


@needs_package
@pytest.mark.parametrize("dtype", ["F16", "F32", "I8", "U64", "BOOL"])
def test_other_types_of_safetensors_are_numbers_too(tmp_path, dtype):
    one = {"F16": np.float16, "F32": np.float32, "I8": np.int8, "U64": np.uint64, "BOOL": bool}[dtype](1)
    data = np.asarray(one).tobytes()
    tensors(tmp_path / "w.safetensors", entry(dtype, [], len(data)), data)
    assert load(Scalar(), tmp_path / "w.safetensors").scale.data == 1.0


@needs_package
def test_the_package_reads_what_was_saved(tmp_path):
    reader = pytest.importorskip("safetensors.numpy")
    save(Some(1.5), tmp_path / "w.safetensors")
    assert content(reader.load_file(tmp_path / "w.safetensors")) == content(Some(1.5))
