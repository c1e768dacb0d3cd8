"""From a manifest's network to an engine that a method can run."""

from mammofast.bundles.fit import fitting_device
from mammofast.bundles.manifest import Bundle
from mammofast.bundles.mapped import MappedEngine
from mammofast.bundles.parity import check_parity
from mammofast.engine import Engine, load_engine


def open_network(bundle: Bundle, name: str, device: str = "auto") -> Engine:
    """Check that a network is the one its manifest hashes and fits this machine, load it, and verify it where asked to.

    device: "auto", "cpu", "cuda" or "cuda:i".

    Raises
    ------
    BundleError
        When a file is missing or changed, or the manifest names tensors that the network does not have.
    EngineError
        When it does not fit this machine, its backend is missing or refuses it, or it is not verified and goes beyond
        its parity budget.

    """
    content = bundle.read(name)
    network = bundle.networks[name]
    where = f"bundle {bundle.name!r}: network {name!r}"
    found = fitting_device(bundle, name, device)
    engine = load_engine(content, network.backend, found, network.precision)
    try:
        if network.inputs or network.outputs:
            engine = MappedEngine(engine, network, where)
        if not network.verified and network.parity is not None:
            check_parity(engine, bundle.read_parity(name), dict(network.parity.budget), where)
    except BaseException:
        engine.close()
        raise
    return engine
