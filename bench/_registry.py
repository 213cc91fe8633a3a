"""The table of peers: what to install for each, and which file in `bench/peers` runs it."""

from dataclasses import dataclass

__all__ = ["PEERS", "Peer", "find_peers"]


@dataclass(frozen=True)
class Peer:
    """A library in one of its ways to compute.

    Args:
        name: as on the command line.
        requirements: what pip is asked to install; newest versions that fit the running Python.
            Empty: runs in the environment of the harness.
        reports: the distributions whose versions stand beside the numbers.
        environment: the peer whose environment it shares.
        is_oracle: computes values to compare with and is not timed.
        module: the file that runs it, if it is not `bench/peers/_<name>.py`.
    """

    name: str
    requirements: tuple[str, ...]
    reports: tuple[str, ...]
    environment: str = ""
    is_oracle: bool = False
    module: str = ""

    @property
    def home(self) -> str:
        """The name of its environment."""
        return self.environment or self.name

    @property
    def location(self) -> str:
        """What its worker imports."""
        return self.module or f"bench.peers._{self.name}"


_ROWS = (
    Peer("qjax", (), ("qjax-qml", "jax", "jaxlib", "numpy")),
    Peer("numpy", (), ("numpy",), is_oracle=True),
    Peer("tensorcircuit", ("tensorcircuit-ng", "jax"), ("tensorcircuit-ng", "jax", "numpy")),
    Peer("qujax", ("qujax", "jax"), ("qujax", "jax", "numpy")),
    # It dispatches on jax.Array by class, which tracers are no more since jax 0.8: no jit there.
    Peer("horqrux", ("horqrux", "jax<0.8"), ("horqrux", "jax", "numpy")),
    # PennyLane's JAX interface uses functions that jax 0.11 removed.
    Peer("pennylane", ("pennylane", "jax<0.11"), ("pennylane", "jax", "numpy")),
    Peer(
        "lightning",
        ("pennylane", "jax<0.11"),
        ("pennylane-lightning", "pennylane", "numpy"),
        environment="pennylane",
    ),
    Peer("qulacs", ("qulacs",), ("qulacs", "numpy")),
    Peer("qsim", ("qsimcirq",), ("qsimcirq", "cirq-core", "numpy")),
    Peer("aer", ("qiskit-aer",), ("qiskit-aer", "qiskit", "numpy")),
    Peer("tfq", ("tensorflow-quantum",), ("tensorflow-quantum", "tensorflow", "numpy")),
)

PEERS: dict[str, Peer] = {row.name: row for row in _ROWS}


def find_peers(names: list[str]) -> list[Peer]:
    """The peers of a command line, qjax first; all of them if no names are given.

    Raises:
        ValueError: on an unknown name.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ValueError(f"Argument `peers` has {unknown[0]!r}; choose from {', '.join(PEERS)}.")
    return [peer for peer in PEERS.values() if not names or peer.name in names]
