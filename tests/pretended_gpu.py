"""A GPU that is not there, for tests on machines without one.

Inside :func:`pretend` torch believes in CUDA devices. Tensors on them are computed on the CPU, with real numbers, and their storages are
marked: a marked tensor says ``device == cuda:0``. As on a real GPU, an operation on tensors of two devices raises, and ``.numpy()``
raises. What would make the host wait for the device is recorded with the line that asked for it, and so are transfers and launches.

How it works: a dispatch mode sees every operation, and a function mode answers for ``.device``, ``.to`` and their like. autograd sees CPU
tensors. A tensor that C++ makes inside another function, or in the backward pass, belongs to neither device until it meets one.

What it does not know: speed, memory, streams, NCCL, and the numbers of CUDA's own kernels.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
import types
from typing import Any, ClassVar, Counter, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# Where a storage is, when not on the GPU of a number. What nobody has placed (C++ made it, or a file was read) is on neither side.
HOST, NEITHER = -1, -2

# They read a result back before they return (aten/src/ATen/native/cuda, "Device -> Host" or a size that depends on the data).
WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "nonzero_numpy",
    "masked_select",
    "equal",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "is_nonzero",
    "linalg_eigh",
    "_linalg_eigh",
    "linalg_cholesky_ex",
    "cholesky",
    "_linalg_check_errors",
}
# They take lengths from the host.
TAKES_LENGTHS = {"_ctc_loss", "_ctc_loss_backward", "_pack_padded_sequence"}
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}


class Transfer(NamedTuple):
    """Bytes from host to device or back: whether from pinned memory, whether the host waits, and where in the code."""

    size: int
    pinned: bool
    blocking: bool
    where: str


class Gpu:
    """What happens on the pretended devices.

    Attributes:
        count: how many devices there are.
        current: the one that ``cuda`` without a number means.
        waits: operations for which the host waits, each with the lines of code that led to it, blocking transfers included.
        uploads, downloads: transfers.
        launches: operations by name.
        queued: launches and transfers since the beginning, which :meth:`forget` leaves alone.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.current = 0
        self._storages: Dict[int, Tuple[StorageWeakRef, int]] = {}
        self._pinned: Dict[int, StorageWeakRef] = {}
        self._next_sweep = 10_000
        self.queued = 0
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.waits: List[str] = []
        self.uploads: List[Transfer] = []
        self.downloads: List[Transfer] = []
        self.launches: Counter[str] = collections.Counter()

    def place(self, tensor: torch.Tensor, where: int) -> torch.Tensor:
        """Say where the storage of a tensor is."""
        storage = _storage(tensor)
        self._storages[storage._cdata] = (StorageWeakRef(storage), where)
        if len(self._storages) > self._next_sweep:
            self._storages = {key: found for key, found in self._storages.items() if not found[0].expired()}
            self._next_sweep = 2 * len(self._storages) + 10_000
        return tensor

    def place_of(self, tensor: torch.Tensor) -> int:
        """The number of its device, :data:`HOST`, or :data:`NEITHER`."""
        try:
            reference, where = self._storages[_storage(tensor)._cdata]
        except (KeyError, NotImplementedError, RuntimeError):
            return NEITHER
        return NEITHER if reference.expired() else where

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = _storage(tensor)
        self._pinned[storage._cdata] = StorageWeakRef(storage)
        return tensor

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        reference = self._pinned.get(_storage(tensor)._cdata)
        return reference is not None and not reference.expired()

    def number_of(self, device: Any) -> Optional[int]:
        """The number of a device as torch names it; :data:`HOST` for the CPU, ``None`` where none is named."""
        if device is None or isinstance(device, (bool, torch.Tensor, torch.dtype)):
            return None
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        if device.type != "cuda":
            return HOST
        number = self.current if device.index is None else device.index
        if number >= self.count:
            raise RuntimeError(f"CUDA error: invalid device ordinal (cuda:{number} of {self.count})")
        return number

    def launch(self, name: str) -> None:
        self.launches[name] += 1
        self.queued += 1

    def transfer(self, source: torch.Tensor, from_: int, to: int, *, blocking: bool) -> None:
        pinned, where = self.is_pinned(source), _where()
        self.queued += 1
        log = self.downloads if to == HOST else self.uploads
        log.append(Transfer(source.numel() * source.element_size(), pinned, blocking, where))
        if blocking:
            self.waits.append(f"blocking copy {'to' if to == HOST else 'from'} the host ({tuple(source.shape)}) @ {where}")


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()


