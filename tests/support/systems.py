"""Small systems with known answers: circuit, state, expectation and gradient from formulas."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy import cos, exp, sin, sqrt

import qjax as qj


class System(ABC):
    """A circuit of some parameters, and what theory says about it."""

    params: Sequence[float]

    @abstractmethod
    def circuit(self, params) -> qj.Circuit:
        """The circuit, for concrete or traced parameters."""

    @property
    def observable(self):
        """What the expectation and the gradient are of."""
        return qj.Z(0)

    @abstractmethod
    def state(self, params) -> np.ndarray:
        """The ket, or the density matrix of a noisy system."""

    @abstractmethod
    def expectation(self, params) -> float:
        """The mean of the observable."""

    @abstractmethod
    def gradient(self, params) -> np.ndarray:
        """The derivative of the expectation in each parameter."""

    def __str__(self) -> str:
        return type(self).__name__


def bloch(x: float, y: float, z: float) -> np.ndarray:
    """The density matrix of a Bloch vector."""
    return np.array([[1 + z, x - 1j * y], [x + 1j * y, 1 - z]]) / 2


@dataclass(frozen=True)
class RotationX(System):
    """RX(t)|0> = cos(t/2)|0> - i sin(t/2)|1>, with <Y> = -sin t."""

    params: Sequence[float] = (0.7,)

    def circuit(self, params):
        return qj.Circuit(1, [qj.RX(params[0], 0)])

    @property
    def observable(self):
        return qj.Y(0)

    def state(self, params):
        return np.array([cos(params[0] / 2), -1j * sin(params[0] / 2)])

    def expectation(self, params):
        return -sin(params[0])

    def gradient(self, params):
        return np.array([-cos(params[0])])


@dataclass(frozen=True)
class RotationY(System):
    """RY(t)|0> = cos(t/2)|0> + sin(t/2)|1>, with <X> = sin t."""

    params: Sequence[float] = (-1.9,)

    def circuit(self, params):
        return qj.Circuit(1, [qj.RY(params[0], 0)])

    @property
    def observable(self):
        return qj.X(0)

    def state(self, params):
        return np.array([cos(params[0] / 2), sin(params[0] / 2)])

    def expectation(self, params):
        return sin(params[0])

    def gradient(self, params):
        return np.array([cos(params[0])])


@dataclass(frozen=True)
class Bell(System):
    """CX RY(t)|00> = cos(t/2)|00> + sin(t/2)|11>, a Bell pair at t = pi/2, with <XX> = sin t."""

    params: Sequence[float] = (np.pi / 2 - 0.2,)

    def circuit(self, params):
        return qj.Circuit(2, [qj.RY(params[0], 0), qj.CX(0, 1)])

    @property
    def observable(self):
        return qj.X(0) @ qj.X(1)

    def state(self, params):
        return np.array([cos(params[0] / 2), 0, 0, sin(params[0] / 2)])

    def expectation(self, params):
        return sin(params[0])

    def gradient(self, params):
        return np.array([cos(params[0])])


@dataclass(frozen=True)
class GHZ(System):
    """A GHZ state on n qubits gathers each qubit's phase: <X...X> = cos(n phi)."""

    num_qubits: int = 3
    params: Sequence[float] = (0.4,)

    def circuit(self, params):
        n = self.num_qubits
        entangle = [qj.H(0), *(qj.CX(q, q + 1) for q in range(n - 1))]
        return qj.Circuit(n, [*entangle, *(qj.RZ(params[0], q) for q in range(n))])

    @property
    def observable(self):
        return reduce(lambda a, b: a @ b, [qj.X(q) for q in range(self.num_qubits)])

    def state(self, params):
        ket = np.zeros(2**self.num_qubits, complex)
        phase = exp(0.5j * self.num_qubits * params[0])
        ket[0], ket[-1] = np.conj(phase) / sqrt(2), phase / sqrt(2)
        return ket

    def expectation(self, params):
        return cos(self.num_qubits * params[0])

    def gradient(self, params):
        return np.array([-self.num_qubits * sin(self.num_qubits * params[0])])


