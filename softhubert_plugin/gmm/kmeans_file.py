"""Read the centroids of fairseq's ``learn_kmeans.py`` without running code from the file.

That script saves a scikit-learn object with joblib, which uses pickle: loading it the usual way would run any code in the file. This
module rebuilds only arrays and plain data; every other class becomes an inert record of its attributes.
"""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any, Dict

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike

_ARRAYS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}


class _Record:
    """Stands in for any other class: it accepts any arguments, keeps the attributes, and runs nothing."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> _Record:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.state: Dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


def read_kmeans(path: PathLike) -> np.ndarray:
    """Read the centroids of a k-means model that joblib saved uncompressed, as fairseq does.

    Returns:
        ``(K, D)`` float64.

    Raises:
        SoftHubertError: the file is missing, damaged, or holds no centroids.
    """
    from joblib import numpy_pickle

    class SafeArray(numpy_pickle.NumpyArrayWrapper):
        def read_array(self, *arguments: Any, **named: Any) -> np.ndarray:
            if self.dtype.hasobject:  # joblib would unpickle these without restrictions
                raise pickle.UnpicklingError("an array of objects")
            return super().read_array(*arguments, **named)

    class SafeUnpickler(numpy_pickle.NumpyUnpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
                return SafeArray
            return super().find_class(module, name) if (module, name) in _ARRAYS else _Record

    path = Path(path)
    if not path.is_file():
        raise SoftHubertError(f"{path}: no such k-means model; make one with fairseq's learn_kmeans.py")
    try:
        with open(path, "rb") as stream:
            # joblib 1.5 requires this argument (convert arrays to this machine's byte order); earlier versions do not have it.
            asks = "ensure_native_byte_order" in inspect.signature(numpy_pickle.NumpyUnpickler.__init__).parameters
            options = {"ensure_native_byte_order": True} if asks else {}
            model = SafeUnpickler(str(path), stream, **options).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError) as error:
        raise SoftHubertError(f"{path}: damaged, or not a k-means model saved by joblib ({error}); fit it again") from None
    return _centroids(path, model)


def _centroids(path: Path, model: Any) -> np.ndarray:
    centroids = model.state.get("cluster_centers_") if isinstance(model, _Record) else None
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or centroids.dtype.kind != "f" or not np.isfinite(centroids).all():
        raise SoftHubertError(f"{path}: holds no centroids; expected a fitted KMeans or MiniBatchKMeans as learn_kmeans.py saves it")
    return centroids.astype(np.float64)
