"""Griffe extension: how the docstrings of qjax are read.

In them 2**n, <a|b> and x[i][j] are formulas and not Markdown, and `Example:` heads a section of
examples, which Griffe knows as `Examples:`.
"""

import re
from typing import Any

import griffe

CODE = re.compile(r"(``.+?``|`[^`]+`|^ *>>> .*?(?:\n *\n|\Z))", re.MULTILINE | re.DOTALL)
POWER = re.compile(r"(?<=[\w)\]])\*{1,2}(?=[\w(-])")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
INDEX = re.compile(r"(?<=[\w\]])\[")
BRA = re.compile(r"<(?=[\w/!?])")


def escape(text: str) -> str:
    """Escapes asterisks, angle brackets and indices outside code spans and examples."""
    parts = CODE.split(text)  # text and code alternate
    for k in range(0, len(parts), 2):
        powers = POWER.sub(lambda match: match[0].replace("*", r"\*"), parts[k])
        parts[k] = BRA.sub("&lt;", INDEX.sub(r"\[", powers))
    return "".join(parts)


class PlainDocstrings(griffe.Extension):
    """Prepares every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub("Examples:", escape(obj.docstring.value))
