"""Which of the two TensorRTs: the only module that imports them."""

from importlib import import_module
from types import ModuleType
from typing import Any

from mammofast.engine.driver import compute_capability, has_driver
from mammofast.errors import EngineError

# Wheels of TensorRT for RTX hold the bindings under a name of their own; the other name is the complete package's.
_MODULES = {"tensorrt": ("tensorrt", "tensorrt_bindings"), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
FLAVOURS = tuple(_MODULES)


def import_flavour(flavour: str) -> ModuleType:
    """Return the installed package.

    Raises
    ------
    ImportError
        When it is not installed, or only its placeholder is.

    """
    reasons = []
    for name in _MODULES[flavour]:
        try:
            module = import_module(name)
        except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
            reasons.append(str(error))
            continue
        if hasattr(module, "Builder"):
            return module
        reasons.append(f"{name} holds no builder: it is a placeholder")
    raise ImportError(reasons[0])


def require_card(flavour: str, index: int = 0) -> str:
    """Check that there is a driver and this card; return the card's target, such as "sm_90".

    Raises
    ------
    EngineError
        When there is none.

    """
    how = "use a machine with an NVIDIA card, or compile for onnxruntime or openvino to run on the CPU"
    if not has_driver():
        raise EngineError(f"{flavour} needs an NVIDIA driver, and there is none here; {how}")
    capability = compute_capability(index)
    if capability is None:
        raise EngineError(f"{flavour} needs an NVIDIA card, and the driver shows none; {how}")
    return f"sm_{capability}"


def make_log(trt: Any) -> Any:
    """Return a logger that keeps errors, for the message, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Log()
