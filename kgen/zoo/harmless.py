"""The types that are allowed next to the weights in a checkpoint, each by its exact name.

None of them is imported or created: torch's reader puts an empty object in their place, because
only the tensors matter. So it makes no difference whether Lightning or NumPy is installed, or what
their classes would do with untrusted values.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Ignored:
    """Stands in for a harmless object; accepts whatever arguments its class accepts, and keeps
    nothing.
    """

    def __new__(cls, *args: Any, **options: Any) -> Ignored:
        return super().__new__(cls)

    def __init__(self, *args: Any, **options: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _dictionary(*args: Any) -> OrderedDict:
    """Stands in for `defaultdict(factory)`."""
    return OrderedDict()


_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
_VALUES = (
    "argparse.Namespace",  # timm's and most others' arguments
    "torch.torch_version.TorchVersion",  # torch.__version__
    *(
        f"numpy.{core}.multiarray.{f}"
        for core in ("core", "_core")
        for f in ("scalar", "_reconstruct")
    ),
    "numpy.ndarray",
    "numpy.dtype",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    # Lightning before 1.5 kept the state of callbacks under their classes
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    *(f"builtins.{factory}" for factory in ("dict", "list", "int", "float")),  # of a defaultdict
)
_DICTIONARIES = (
    # Lightning's hyperparameters
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
ALLOWED: list[Callable | tuple[Callable, str]] = [
    *((Ignored, name) for name in _VALUES),
    *((OrderedDict, name) for name in _DICTIONARIES),  # torch fills only dictionaries of its own
    (_dictionary, "collections.defaultdict"),
]
"""For `torch.serialization.safe_globals`: what is created instead, and the name in the file."""
