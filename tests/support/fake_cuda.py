"""CUDA tensors without a GPU: they compute on the CPU, but cannot be combined with CPU tensors.

`with FakeCuda() as cuda:` makes `device="cuda"` available to factories and to `.to()`. Values are
real, so whole runs execute, and every place where a GPU would have to wait for a transfer is
recorded in `cuda.synchronizations`. torch's own FakeTensorMode detects the same errors, but has no
values, and autograd refuses its CUDA tensors where CUDA was never initialized.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
KGEN = Path(__file__).resolve().parents[2] / "kgen"
READS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.bincount.default,
}
"""Operations whose result the CPU has to know before it can continue."""
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}


class CudaTensor(Tensor):
    """A tensor that says it is on `cuda:0` and holds its values in a CPU tensor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> CudaTensor:
        # C++ sees it on "meta", which tells what autograd creates for it from CPU tensors
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device="meta",
            requires_grad=requires_grad,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"CudaTensor({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _is_on_gpu(x: object) -> bool:
    return isinstance(x, CudaTensor)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on at least one CudaTensor."""
    active = FakeCuda.active
    assert active is not None, "a CUDA tensor is used outside of FakeCuda"
    assert torch.Tag.inplace_view not in func.tags, f"{func} would change the shape of a CudaTensor"
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    foreign = [x for x in tensors if not _is_on_gpu(x) and x.ndim]
    to_cpu = False
    if func in (aten._to_copy.default, aten.copy_.default):
        blocking = not kwargs.get("non_blocking", any(a is True for a in args[2:]))
        target = kwargs.get("device")
        to_cpu = target is not None and torch.device(target).type == "cpu"
        if (to_cpu or foreign) and blocking:
            active.synchronize(func)
    elif func in READS:
        active.synchronize(func)
    elif func in INDEXING:
        indices = [x for x in args[1] if x is not None]
        if not _is_on_gpu(args[0]) or any(not _is_on_gpu(x) and x.ndim for x in args[2:3]):
            raise _mixed(func)
        if any(not _is_on_gpu(x) or x.dtype in (torch.bool, torch.uint8) for x in indices):
            active.synchronize(func)
    elif foreign:
        raise _mixed(func)
    if "device" in kwargs:
        kwargs = kwargs | {"device": torch.device("cpu")}
    result = func(*_held(args), **{name: _held(value) for name, value in kwargs.items()})
    if to_cpu:
        return result
    known = {id(x.held if _is_on_gpu(x) else x): x for x in tensors}  # in-place: the same object

    def wrap(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(wrap, value))
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else CudaTensor(value)

    return wrap(result)


def _tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    for value in arguments:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _held(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_held, value))
    return value.held if isinstance(value, CudaTensor) else value


def _mixed(func: Any) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, cuda:0"
        f" and cpu! ({func})"
    )


class _Upload(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return CudaTensor(x.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.cpu()


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: CudaTensor) -> Tensor:
        return x.held.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return CudaTensor(gradient)


class _Factories(TorchDispatchMode):
    """What C++ creates next to a CudaTensor is on "meta"; it becomes a CudaTensor as well."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise each operation goes through torch._dynamo, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(map(_is_on_gpu, (*_tensors(args), *_tensors(kwargs.values())))):
            return _compute(func, args, kwargs)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "meta":
            return CudaTensor(func(*args, **(kwargs | {"device": "cpu"})))
        return func(*args, **kwargs)


class FakeCuda(TorchFunctionMode):
    """While active, `device="cuda"` makes CudaTensors."""

    active: FakeCuda | None = None

    def __init__(self) -> None:
        super().__init__()
        self.synchronizations: list[str] = []
        """"operation at file:line" for every wait for the GPU; the line is in kgen."""
        self._factories = _Factories()

    def __enter__(self) -> FakeCuda:
        FakeCuda.active = self
        self._factories.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._factories.__exit__(kind, error, trace)
        FakeCuda.active = None

    @contextlib.contextmanager
    def in_this_thread(self) -> Iterator[None]:
        """torch's modes belong to a thread: another one that computes enters them by itself."""
        with _Factories():
            super().__enter__()
            try:
                yield
            finally:
                super().__exit__(None, None, None)

    def synchronize(self, func: Any) -> None:
        frames = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(KGEN)]
        where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        self.synchronizations.append(f"{func}{where}")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.tolist and _is_on_gpu(args[0]):
            self.synchronize(func)
            return args[0].held.tolist()
        transfer = func in (Tensor.to, Tensor.cpu, Tensor.cuda)
        target = _device_of(func, args, kwargs) if transfer or "device" in kwargs else None
        if target is None:
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None and target.type == "cuda":
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if not transfer:
            made = func(*map(_on_cpu, args), **{k: _on_cpu(v) for k, v in kwargs.items()})
            return CudaTensor(made, made.requires_grad) if target.type == "cuda" else made
        x, *rest = args
        options = [o.dtype if isinstance(o, Tensor) else o for o in (*rest, *kwargs.values())]
        dtype = next((o for o in options if isinstance(o, torch.dtype)), x.dtype)
        blocking = not kwargs.get("non_blocking", any(o is True for o in rest))
        if _is_on_gpu(x) != (target.type == "cuda"):
            if blocking:
                self.synchronize(func)
            x = (_Upload if target.type == "cuda" else _Download).apply(x)
        extra = {k: v for k, v in kwargs.items() if k in ("copy", "memory_format")}
        return x.to(dtype, **extra)


def _device_of(func: Any, args: Any, kwargs: dict[str, Any]) -> torch.device | None:
    """The device that a call asks for."""
    if func is Tensor.cpu:
        return torch.device("cpu")
    if func is Tensor.cuda:
        return CUDA
    for value in (kwargs.get("device"), *(args[1:2] if func is Tensor.to else ())):
        if isinstance(value, Tensor):
            return value.device
        if isinstance(value, (str, torch.device)):
            return torch.device(value)
    return None


def _on_cpu(value: Any) -> Any:
    """The same argument, with the CPU in place of the GPU."""
    names_gpu = isinstance(value, (str, torch.device)) and str(value).startswith("cuda")
    return torch.device("cpu") if names_gpu else value
