"""Text drawing of a circuit: one line per qubit, time from left to right."""

from collections.abc import Sequence

from qjax.circuit._operation import Operation, format_number

__all__ = ["draw"]

_SYMBOLS = {"Measure": "M", "Reset": "|0⟩", "StatePreparation": "|ψ⟩", "ReadoutError": "R"}


def draw(num_qubits: int, operations: Sequence[Operation], *, width: int = 100) -> str:
    """Draws operations in columns, folding lines longer than `width`.

    Args:
        num_qubits: number of lines.
        operations: what to draw.
        width: number of characters after which the drawing goes on below.

    Returns:
        The drawing, without a newline at the end.
    """
    columns: list[dict[int, str]] = []
    free = [0] * num_qubits  # first column that each line still has room in
    named: dict[str, int] = {}
    for operation in operations:
        low, high = min(operation.qubits), max(operation.qubits)
        start = max(free[low : high + 1])
        start = max([start, *(named[name] + 1 for name, _ in operation.conditions)])
        if start == len(columns):
            columns.append({})
        columns[start] |= _cells(operation, low, high)
        free[low : high + 1] = [start + 1] * (high + 1 - low)
        if operation.kind.name == "Measure" and operation.detail[0] is not None:
            named[operation.detail[0]] = start
    return _fold(num_qubits, [_pad(column, num_qubits) for column in columns], width)


def _cells(operation: Operation, low: int, high: int) -> dict[int, str]:
    cells = dict.fromkeys(range(low, high + 1), "┼")
    cells |= dict.fromkeys(operation.controls, "●")
    for position, qubit in enumerate(operation.targets):
        cells[qubit] = _label(operation, position)
    return cells


def _label(operation: Operation, position: int) -> str:
    name = operation.kind.name
    if name == "SWAP":
        return "x"
    text = _SYMBOLS.get(name, name) + ("†" if operation.adjoint else "")
    if name == "PauliRotation":
        text = f"R{operation.detail[position]}"
    elif name == "Measure":
        label, outcome = operation.detail
        text += f"({label})" if label is not None else ""
        text += f"={outcome}" if outcome is not None else ""
    elif len(operation.targets) > 1 and not operation.params:
        text += f"[{position}]" if name in ("Unitary", "Kraus", "ISWAP") else ""
    if operation.params and position == 0 and len(operation.params) <= 4:
        text += f"({','.join(format_number(p) for p in operation.params)})"
    return text + "".join(f"?{n}={v}" for n, v in operation.conditions)


def _pad(column: dict[int, str], num_qubits: int) -> list[str]:
    width = max(map(len, column.values()))
    return [column.get(q, "").ljust(width, "─") for q in range(num_qubits)]


def _fold(num_qubits: int, columns: list[list[str]], width: int) -> str:
    margin = len(str(num_qubits - 1))
    labels = [f"{q:>{margin}}: " for q in range(num_qubits)]
    blocks, lines = [], [label + "─" for label in labels]
    for column in columns:
        if len(lines[0]) + len(column[0]) + 1 > width and len(lines[0]) > margin + 3:
            blocks.append(lines)
            lines = [label + "─" for label in labels]
        lines = [f"{line}{cell}─" for line, cell in zip(lines, column, strict=True)]
    return "\n\n".join("\n".join(block) for block in [*blocks, lines])
