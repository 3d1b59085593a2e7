"""Weights in files: saved whole or not at all, and loaded without trust in what a file says of itself."""

from __future__ import annotations

import importlib
import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from microgad.array_functions import array_of
from microgad.atomic import write
from microgad.errors import FormatError, InputError, MissingExtraError, StateDictError, brief, shown
from microgad.naming import literal
from microgad.node import Node
from microgad.saved_text import whole
from microgad.tensor import Tensor, leaf

from .module import Module

SUFFIXES = (".npz", ".safetensors")
CONVERT = "what torch.save wrote is converted by microgad.nn.save(torch.load(path, weights_only=True), 'weights.npz')"
LONGEST = 65_000  # bytes of a name: a zip file has two for their number
ROOM = 2**20  # bytes of a table of contents, beside those that the names of the model need
PIECE = 2**18  # bytes that are read at a time
HEADER = re.compile(
    r"\s*\{\s*'descr'\s*:\s*'([^']*)'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,\s*'shape'\s*:\s*"
    r"\(((?:\d{1,19},\s*){0,64}(?:\d{1,19})?)\)\s*,?\s*\}\s*"
)
KINDS = {  # of NumPy, and their names in safetensors
    "b1": "BOOL", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64",
    "f2": "F16", "f4": "F32", "f8": "F64",
}  # fmt: skip
# What zipfile raises, and this module, about a damaged file.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip


def save(model: Any, path: Any) -> None:
    """Write the numbers of a module to a file, whole or not at all.

    A ``.npz`` is a zip file with checksums, with an array for each name: ``np.load(path)["layers.0.weight"]`` reads it
    too. Nothing is pickled. A file of that name is replaced when the new one is complete, and survives any failure.
    Equal numbers give equal bytes.

    Parameters
    ----------
    model : Module or mapping
        A module, or a mapping from names to numbers: a `state_dict`, also that of a PyTorch module.
    path : str or path-like
        It ends in ``.npz`` or ``.safetensors``; for the latter there is ``pip install "microgad[safetensors]"``.

    Raises
    ------
    InputError
        For another suffix, an entry that holds no real numbers, or a name that no file can hold.
    MissingExtraError
        If it is a ``.safetensors``, and that package is not installed.
    OSError
        If the file cannot be written: there is no such folder, or no room.

    Examples
    --------
    >>> import os, tempfile
    >>> import microgad as mg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.npz")
    ...     save(mg.nn.Linear(3, 2), path)
    ...     with np.load(path) as file:
    ...         {name: file[name].shape for name in file}
    {'weight': (2, 3), 'bias': (2,)}
    """
    place = place_of(path)
    state = model.state_dict() if hasattr(model, "state_dict") and not isinstance(model, type) else model
    if not isinstance(state, Mapping):
        raise InputError(f"a module is saved, or a mapping from names to numbers, not {shown(model)}")
    arrays = {_name(name): _numbers(x, name) for name, x in state.items()}
    data = _npz(arrays) if place.suffix.lower() == ".npz" else _safetensors(arrays)
    try:
        write(place, data)
    except OSError as error:
        advice = "nothing was saved; the folder has to exist and be writable, with room for a second file"
        raise OSError(error.errno, f"{error.strerror or error}: {advice}", str(place)) from None


