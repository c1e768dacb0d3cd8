"""What is deployed: a folder with a manifest and the compiled networks it hashes."""

from mammofast.bundles.fit import device_of
from mammofast.bundles.manifest import Bundle, Network, load_bundle
from mammofast.bundles.opening import open_network

__all__ = ["Bundle", "Network", "device_of", "load_bundle", "open_network"]