@dataclass(frozen=True)
class Ramsey(System):
    """H, phase phi, dephasing l, H: fringes <Z> = sqrt(1 - l) cos phi."""

    params: Sequence[float] = (0.9, 0.3)

    def circuit(self, params):
        return qj.Circuit(1, [qj.H(0), qj.P(params[0], 0), qj.PhaseDamping(params[1], 0), qj.H(0)])

    def state(self, params):
        contrast = sqrt(1 - params[1])
        return bloch(0, -contrast * sin(params[0]), contrast * cos(params[0]))

    def expectation(self, params):
        return sqrt(1 - params[1]) * cos(params[0])

    def gradient(self, params):
        contrast = sqrt(1 - params[1])
        return np.array([-contrast * sin(params[0]), -cos(params[0]) / (2 * contrast)])


@dataclass(frozen=True)
class Rabi(System):
    """H = (w X + d Z)/2 from |0>: <Z> = 1 - 2 (w/W)^2 sin^2(W t/2), W^2 = w^2 + d^2."""

    params: Sequence[float] = (1.3, 0.6, 1.7)

    def circuit(self, params):
        omega, delta, t = params
        return qj.Circuit(1, [qj.Evolution(0.5 * omega * qj.X(0) + 0.5 * delta * qj.Z(0), t)])

    def state(self, params):
        omega, delta, t = params
        rate = np.hypot(omega, delta)
        c, s = cos(rate * t / 2), sin(rate * t / 2)
        return np.array([c - 1j * s * delta / rate, -1j * s * omega / rate])

    def expectation(self, params):
        omega, delta, t = params
        rate = np.hypot(omega, delta)
        return 1 - 2 * (omega / rate * sin(rate * t / 2)) ** 2

    def gradient(self, params):
        omega, delta, t = params
        rate = np.hypot(omega, delta)
        s2, s = sin(rate * t / 2) ** 2, sin(rate * t)
        by_rate = -(omega**2) * (t * s / rate**2 - 4 * s2 / rate**3)
        by_omega = -4 * omega * s2 / rate**2 + by_rate * omega / rate
        return np.array([by_omega, by_rate * delta / rate, -(omega**2) * s / rate])


@dataclass(frozen=True)
class Ising(System):
    """exp(-i t (a XX + b ZZ))|00> = e^{-ibt}(cos(at)|00> - i sin(at)|11>), with <XY> = -sin 2at."""

    params: Sequence[float] = (0.8,)
    a: float = 0.9
    b: float = -0.4

    def circuit(self, params):
        hamiltonian = self.a * qj.X(0) @ qj.X(1) + self.b * qj.Z(0) @ qj.Z(1)
        return qj.Circuit(2, [qj.Evolution(hamiltonian, params[0])])

    @property
    def observable(self):
        return qj.X(0) @ qj.Y(1)

    def state(self, params):
        t = params[0]
        return exp(-1j * self.b * t) * np.array([cos(self.a * t), 0, 0, -1j * sin(self.a * t)])

    def expectation(self, params):
        return -sin(2 * self.a * params[0])

    def gradient(self, params):
        return np.array([-2 * self.a * cos(2 * self.a * params[0])])


@dataclass(frozen=True)
class Interactions(System):
    """RXX(s) then RZZ(t) on |00>: the interaction gates, with <XY> = -sin s whatever t."""

    params: Sequence[float] = (0.8, 0.5)

    def circuit(self, params):
        return qj.Circuit(2, [qj.RXX(params[0], 0, 1), qj.RZZ(params[1], 0, 1)])

    @property
    def observable(self):
        return qj.X(0) @ qj.Y(1)

    def state(self, params):
        s, t = params
        return exp(-0.5j * t) * np.array([cos(s / 2), 0, 0, -1j * sin(s / 2)])

    def expectation(self, params):
        return -sin(params[0])

    def gradient(self, params):
        return np.array([-cos(params[0]), 0.0])


