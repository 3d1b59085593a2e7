"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then moved there."""
    try:
        path = path.resolve()  # what a link leads to, not the link
    except RuntimeError:  # as pathlib said it before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None
    umask = os.umask(0)
    os.umask(umask)
    mode = path.stat().st_mode if path.exists() else 0o666 & ~umask  # mkstemp gives a private file
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".microgad-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)  # else a power cut after the move may leave an empty file
        os.chmod(beside, mode)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)  # an interrupt may come when it has been moved
        raise
