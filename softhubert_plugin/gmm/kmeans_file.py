"""Read the centroids of fairseq's ``learn_kmeans.py`` without running what the file says.

That script saves a scikit-learn object with joblib, which is a pickle: loading it the usual way would execute whatever it holds.
Here only arrays and plain data are rebuilt; every other class becomes an inert record of its attributes.
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
    """Stands in for any other class: takes what it is given and does nothing with it."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> _Record:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.state: Dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


def read_kmeans(path: PathLike) -> np.ndarray:
    """The centroids ``(K, D)`` float64 of a k-means model saved with joblib, uncompressed as fairseq does.

    Raises:
        SoftHubertError: the file is missing, damaged, or holds no centroids.
    """
    from joblib import numpy_pickle

    class SafeArray(numpy_pickle.NumpyArrayWrapper):
        def read_array(self, *arguments: Any, **named: Any) -> np.ndarray:
            if self.dtype.hasobject:  # joblib would unpickle those without asking anybody
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
            # Joblib 1.5 asks whether to turn arrays to this machine's byte order; earlier ones do not.
            asks = "ensure_native_byte_order" in inspect.signature(numpy_pickle.NumpyUnpickler.__init__).parameters
            options = {"ensure_native_byte_order": True} if asks else {}
            model = SafeUnpickler(str(path), stream, **options).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError) as error:
        raise SoftHubertError(f"{path}: damaged, or not a k-means model saved by joblib ({error}); fit it again") from None
    return _centroids(path, model)


def _centroids(path: Path, model: Any) -> np.ndarray:
    centroids = model.state.get("cluster_centers_") if isinstance(model, _Record) else None
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or centroids.dtype.kind != "f" or not np.isfinite(centroids).all():
        raise SoftHubertError(f"{path}: no centroids in it; expected a fitted KMeans or MiniBatchKMeans as learn_kmeans.py saves it")
    return centroids.astype(np.float64)