def _where() -> str:
    """The lines of the package, of fairseq or of the tests that are being executed, the innermost first."""
    lines: List[str] = []
    frame: Optional[types.FrameType] = sys._getframe(1)
    while frame is not None and len(lines) < 3:
        path = frame.f_code.co_filename
        if path != __file__ and any(part in path for part in ("/softhubert_plugin/", "/fairseq/", "/tests/")):
            lines.append(f"{'/'.join(path.split('/')[-2:])}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)


class _Move(torch.autograd.Function):
    """A copy between devices whose gradient goes the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, gpu: Gpu, to: int, dtype: torch.dtype, blocking: bool) -> torch.Tensor:
        ctx.gpu, ctx.came_from, ctx.dtype = gpu, gpu.place_of(tensor), tensor.dtype
        return _moved(gpu, tensor, to, dtype, blocking)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        back = ctx.came_from if ctx.came_from != NEITHER else HOST
        return _moved(ctx.gpu, gradients[0], back, ctx.dtype, True), None, None, None, None


def _moved(gpu: Gpu, tensor: torch.Tensor, to: int, dtype: torch.dtype, blocking: bool) -> torch.Tensor:
    with torch._C._DisableTorchDispatch():
        copied = torch.empty_like(tensor, dtype=dtype)
        copied.copy_(tensor)
    gpu.transfer(tensor, gpu.place_of(tensor), to, blocking=blocking)
    return gpu.place(copied, to)


class _Operations(TorchDispatchMode):
    """Runs every operation on the CPU and keeps account of where its results are."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu, kwargs = self.gpu, dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        wanted = gpu.number_of(kwargs.get("device"))
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        pinned = bool(kwargs.pop("pin_memory", False))
        name = func.overloadpacket.__name__
        places = [gpu.place_of(tensor) for tensor in tensors]
        devices = {place for place in places if place >= 0}
        if name == "copy_" and len(tensors) == 2:
            return self._copy(func, args, kwargs, places)
        if name == "_to_copy" and wanted is not None and wanted != places[0] and places[0] != NEITHER:
            # From C++ the CPU is named where the tensor's own device is meant; what Python asks for goes through _Move.
            wanted = places[0] if wanted == HOST else wanted
        out_place = self._out_place(name, tensors, places, devices, wanted)
        if devices:
            if not name.startswith("empty") and not any(
                result.alias_info and not result.alias_info.is_write for result in func._schema.returns
            ):
                gpu.launch(name)  # neither memory nor a view, which cost the device nothing
            self._note_waits(name, args)
        self._refuse_mixture(name, args, tensors, places)
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                if out_place != NEITHER and not any(leaf is tensor for tensor in tensors):
                    gpu.place(leaf, out_place)
                if pinned:
                    gpu.pin(leaf)
        return out

    def _out_place(self, name: str, tensors: List[torch.Tensor], places: List[int], devices: Set[int], wanted: Optional[int]) -> int:
        if devices:
            return min(devices)
        if wanted is not None and wanted >= 0:
            return wanted
        # What Python asks for by name means what it says. C++, inside another function or in the backward pass, names the CPU where it
        # means the device of the tensors it works on.
        by_name = bool(_Functions.named.get(threading.get_ident())) and torch._C._current_graph_task_id() == -1
        if not tensors or name == "_to_copy":
            return HOST if by_name else NEITHER
        return HOST if HOST in places else NEITHER

    def _copy(self, func: Any, args: Any, kwargs: Any, places: List[int]) -> Any:
        gpu, (to, from_) = self.gpu, places
        blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
        if to == NEITHER and from_ >= 0:
            gpu.place(args[0], from_)
        elif to != from_ and NEITHER not in (to, from_) and not (from_ == HOST and args[1].dim() == 0 and args[1].numel() == 1 and to >= 0):
            gpu.transfer(args[1], from_, to, blocking=blocking)
        if to >= 0 or from_ >= 0:
            gpu.launch("copy_")
        return func(*args, **kwargs)

    def _note_waits(self, name: str, args: Any) -> None:
        gpu = self.gpu
        if name in WAITING:
            gpu.waits.append(f"{name} @ {_where()}")
        if name == "repeat_interleave" and len(args) == 1:  # without an output size
            gpu.waits.append(f"{name} @ {_where()}")
        if name in INDEXING:
            masks = [index for index in args[1] or () if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)]
            value = args[2] if len(args) > 2 else None
            filled = isinstance(value, torch.Tensor) and value.numel() == 1  # which masked_fill does
            if masks and not filled:
                gpu.waits.append(f"{name} with a boolean mask @ {_where()}")

    def _refuse_mixture(self, name: str, args: Any, tensors: List[torch.Tensor], places: List[int]) -> None:
        devices = {place for place in places if place >= 0}
        if len(devices) > 1:
            raise RuntimeError(f"{name}: tensors on {sorted(devices)} of the GPUs @ {_where()}")
        if not devices:
            return
        on_host = [tensor for tensor, place in zip(tensors, places) if place == HOST and tensor.dim() > 0]
        if name in INDEXING and on_host:
            indices = [index for index in args[1] or () if isinstance(index, torch.Tensor)]
            if all(any(tensor is index for index in indices) for tensor in on_host):  # CUDA takes indices from the host
                for tensor in on_host:
                    self.gpu.transfer(tensor, HOST, min(devices), blocking=True)
                return
        if on_host and name not in TAKES_LENGTHS | {"set_"}:
            shapes = [tuple(tensor.shape) for tensor in on_host]
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found cuda and cpu {shapes} @ {_where()}")


