"""From text to a syntax tree, with errors that name their line. Needs the parser.

The parser's own entry point prints errors, and leaves out the line of most of them.
"""

import re
from typing import Any, NoReturn

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from openqasm3 import parser as reference

from qjax.errors import CircuitError

__all__ = ["syntax_tree"]

_reference: Any = reference  # its parts are there, but not in the list of what it exports
_PLACE = re.compile(r"L(\d+):C\d+: (.*)", re.DOTALL)


def syntax_tree(text: str) -> Any:
    """The statements of an OpenQASM 3 program.

    Args:
        text: the program.

    Raises:
        CircuitError: at the first error, naming its line.
    """
    lexer = _reference.qasm3Lexer(InputStream(text))
    parser = _reference.qasm3Parser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(_Raising())
    try:
        return _reference.QASMNodeVisitor().visitProgram(parser.program())
    except _reference.QASM3ParsingError as error:
        place = _PLACE.match(str(error))
        if place is None:
            _refuse(None, str(error))
        _refuse(place[1], place[2])
    except RecursionError:
        raise CircuitError("OpenQASM cannot be read: it is nested too deeply.") from None


def _refuse(line: object, cause: str) -> NoReturn:
    where = "" if line is None else f" line {line}"
    # A long list of what might have been there instead helps nobody.
    raise CircuitError(f"OpenQASM{where}: {cause.partition(' expecting {')[0]}.") from None


class _Raising(ErrorListener):
    def syntaxError(
        self, recognizer: Any, offendingSymbol: Any, line: int, column: int, msg: str, e: Any
    ) -> None:
        """Called by the parser for every error."""
        _refuse(line, msg)