@dataclass(frozen=True)
class ProductEncoding(System):
    """Angle encoding of x: a product state, with <ZZ...> the product of cos(x_i)."""

    params: Sequence[float] = (0.3, -1.1, 2.0)

    def circuit(self, params):
        return qj.angle_encoding(params)

    @property
    def observable(self):
        return reduce(lambda a, b: a @ b, [qj.Z(q) for q in range(len(self.params))])

    def state(self, params):
        qubits = [np.array([cos(x / 2), sin(x / 2)]) for x in params]
        return reduce(np.kron, qubits)

    def expectation(self, params):
        return np.prod(cos(np.asarray(params)))

    def gradient(self, params):
        x = np.asarray(params)
        others = [np.prod(cos(np.delete(x, i))) for i in range(len(x))]
        return -sin(x) * np.array(others)


@dataclass(frozen=True)
class Teleportation(System):
    """Qubit 0's U(t, phi, 0)|0> arrives at qubit 2 whatever was measured: <X> = sin t cos phi."""

    params: Sequence[float] = (1.1, 0.5)

    def circuit(self, params):
        return qj.Circuit(
            3,
            [
                *(qj.U(params[0], params[1], 0.0, 0), qj.H(1), qj.CX(1, 2)),
                *(qj.CX(0, 1), qj.H(0), qj.Measure(0, "a"), qj.Measure(1, "b")),
                *(qj.X(2).conditioned("b"), qj.Z(2).conditioned("a")),
            ],
        )

    @property
    def observable(self):
        return qj.X(2)

    def received(self, params):
        """The state of qubit 2."""
        t, phi = params
        return bloch(sin(t) * cos(phi), sin(t) * sin(phi), cos(t))

    def state(self, params):
        return np.kron(np.eye(4) / 4, self.received(params))

    def expectation(self, params):
        return sin(params[0]) * cos(params[1])

    def gradient(self, params):
        t, phi = params
        return np.array([cos(t) * cos(phi), -sin(t) * sin(phi)])


class DampedQubit(System):
    """RY(t)|0> through one channel: the Bloch vector (a sin t, 0, b + c cos t).

    `contraction` gives (a, b, c) for the strengths; `slopes` their derivatives, a row a strength.
    The observable is X + 2 Z.
    """

    channel: str

    def circuit(self, params):
        channel = getattr(qj, self.channel)(*params[1:], 0)
        return qj.Circuit(1, [qj.RY(params[0], 0), channel])

    @property
    def observable(self):
        return qj.X(0) + 2.0 * qj.Z(0)

    @abstractmethod
    def contraction(self, *strengths) -> Any:
        """The factor of X, the shift of Z and the factor of Z."""

    @abstractmethod
    def slopes(self, *strengths) -> Any:
        """The derivatives of the contraction in each strength."""

    def state(self, params):
        a, b, c = self.contraction(*params[1:])
        return bloch(a * sin(params[0]), 0, b + c * cos(params[0]))

    def expectation(self, params):
        a, b, c = self.contraction(*params[1:])
        return a * sin(params[0]) + 2 * (b + c * cos(params[0]))

    def gradient(self, params):
        t, strengths = params[0], params[1:]
        a, _, c = self.contraction(*strengths)
        by_strength = np.array(self.slopes(*strengths)) @ [sin(t), 2, 2 * cos(t)]
        return np.array([a * cos(t) - 2 * c * sin(t), *by_strength])


@dataclass(frozen=True)
class AmplitudeDamped(DampedQubit):
    """Z -> g + (1 - g) Z; X and Y times sqrt(1 - g)."""

    params: Sequence[float] = (1.2, 0.3)
    channel = "AmplitudeDamping"

    def contraction(self, g):
        return sqrt(1 - g), g, 1 - g

    def slopes(self, g):
        return [[-0.5 / sqrt(1 - g), 1, -1]]