def load(model: Any, path: Any, strict: bool = True) -> Any:
    """Fill a module with the numbers of a file; with all of them, or with none where something does not fit.

    The file may come from anyone. Nothing is unpickled, names are never taken for paths, and no array is read unless
    the module has one of that name and shape: whatever the file says, memory is that of a few copies of the module.

    Parameters
    ----------
    model : Module
        It has the shapes that are expected. Numbers are converted to its types.
    path : str or path-like
        A ``.npz`` that `save` or ``np.savez`` wrote, or a ``.safetensors``, which has no checksums.
    strict : bool
        Whether names that are missing or unexpected are an error. A wrong shape is one always.

    Returns
    -------
    Module
        The model.

    Raises
    ------
    FormatError
        If the file is damaged, or holds anything but arrays of real numbers.
    StateDictError
        With every name that is missing, unexpected or of a wrong shape.
    InputError
        For another suffix, or what is no module.
    MissingExtraError
        If it is a ``.safetensors``, and that package is not installed.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> import microgad as mg
    >>> a, b = mg.nn.Linear(3, 2), mg.nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(a, os.path.join(folder, "weights.npz"))
    ...     b = load(b, os.path.join(folder, "weights.npz"))
    >>> bool((a.weight.data == b.weight.data).all())
    True
    """
    if not isinstance(model, Module):
        raise InputError(f"load fills a module, as in load(model, path), not {shown(model)}")
    place = place_of(path, f"; {CONVERT}")
    own = {name: np.shape(x) for name, x in model.state_dict().items()}
    # A name and what belongs to it take 46 bytes and more of a .npz, and in JSON a letter may take 12.
    room = ROOM + sum(1000 + 12 * len(name) for name in own)
    try:
        state = (_from_npz if place.suffix.lower() == ".npz" else _from_safetensors)(place, own, room)
    except DAMAGE as error:
        ours = isinstance(error, FormatError)
        said = f"{error}" if ours else f"it is damaged, cut off or no {place.suffix} at all, save it again ({error})"
        raise FormatError(f"{literal(str(place))}: {literal(said):.400}; nothing was loaded") from None
    try:
        model.load_state_dict(state, strict)
    except StateDictError as error:
        raise StateDictError(f"{literal(str(place))}: {error}") from None
    return model


def place_of(path: Any, advice: str = "") -> Path:
    """A path for weights, whose suffix says of which kind the file is.

    Examples
    --------
    >>> place_of("weights.npz").suffix
    '.npz'
    """
    given = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(given, str) or "\0" in given:
        raise InputError(f"a path is text or a Path, without a zero, not {shown(path)}")
    place = Path(given)
    if place.suffix.lower() not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise InputError(f"{literal(str(place))}: unknown suffix {place.suffix!r}: use {known}{advice}")
    return place


# ---- saving


def _name(name: Any) -> str:
    if not isinstance(name, str) or "\0" in name or not whole(name) or len(name.encode()) > LONGEST:
        raise InputError(f"the name of an entry is text of up to {LONGEST:,} bytes, without a zero, not {shown(name)}")
    return name


def _numbers(x: Any, name: str) -> np.ndarray[Any, Any]:
    """An entry as an array of its own type, in the one order that both kinds of files have."""
    x = x._value if isinstance(x, Node) else x
    if hasattr(x, "detach") and hasattr(x, "numpy"):  # PyTorch's
        try:
            x = x.detach().numpy()
        except (TypeError, RuntimeError) as error:  # of a type that NumPy does not have, or not in main memory
            raise InputError(f"the entry {literal(name)} is no array: {error}") from None
    found, kept = array_of(f"the entry {literal(name)}", x), np.asarray(x)
    kept = kept if kept.dtype.str[1:] in KINDS else found
    return kept.astype(kept.dtype.newbyteorder("<"), order="C", copy=False)


def _npz(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, x in arrays.items():
            info = zipfile.ZipInfo()  # of 1980, so that the bytes do not tell the time
            info.filename = f"{name}.npy"  # given to ZipInfo, a backslash would become a slash on Windows
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, x, (1, 0), allow_pickle=False)
    return out.getvalue()


def _safetensors(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    if "__metadata__" in arrays:
        raise InputError("in a .safetensors no entry can be called __metadata__: save as .npz")
    data: bytes = _package("safetensors.numpy").save(arrays)
    return data


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            'files that end in .safetensors need a package: pip install "microgad[safetensors]"'
        ) from None


# ---- loading


class _Guarded(io.BufferedReader):
    """A file that gives no more at a time than there is room for, whatever number its own fields claim."""

    room = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.room:
            raise FormatError(f"its table of contents has {size:,} bytes: far more names than this model, or damaged")
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """To a place that there is: zipfile may ask for others, as a damaged table of contents has them."""
        if offset < 0 and whence == os.SEEK_SET:
            raise FormatError("its table of contents does not fit the file")
        return super().seek(offset, whence)