_FACTORIES = {
    *("zeros", "ones", "empty", "full", "rand", "randn", "randint", "randperm", "arange", "linspace", "logspace", "eye", "normal"),
    *("tensor", "as_tensor", "scalar_tensor", "from_numpy", "frombuffer", "empty_strided", "bernoulli", "sparse_coo_tensor"),
}


class _Functions(TorchFunctionMode):
    """Answers for the devices of marked tensors, and moves tensors."""

    named: ClassVar[Dict[int, int]] = {}  # by thread: how deep it is in functions that name a device, called by Python

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu, kwargs = self.gpu, dict(kwargs or {})
        name = getattr(func, "__name__", "")
        subject = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if subject is not None:
            place = gpu.place_of(subject)
            if name == "__get__":
                attribute = getattr(getattr(func, "__self__", None), "__name__", "")
                if place >= 0 and attribute in ("device", "is_cuda", "is_cpu"):
                    return {"device": torch.device("cuda", place), "is_cuda": True, "is_cpu": False}[attribute]
            elif name == "get_device" and place >= 0:
                return place
            elif name in ("numpy", "__array__") and place >= 0:
                raise TypeError(f"can't convert cuda:{place} device type tensor to numpy. Use Tensor.cpu() @ {_where()}")
            elif name == "tolist" and place >= 0:
                gpu.waits.append(f"tolist ({tuple(subject.shape)}) @ {_where()}")
                with torch._C.DisableTorchFunction():
                    return subject.detach().clone().tolist()
            elif name == "pin_memory":
                return gpu.pin(subject.clone())
            elif name == "is_pinned":
                return gpu.is_pinned(subject)
            elif name in ("to", "cuda", "cpu"):
                return self._to(subject, place, name, args[1:], kwargs)
        if name in ("tensor", "as_tensor") and (gpu.number_of(kwargs.get("device")) or 0) >= 0 and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return self._to(self._called(func, args, kwargs), HOST, "to", (device,), {})
        return self._called(func, args, kwargs) if name in _FACTORIES else func(*args, **kwargs)

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        thread = threading.get_ident()
        self.named[thread] = self.named.get(thread, 0) + 1
        try:
            made = func(*args, **kwargs)
        finally:
            self.named[thread] -= 1
        return self.gpu.place(made, HOST) if isinstance(made, torch.Tensor) and self.gpu.place_of(made) == NEITHER else made

    def _to(self, subject: torch.Tensor, place: int, name: str, args: Any, kwargs: Any) -> torch.Tensor:
        gpu = self.gpu
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        flags = [arg for arg in args if isinstance(arg, bool)]
        for arg in args:
            if isinstance(arg, torch.Tensor):
                other = gpu.place_of(arg)
                device, dtype = (torch.device("cpu") if other < 0 else torch.device("cuda", other)), arg.dtype
            elif isinstance(arg, torch.dtype):
                dtype = arg
            elif arg is not None and not isinstance(arg, bool):
                device = arg
        if name != "to":
            device = device if device is not None and name == "cuda" else name
        dtype = dtype or subject.dtype
        non_blocking = kwargs.get("non_blocking", flags[0] if flags else False)
        wanted = gpu.number_of(device)
        if place == NEITHER and wanted == HOST:
            gpu.place(subject, HOST)
            place = HOST
        if wanted is None or wanted == place:
            copy = kwargs.get("copy", flags[1] if len(flags) > 1 else False)
            if not copy and dtype == subject.dtype:
                return subject
            with torch._C.DisableTorchFunction():
                return self._called(torch.Tensor.to, (subject, dtype), {"copy": copy})  # type: ignore[no-any-return]
        return _Move.apply(subject, gpu, wanted, dtype, not non_blocking)  # type: ignore[no-any-return,no-untyped-call]


