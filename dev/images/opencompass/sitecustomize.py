"""Stand in for torch, which OpenCompass imports everywhere and API models never run.

Saves 1 GB of image and 20 s of start (docs/decisions/0003). Python imports this module by itself when it
starts. The finder comes last on `sys.meta_path`, so a real torch, if installed, wins. Names starting with a
capital become empty classes (to be subclassed), everything else a value that absorbs any use.
"""

import importlib
import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

_SUBMODULES = {
    "torch": {"backends", "cuda", "distributed", "nn", "utils", "version"},
    "torch.nn": {"functional", "utils"},
    "torch.utils": {"data"},
}


class _Absorbing:
    """Can be called, indexed, subclassed and asked for any attribute."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **_kwargs: Any) -> Any:
        decorates = len(args) == 1 and callable(args[0])
        return args[0] if decorates else _Absorbing()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absorbing()

    def __mro_entries__(self, _bases: tuple[type, ...]) -> tuple[type, ...]:
        return (object,)

    def __or__(self, other: Any) -> Any:
        return other

    __ror__ = __or__

    def __getitem__(self, _key: Any) -> "_Absorbing":
        return self


class _NoGradient:
    """`torch.no_grad` and `torch.inference_mode`, as decorator and as context."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exception: object) -> None:
        pass

    def __call__(self, function: Callable[..., Any] | None = None) -> Any:
        return function or self


class _DataLoader:
    """The one class that is really used: it batches the rows of a dataset."""

    def __init__(
        self,
        rows: Sequence[Any],
        batch_size: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **_: Any,
    ) -> None:
        self._rows = list(rows)
        self._size = batch_size
        self._collate = collate_fn or list

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._size)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self._rows), self._size):
            yield self._collate(self._rows[start : start + self._size])


class _TorchModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _SUBMODULES.get(self.__name__, ()):
            return importlib.import_module(f"{self.__name__}.{name}")
        value = type(name, (object,), {}) if name[:1].isupper() else _Absorbing()
        setattr(self, name, value)
        return value


_REAL_ENOUGH: dict[str, dict[str, Any]] = {
    "torch": {
        "no_grad": _NoGradient,
        "inference_mode": _NoGradient,
        "Tensor": type("Tensor", (_Absorbing,), {}),
        "dtype": type("dtype", (_Absorbing,), {}),
        "device": type("device", (_Absorbing,), {}),
    },
    "torch.utils.data": {"DataLoader": _DataLoader, "Dataset": object},
    "torch.cuda": {"device_count": lambda: 0, "is_available": lambda: False},
    "torch.distributed": {"is_available": lambda: False, "is_initialized": lambda: False},
    "torch.nn": {"Module": type("Module", (), {})},
}


class _TorchFinder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        if fullname == "torch" or fullname.startswith("torch."):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _TorchModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []
        module.__file__ = "/dev/null"
        module.__dict__["__version__"] = "2.0.0"
        module.__dict__.update(_REAL_ENOUGH.get(module.__name__, {}))


sys.meta_path.append(_TorchFinder())
