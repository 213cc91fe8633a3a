"""Noise models of IonQ's simulator, to be inserted into compiled circuits.

Each model puts a depolarizing channel after every native gate. IonQ states its strength as r in
rho -> (1 - r) rho + r I/d; `qjax.Depolarizing(p)` does the same with p = 3r/4 on one qubit and
p = 15r/16 on two. Readout errors are no part of the published models.
"""

from qjax._checks import check_choice
from qjax.circuit import Depolarizing
from qjax.ionq._machines import MACHINES
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from qjax.transforms import NoiseModel

__all__ = ["NOISE_MODELS", "find_noise_model"]

ONE_QUBIT_GATES = (GPI.kind.name, GPI2.kind.name)
TWO_QUBIT_GATES = (MS.kind.name, ZZ.kind.name)


def _model(one: float, two: float) -> NoiseModel:
    """Depolarizing noise of IonQ's rates r on one and two qubits."""
    model = NoiseModel().after(ONE_QUBIT_GATES, Depolarizing, 3 * one / 4)
    return model.after(TWO_QUBIT_GATES, Depolarizing, 15 * two / 16)


NOISE_MODELS = {
    name.removeprefix("qpu."): _model(*machine.depolarizing)
    for name, machine in MACHINES.items()
    if machine.depolarizing is not None and any(machine.depolarizing)
}


def find_noise_model(name: str) -> NoiseModel:
    """The noise model of a machine, as the IonQ simulator has it.

    The model speaks of native gates: compile a circuit with `IonQNativeCompiler` first, as the
    service does.

    Args:
        name: "aria-1", "aria-2" or "forte-1", with or without "qpu." in front.

    Returns:
        Rules for `qjax.insert_noise`.

    Raises:
        CircuitError: if no rates are published for the name.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import GPI2, MS, find_noise_model
        >>> circuit = qj.Circuit(2, [GPI2(0.25, 0), MS(0, 0, 0.25, 0, 1)])
        >>> noisy = qj.insert_noise(circuit, find_noise_model("aria-1"))
        >>> [float(op.params[0]).__round__(8) for op in noisy.operations if len(op.params) == 1][1:]
        [0.000375, 0.01246875]
    """
    short = name.removeprefix("qpu.") if isinstance(name, str) else name
    check_choice(short, tuple(NOISE_MODELS), name="name")
    return NOISE_MODELS[short]
