"""Makes fairseq's trainer write each checkpoint completely or not at all, and report a full disk in one line.

fairseq writes ``checkpoint_best.pt`` and ``checkpoint_last.pt`` as plain copies of the first file that it saves, so a full disk leaves half
a file where the next run resumes. fairseq also tries three times to save, and prints three tracebacks. Only these two functions, the one
that saves and the one that copies, are replaced.
"""

from __future__ import annotations

import functools
import shutil
from typing import Any

import torch

from softhubert_plugin.errors import refuse_in_one_line
from softhubert_plugin.files import atomic_path


def write_checkpoints_atomically() -> None:
    """Make fairseq's trainer write atomically and report a full disk in one line (status 2)."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    save, copy = checkpoint_utils.torch_persistent_save, PathManager.copy
    if getattr(save, "is_atomic", False):
        return

    @functools.wraps(save)
    def torch_persistent_save(obj: Any, filename: Any, async_write: bool = False) -> None:
        if async_write or not isinstance(filename, str) or PathManager.path_requires_pathmanager(filename):
            save(obj, filename, async_write=async_write)
            return
        # Open the file here: torch's own writer does not report what went wrong.
        with refuse_in_one_line(), atomic_path(filename) as temporary, open(temporary, "wb") as stream:
            torch.save(obj, stream)

    @functools.wraps(copy)
    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        if any(map(PathManager.path_requires_pathmanager, (src_path, dst_path))):
            return copy(src_path, dst_path, overwrite=overwrite)
        with refuse_in_one_line(), atomic_path(dst_path) as temporary:
            shutil.copyfile(src_path, temporary)
        return dst_path

    torch_persistent_save.is_atomic = True  # type: ignore[attr-defined]
    checkpoint_utils.torch_persistent_save = torch_persistent_save
    PathManager.copy = staticmethod(copy_whole)
