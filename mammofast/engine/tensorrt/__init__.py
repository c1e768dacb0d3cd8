"""TensorRT and TensorRT for RTX, which have one interface: building engines, and running them on a card."""

from mammofast.engine.tensorrt.building import Built, Profile, build, check_builder
from mammofast.engine.tensorrt.flavour import FLAVOURS, import_flavour, require_card

__all__ = ["FLAVOURS", "Built", "Profile", "build", "check_builder", "import_flavour", "require_card"]