@dataclass(frozen=True)
class PhaseDamped(DampedQubit):
    """Z stays; X and Y times sqrt(1 - l)."""

    params: Sequence[float] = (1.2, 0.3)
    channel = "PhaseDamping"

    def contraction(self, strength):
        return sqrt(1 - strength), 0, 1

    def slopes(self, strength):
        return [[-0.5 / sqrt(1 - strength), 0, 0]]


@dataclass(frozen=True)
class BitFlipped(DampedQubit):
    """X stays; Y and Z times 1 - 2p."""

    params: Sequence[float] = (1.2, 0.2)
    channel = "BitFlip"

    def contraction(self, p):
        return 1, 0, 1 - 2 * p

    def slopes(self, p):
        return [[0, 0, -2]]


@dataclass(frozen=True)
class PhaseFlipped(DampedQubit):
    """Z stays; X and Y times 1 - 2p."""

    params: Sequence[float] = (1.2, 0.2)
    channel = "PhaseFlip"

    def contraction(self, p):
        return 1 - 2 * p, 0, 1

    def slopes(self, p):
        return [[-2, 0, 0]]


@dataclass(frozen=True)
class Depolarized(DampedQubit):
    """The whole Bloch vector times 1 - 4p/3."""

    params: Sequence[float] = (1.2, 0.3)
    channel = "Depolarizing"

    def contraction(self, p):
        return 1 - 4 * p / 3, 0, 1 - 4 * p / 3

    def slopes(self, p):
        return [[-4 / 3, 0, -4 / 3]]


@dataclass(frozen=True)
class PauliNoise(DampedQubit):
    """Each Pauli flips the two other axes."""

    params: Sequence[float] = (1.2, 0.1, 0.05, 0.2)
    channel = "PauliChannel"

    def contraction(self, px, py, pz):
        return 1 - 2 * (py + pz), 0, 1 - 2 * (px + py)

    def slopes(self, px, py, pz):
        return [[0, 0, -2], [-2, 0, -2], [-2, 0, 0]]


@dataclass(frozen=True)
class Thermalized(DampedQubit):
    """GeneralizedAmplitudeDamping(g, e): Z -> g (1 - 2e) + (1 - g) Z; X times sqrt(1 - g)."""

    params: Sequence[float] = (1.2, 0.3, 0.2)
    channel = "GeneralizedAmplitudeDamping"

    def contraction(self, g, excited):
        return sqrt(1 - g), g * (1 - 2 * excited), 1 - g

    def slopes(self, g, excited):
        return [[-0.5 / sqrt(1 - g), 1 - 2 * excited, -1], [0, -2 * g, 0]]


@dataclass(frozen=True)
class Relaxed(DampedQubit):
    """ThermalRelaxation: X times e^{-t/T2}; Z decays to 1 - 2 excited as e^{-t/T1}."""

    params: Sequence[float] = (1.2, 50.0, 70.0, 20.0)
    excited: float = 0.1

    def circuit(self, params):
        t, t1, t2, time = params
        channel = qj.ThermalRelaxation(t1, t2, time, 0, excited=self.excited)
        return qj.Circuit(1, [qj.RY(t, 0), channel])

    def contraction(self, t1, t2, time):
        decay = exp(-time / t1)
        return exp(-time / t2), (1 - 2 * self.excited) * (1 - decay), decay

    def slopes(self, t1, t2, time):
        decay, dephase, rest = exp(-time / t1), exp(-time / t2), 1 - 2 * self.excited
        return [
            [0, -rest * decay * time / t1**2, decay * time / t1**2],
            [dephase * time / t2**2, 0, 0],
            [-dephase / t2, rest * decay / t1, -decay / t1],
        ]


PURE = [RotationX(), RotationY(), Bell(), GHZ(), Rabi(), Ising(), Interactions(), ProductEncoding()]
DAMPED = [
    *(AmplitudeDamped(), PhaseDamped(), BitFlipped(), PhaseFlipped(), Depolarized()),
    *(PauliNoise(), Thermalized(), Relaxed()),
]
MIXED = [Ramsey(), Teleportation(), *DAMPED]