def _from_npz(path: Path, own: Mapping[str, tuple[int, ...]], room: int) -> dict[str, Any]:
    """What of a .npz the model has; of the rest, the names."""
    state: dict[str, Any] = {}
    with _Guarded(io.FileIO(str(path))) as file:
        file.room = room
        if file.peek(1)[:1] == b"\x80":
            raise FormatError(f"a pickle, which could run any code, is not read; {CONVERT}")
        with zipfile.ZipFile(file) as archive:
            if own and not archive.infolist():
                raise FormatError("there is nothing in it")
            for info in archive.infolist():
                name = info.orig_filename.removesuffix(".npy")
                if name == info.orig_filename:
                    pickled = any(member.filename.endswith("data.pkl") for member in archive.infolist())
                    raise FormatError(f"{brief(name)} in it is no array (.npy)" + f"; {CONVERT}" * pickled)
                if name in state:
                    raise FormatError(f"{brief(name)} is in it twice")
                if info.comment or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise FormatError(f"{brief(name)} in it is commented or compressed as np.savez does not do it")
                with archive.open(info) as member:  # also of the others: it compares the two places of a name
                    state[name] = _array(member, name, info.file_size, own[name]) if name in own else None
    return state


def _array(member: IO[bytes], name: str, size: int, own: tuple[int, ...]) -> Any:
    """An array, if it is of the shape that the model has; else a Tensor that only has its shape."""
    start = member.read(10)
    length = int.from_bytes(start[8:], "little")  # 65,535 at most
    found = HEADER.fullmatch(member.read(length).decode("latin-1").replace('"', "'"))
    if start[:8] != b"\x93NUMPY\x01\x00" or not found:
        raise FormatError(f"{name} in it is no array of real numbers in NumPy's format 1.0")
    kind, fortran, lengths = found.groups()
    if kind[:1] not in "<>|=" or kind[1:] not in KINDS:
        objects = ", which only unpickling would read, and that could run any code" * (kind == "|O")
        raise FormatError(f"{name} in it is of dtype {kind[:20]}, not of real numbers of up to 8 bytes{objects}")
    shape = tuple(map(int, re.findall(r"\d+", lengths)))
    dtype, data = np.dtype(kind), bytearray()
    want = math.prod(shape) * dtype.itemsize
    if want != size - 10 - length:
        raise FormatError(f"{name} in it is said to be {brief(shape)} of {dtype}, and that is not what its length is")
    if shape != own:
        return _of_shape(shape, name)
    while piece := member.read(min(PIECE, want - len(data))):
        data += piece
    if len(data) != want:
        raise FormatError(f"{name} in it is shorter than it says")
    return np.ndarray(shape, dtype, data, order="F" if fortran == "True" else "C")


def _of_shape(shape: tuple[int, ...], name: str) -> Tensor:
    """An entry that does not fit, for the message that says so: one number, without memory for all."""
    try:
        return leaf(np.broadcast_to(np.float64(0.0), shape))
    except ValueError:
        raise FormatError(f"{name} in it is said to be of shape {brief(shape)}, which no array has") from None


def _from_safetensors(path: Path, own: Mapping[str, tuple[int, ...]], room: int) -> dict[str, Any]:
    """What of a .safetensors the model has; of the rest, the names."""
    package = _package("safetensors")
    with path.open("rb") as start:
        if int.from_bytes(start.read(8), "little") > room:
            raise FormatError(
                "this is no .safetensors, or one of far more names than this model; if it is a .npz or .pt, name it so"
            )
    state: dict[str, Any] = {}
    try:
        with package.safe_open(str(path), framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                part, state[name] = file.get_slice(name), None
                shape = tuple(part.get_shape())
                if name in own and part.get_dtype() not in KINDS.values():
                    raise FormatError(f"{name} in it is of type {part.get_dtype()}: convert it to F32 or F64 and save")
                if name in own:
                    state[name] = file.get_tensor(name) if shape == own[name] else _of_shape(shape, name)
    except package.SafetensorError as error:
        raise ValueError(error) from None
    return state
