"""The README, the pages of the docs and the public docstrings: their code does what they say.

A page is one namespace. A `text` block right after a `python` block is its output. An HTML comment
`<!-- raises: CircuitError -->` right before a block says that the block must raise; its output is
then the class and the text of the error.
"""

import contextlib
import doctest
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from tests.test_public_api import public_objects

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DECIMAL = re.compile(r"-?\d+\.(\d*)")

BLOCK = re.compile(
    r"(?:^<!-- raises: (?P<raises>\w+) -->\n)?"
    r"^```python\n(?P<code>.*?)^```$"
    r"(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


class DecimalChecker(doctest.OutputChecker):
    """Compares decimals to the digits that the expected output shows."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        wanted, found = list(DECIMAL.finditer(want)), list(DECIMAL.finditer(got))
        if len(wanted) == len(found):
            texts = iter(
                w[0] if abs(float(w[0]) - float(g[0])) < 0.6 * 10 ** -len(w[1]) else g[0]
                for w, g in zip(wanted, found, strict=True)
            )
            got = DECIMAL.sub(lambda _: next(texts), got)
        return super().check_output(want, got, optionflags)


class Block(NamedTuple):
    line: int
    code: str
    raises: str | None
    output: str | None


def blocks(text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Block(line, match["code"], match["raises"], match["output"])


def run_block(block: Block, page: str, namespace: dict[str, Any]) -> None:
    code = compile("\n" * block.line + block.code, page, "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if block.raises is None:
            exec(code, namespace)
        else:
            with pytest.raises(Exception) as caught:  # noqa: PT011, the class is compared by name
                exec(code, namespace)
            assert block.raises in [cls.__name__ for cls in caught.type.__mro__]
            printed.write(f"{caught.type.__name__}: {caught.value}\n")
    if block.output is not None:
        same = DecimalChecker().check_output(block.output, printed.getvalue(), OPTIONS)
        assert same, f"{page}, line {block.line}, printed:\n{printed.getvalue()}"


@pytest.fixture(autouse=True)
def restore_precision() -> Iterator[None]:
    x64 = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", x64)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python" in page.read_text("utf-8")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_page_runs(page: Path) -> None:
    text = page.read_text("utf-8")
    found = list(blocks(text))
    assert len(found) == text.count("```python"), "a python block that is not plain ```python"
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in found:
        run_block(block, str(page.relative_to(ROOT)), namespace)


@pytest.mark.parametrize("output", ["2", "1.0", "1.2346", "1.23 1.23"])
def test_a_wrong_output_fails(output: str) -> None:
    (block,) = blocks(f"```python\nprint(1.23451)\n```\n\n```text\n{output}\n```\n")
    with pytest.raises(AssertionError):
        run_block(block, "page", {})


def test_decimals_are_compared_as_printed() -> None:
    (block,) = blocks("```python\nprint([1.23451, 2.0])\n```\n\n```text\n[1.235, 2.0]\n```\n")
    run_block(block, "page", {})


def test_a_missing_exception_fails() -> None:
    (block,) = blocks("<!-- raises: ValueError -->\n```python\nx = 1\n```\n")
    with pytest.raises(pytest.fail.Exception):
        run_block(block, "page", {})


CORE = sorted(path for path, _ in public_objects() if path.count(".") == 1)


@pytest.mark.parametrize("path", CORE)
def test_core_name_has_an_example(path: str) -> None:
    doc = inspect.getdoc(getattr(qj, path.removeprefix("qjax."))) or ""
    assert re.search(r"^Examples?:$", doc, re.MULTILINE), f"{path} has no `Example:` section"
    assert ">>>" in doc


ONCE = {id(value): (path, value) for path, value in public_objects()}.values()


@pytest.mark.parametrize(("path", "value"), ONCE, ids=[path for path, _ in ONCE])
def test_docstring_examples_run(path: str, value: Any) -> None:
    module = inspect.getmodule(value)
    names = {**vars(module), "jax": jax, "jnp": jnp, "np": np, "qj": qj} if module else {}
    runner = doctest.DocTestRunner(DecimalChecker(), optionflags=OPTIONS)
    report = io.StringIO()
    for test in doctest.DocTestFinder(exclude_empty=True).find(value, path, module, names):
        runner.run(test, out=report.write)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()
