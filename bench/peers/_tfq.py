"""TensorFlow Quantum: C++ simulation and adjoint gradients, batched over inputs by its own ops."""
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from typing import Any

import cirq
import numpy as np
import sympy
import tensorflow as tf
import tensorflow_quantum as tfq

from bench._program import Program, Unsupported, plain_program, z_means
from bench._workloads import Problem
from bench.peers._shared_cirq import operation, pauli

ENGINE = "Expectation layer, C++, adjoint; symbols filled in per input"
PRECISION = "complex64"


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    if problem.is_noisy:
        raise Unsupported("noise by random trajectories only, no density matrix")
    if problem.amplitudes is not None:
        raise Unsupported("circuits start from |0...0>; no state can be given")
    batch, n = problem.cell.batch, problem.qubits
    qubits = cirq.GridQubit.rect(1, n)
    theta = sympy.symbols(f"t0:{len(problem.theta)}")
    x = sympy.symbols(f"x0:{n}") if problem.xs.shape[1] else ()
    circuit = cirq.Circuit(operation(gate, qubits, theta, x) for gate in problem.gates)
    names = [str(symbol) for symbol in (*x, *theta)]
    circuits = tf.repeat(tfq.convert_to_tensor([circuit]), batch)
    inputs = tf.constant(problem.xs, tf.float32)

    def symbol_values(angles: Any) -> Any:
        return tf.concat([inputs, tf.repeat(angles[None], batch, axis=0)], axis=1)

    expectation = tfq.layers.Expectation(differentiator=tfq.differentiators.Adjoint())

    def evaluate(angles: Any, operators: Any) -> Any:
        return expectation(
            circuits,
            symbol_names=names,
            symbol_values=symbol_values(angles),
            operators=tf.repeat(operators, batch, axis=0),
        )

    words = tfq.convert_to_tensor([[pauli(word, qubits) for word in problem.words]])
    start = tf.constant(problem.theta, tf.float32)

    weights = tf.constant(problem.weights, tf.float32)

    @tf.function
    def forward(angles: Any) -> Any:
        return evaluate(angles, words)

    @tf.function
    def slope(angles: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(angles)
            loss = tf.reduce_sum(evaluate(angles, words) * weights) / batch
        return loss, tape.gradient(loss, angles)

    def gradient(angles: np.ndarray) -> tuple[Any, Any]:
        loss, gradients = slope(tf.constant(angles, tf.float32))
        return loss.numpy(), gradients.numpy()

    draw = tfq.layers.Sample()

    def sample() -> Any:
        values = symbol_values(start)
        drawn = draw(
            circuits, symbol_names=names, symbol_values=values, repetitions=problem.cell.shots
        )
        return drawn.to_tensor()[0].numpy()

    return plain_program(
        problem,
        forward=lambda: forward(start).numpy(),
        gradient=gradient,
        sample=sample,
        read_sample=z_means,
    )
