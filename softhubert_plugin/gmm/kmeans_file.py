"""Read the centroids of fairseq's ``learn_kmeans.py`` without running code from the file.

That script saves a scikit-learn object with joblib, which uses pickle: loading it the usual way would run any code in the file. This
module rebuilds only arrays and plain data; every other class becomes an inert record of its attributes. Compressed files are read too.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, ClassVar, Dict, Optional, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike
from softhubert_plugin.gmm.decompression import LARGEST_CONTENT, LARGEST_PIECE, is_compressed, open_decompressed

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Record:
    """Stands in for any other class: it accepts any arguments, keeps the attributes, and runs nothing."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> _Record:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.state: Dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _StoredArray(_Record):
    """joblib's description of an array, whose bytes follow it in the file."""

    def read(self, stream: io.BufferedIOBase) -> np.ndarray:
        """Read the array; of an array that is not a matrix, only its type is kept.

        Raises:
            ValueError, TypeError, …: the description is damaged, or asks for more than the file holds.
        """
        dtype, shape = self.state["dtype"], tuple(int(length) for length in self.state["shape"])
        if not isinstance(dtype, np.dtype) or dtype.hasobject or dtype.itemsize == 0:
            raise ValueError(f"an array of {dtype}")
        if self.state.get("numpy_array_alignment_bytes") is not None:  # since joblib 1.2
            stream.read(stream.read(1)[0])
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size > LARGEST_CONTENT:
            raise ValueError(f"an array of shape {shape}")
        is_needed = len(shape) == 2  # centroids; the cluster of each of millions of training frames is not
        content = np.empty(size if is_needed else 0, dtype=np.uint8)
        for start in range(0, size, LARGEST_PIECE):
            piece = stream.read(min(LARGEST_PIECE, size - start))
            if len(piece) < min(LARGEST_PIECE, size - start):
                raise ValueError(f"ends within an array of shape {shape}")
            if is_needed:
                content[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        if not is_needed:
            return np.empty(0, dtype)
        return content.view(dtype).reshape(shape, order="F" if self.state.get("order") == "F" else "C")


def _empty_array(_subclass: Any, shape: Any, dtype: Any) -> np.ndarray:
    """NumPy's ``_reconstruct`` for the only shape that pickles ask for; the array's state follows."""
    if shape != (0,):
        raise pickle.UnpicklingError(f"an empty array of shape {shape}")
    return np.ndarray(shape, dtype)


def _number_type(code: str, *_options: Any) -> np.dtype:
    """``numpy.dtype`` of a code such as ``f8``: always a new object, because the state that follows changes it."""
    found = np.dtype(str(code), copy=True)
    if found.kind not in "biufcO":  # the state of other types sets their size
        raise pickle.UnpicklingError(f"the type {code}")
    return found


def _scalar(kind: np.dtype, content: bytes) -> Any:
    """NumPy's ``scalar``, for numbers."""
    if kind.hasobject:
        raise pickle.UnpicklingError("a number that is an object")
    return np.frombuffer(content, kind)[0]


def _bytes_of(text: str, _encoding: str) -> bytes:
    """``codecs.encode`` as pickles before protocol 3 use it, to spell bytes as text."""
    return text.encode("latin1")


# Everything that a file may call. Other names stand for an inert record.
_CALLABLE: Dict[Tuple[str, str], Any] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _StoredArray,
    ("numpy", "dtype"): _number_type,
    ("_codecs", "encode"): _bytes_of,
    **{(module, "_reconstruct"): _empty_array for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
}
_Unpickler: Any = pickle._Unpickler  # Python's own: unlike C's, it stops where an array begins


class _SafeUnpickler(_Unpickler):
    """Builds arrays and plain data only."""

    dispatch: ClassVar[Dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        return _CALLABLE.get((module, name), _Record)

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_Record, np.ndarray, np.dtype)):
            raise pickle.UnpicklingError(f"the state of a {type(self.stack[-2]).__name__}")
        super().load_build()
        if isinstance(self.stack[-1], _StoredArray):
            self.stack[-1] = self.stack[-1].read(self.stream)

    dispatch[pickle.BUILD[0]] = load_build


def is_kmeans_file(path: PathLike) -> bool:
    """Whether a file looks like one of joblib's, by its first bytes, and not like a mixture or anything else."""
    try:
        with open(path, "rb") as stream:
            beginning = stream.read(9)
    except OSError:
        return False
    # safetensors begin with the length of their header, which may be any eight bytes, and its first brace.
    return beginning[8:] != b"{" and (beginning.startswith(pickle.PROTO) or is_compressed(beginning))


def read_kmeans(path: PathLike) -> np.ndarray:
    """Read the centroids of a k-means model that joblib saved, as fairseq does, compressed or not.

    Returns:
        ``(K, D)`` float64.

    Raises:
        SoftHubertError: the file is missing, damaged, compressed in a way that cannot be read here, or holds no centroids.
    """
    path = Path(path)
    if not path.is_file():
        raise SoftHubertError(f"{path}: no such k-means model; make one with fairseq's learn_kmeans.py")
    with blaming(path, "damaged, or not a k-means model saved by joblib", "fit it again"):
        with open(path, "rb") as file, open_decompressed(file, path) as stream:
            model = _SafeUnpickler(stream).load()
            while stream.read(1 << 20):  # to the end, where compressed files have their checksums
                pass
        return _centroids(path, model)


def _centroids(path: Path, model: Any) -> np.ndarray:
    centroids: Optional[Any] = model.state.get("cluster_centers_") if isinstance(model, _Record) else None
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or centroids.dtype.kind != "f" or not np.isfinite(centroids).all():
        raise SoftHubertError(f"{path}: holds no centroids; expected a fitted KMeans or MiniBatchKMeans as learn_kmeans.py saves it")
    return centroids.astype(np.float64)