@contextlib.contextmanager
def pretend(count: int = 1) -> Iterator[Gpu]:
    """Believe in so many GPUs, in this thread and in all that it starts."""
    import torch._dynamo  # it looks at torch.cuda's classes when it is first imported, which an optimizer may do later

    gpu = Gpu(count)
    real_run, real_autocast, real_scaler = threading.Thread._bootstrap_inner, torch.autocast, torch.amp.GradScaler

    def run(thread: threading.Thread) -> None:
        with _Operations(gpu), _Functions(gpu):
            real_run(thread)

    class Autocast(real_autocast):  # type: ignore[misc,valid-type]
        def __init__(self, device_type: str, *arguments: Any, **settings: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *arguments, **settings)

    class Event:
        """A mark in the device's queue. To wait for one is to wait for the device only if nothing was queued after it."""

        def __init__(self, **settings: Any) -> None:
            self.launched = -1

        def record(self, stream: Any = None) -> None:
            self.launched = gpu.queued

        def synchronize(self) -> None:
            if self.launched == gpu.queued:
                gpu.waits.append(f"synchronize of the last operation @ {_where()}")

    def set_device(device: Any) -> None:
        gpu.current = gpu.number_of(device) or 0

    def synchronize(device: Any = None) -> None:
        gpu.waits.append(f"synchronize @ {_where()}")

    properties = types.SimpleNamespace(name="pretended", major=9, minor=0, total_memory=80 << 30, multi_processor_count=132)
    none_of_it = {
        name: mock.Mock(return_value=0) for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
    }
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: count > 0,
        "is_initialized": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: gpu.current,
        "set_device": set_device,
        "synchronize": synchronize,
        "Event": Event,
        "mem_get_info": lambda device=None: (properties.total_memory, properties.total_memory),
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: properties,
        "get_device_name": lambda device=None: "pretended",
        "is_current_stream_capturing": lambda: False,
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": lambda: [],
        **none_of_it,
        **{name: mock.Mock() for name in ("empty_cache", "manual_seed", "manual_seed_all", "set_rng_state", "reset_peak_memory_stats")},
        "memory_summary": lambda *_: "",
    }
    with contextlib.ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        if hasattr(torch, "accelerator"):  # its questions about streams would go to a driver that is not there
            stack.enter_context(mock.patch.object(torch.accelerator, "current_accelerator", lambda check_available=False: None))
        stack.enter_context(mock.patch.object(torch, "autocast", Autocast))
        stack.enter_context(mock.patch.object(torch.cuda.amp, "GradScaler", lambda **settings: real_scaler("cpu", **settings)))
        stack.enter_context(mock.patch.object(threading.Thread, "_bootstrap_inner", run))
        for name in ("from_numpy", "frombuffer"):  # which no mode sees
            made = getattr(torch, name)
            stack.enter_context(mock.patch.object(torch, name, lambda *a, made=made, **k: gpu.place(made(*a, **k), HOST)))
        stack.enter_context(_Operations(gpu))
        stack.enter_context(_Functions(gpu))
        yield gpu
