"""IonQ's machines: their qubits and native gates, how long and how well they run, what they cost.

The figures are published ones or fitted to published records, as the comments say. Nothing here
asks the service.
"""

from dataclasses import dataclass
from typing import Any

from qjax._checks import check_choice

__all__ = ["GATESETS", "MACHINES", "Machine", "find_machine"]

GATESETS = ("ms", "zz")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, or the simulator.

    Gates run one after the other, so times add up. All pairs are (one-qubit, two-qubit gate).

    Attributes:
        name: as the service spells it, "qpu.forte-1".
        num_qubits: how many it has.
        gatesets: which two-qubit gates it runs natively, "ms" or "zz".
        setup: seconds per job before the first shot.
        gate_times: seconds.
        gate_prices: dollars per gate and shot.
        minimum_price: dollars per circuit at least.
        minimum_price_mitigated: the same with error mitigation on.
        depolarizing: rates r of the noise model, rho -> (1 - r) rho + r I/d; None if unknown.

    Example:
        >>> from qjax.ionq import find_machine
        >>> forte = find_machine("forte-1")
        >>> forte.price(128, 32, shots=10_000).__round__(2), forte.price(128, 32, shots=100)
        (568.64, 25.7899)
    """

    name: str
    num_qubits: int
    gatesets: tuple[str, ...]
    setup: float
    gate_times: tuple[float, float]
    gate_prices: tuple[float, float]
    minimum_price: float
    minimum_price_mitigated: float
    depolarizing: tuple[float, float] | None

    def shot_time(self, num_one_qubit: int, num_two_qubit: int) -> float:
        """Seconds of one shot of a circuit with so many native gates."""
        return num_one_qubit * self.gate_times[0] + num_two_qubit * self.gate_times[1]

    def duration(self, num_one_qubit: int, num_two_qubit: int, shots: int) -> float:
        """Seconds of a job of one circuit."""
        return self.setup + shots * self.shot_time(num_one_qubit, num_two_qubit)

    def price(
        self, num_one_qubit: int, num_two_qubit: int, shots: int, *, mitigated: bool = False
    ) -> float:
        """Dollars for one circuit, max(minimum, shots * sum of the prices of its gates).

        Args:
            num_one_qubit: native gates on one qubit.
            num_two_qubit: native gates on two qubits.
            shots: how many.
            mitigated: whether error mitigation (debiasing) is on.
        """
        least = self.minimum_price_mitigated if mitigated else self.minimum_price
        per_shot = num_one_qubit * self.gate_prices[0] + num_two_qubit * self.gate_prices[1]
        return max(least, shots * per_shot)

    def fidelity(self, num_one_qubit: int, num_two_qubit: int) -> float | None:
        """Estimated probability that no gate errs; None if the machine's rates are unknown.

        A depolarizing rate r leaves the state alone with probability 1 - 3r/4 on one qubit and
        1 - 15r/16 on two.
        """
        if self.depolarizing is None:
            return None
        one, two = self.depolarizing
        return (1 - 3 * one / 4) ** num_one_qubit * (1 - 15 * two / 16) ** num_two_qubit


# Gate times and the one-qubit price of Forte are fitted to its predictions and bills: a circuit of
# 120 one-qubit gates and 11 ZZ was predicted 597 ms + 25.997 ms a shot, one of 128 and 32 gates
# cost $0.056864 a shot. The published one-qubit price is 0.0001645.
_FORTE: dict[str, Any] = {
    "num_qubits": 36,
    "gatesets": ("zz",),
    "setup": 0.597,
    "gate_times": (130e-6, 945e-6),
    "gate_prices": (0.000164, 0.001121),
    "minimum_price": 25.7899,
    "minimum_price_mitigated": 168.195,
}
# Gate times and prices of Aria as its cloud partners list them; the set-up time is Forte's.
_ARIA: dict[str, Any] = {
    "num_qubits": 25,
    "gatesets": ("ms",),
    "setup": 0.597,
    "gate_times": (135e-6, 600e-6),
    "gate_prices": (0.000220, 0.000975),
    "minimum_price": 12.4166,
    "minimum_price_mitigated": 97.50,
}
_SIMULATOR: dict[str, Any] = {
    "num_qubits": 29,
    "gatesets": ("ms", "zz"),
    "setup": 0.0,
    "gate_times": (0.0, 0.0),
    "gate_prices": (0.0, 0.0),
    "minimum_price": 0.0,
    "minimum_price_mitigated": 0.0,
}
_ROWS = (
    ("simulator", _SIMULATOR, (0.0, 0.0)),
    ("qpu.aria-1", _ARIA, (0.0005, 0.0133)),
    ("qpu.aria-2", _ARIA, (0.00065733, 0.01856)),
    ("qpu.forte-1", _FORTE, (0.00026667, 0.00494933)),
    ("qpu.forte-enterprise-1", _FORTE, None),
    ("qpu.forte-enterprise-2", _FORTE, None),
    ("qpu.forte-enterprise-3", _FORTE, None),
)
MACHINES = {
    name: Machine(name=name, depolarizing=rates, **figures) for name, figures, rates in _ROWS
}


def find_machine(name: str) -> Machine:
    """The machine of a name, with or without "qpu." in front.

    Raises:
        CircuitError: if there is none.

    Example:
        >>> from qjax.ionq import find_machine
        >>> find_machine("aria-1").num_qubits
        25
    """
    full = f"qpu.{name}"
    if full in MACHINES:
        return MACHINES[full]
    check_choice(name, tuple(MACHINES), name="name")
    return MACHINES[name]
