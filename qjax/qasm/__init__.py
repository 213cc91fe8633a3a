"""OpenQASM 2 and 3: text to circuit and circuit to text.

Reading needs the extra `qasm`, which brings the parser; writing needs nothing.
"""

from qjax.qasm._parse import Program, parse, parse_program
from qjax.qasm._write import write

__all__ = ["Program", "parse", "parse_program", "write"]
