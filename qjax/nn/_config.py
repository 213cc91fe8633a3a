"""Models as JSON: the class of every layer and what it was built with, but no arrays.

The arrays are the layer's Flax state and are saved apart; together the two replace pickle.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from qjax.errors import ModelError

__all__ = ["config", "from_config"]

PACKAGES = ("flax", "jax", "qjax")  # whose classes and functions a config may name

# Where JAX has the public names of functions that it defines elsewhere.
PUBLIC = ("jax.nn", "jax.nn.initializers", "jax.numpy", "jax.lax", "jax")

_NOWHERE = object()

# Arguments that a class of Flax keeps under another name.
KEPT_AS = {(nnx.Sequential, "fns"): "layers"}

# Types of Python that are dtypes of the working precision.
PYTHON_DTYPES = {"int": int, "float": float, "complex": complex}

REMEDY = (
    "Give a function that is defined at the top level of a module, or a frozen dataclass with "
    "`__call__`."
)


def config(module: nnx.Module) -> dict[str, Any]:
    """What a layer or model was built with, as a value that JSON can hold.

    A module becomes `{"type": "package:Class", "arguments": {...}}`, and so does a frozen
    dataclass, such as an initialiser. Arguments are numbers, strings, truth values, None, dtypes
    (`{"dtype": ...}`), functions (`{"function": "package:name"}`), and sequences and modules of
    these. They are read from the attributes of the same names. Of Flax's own layers only those
    are listed that differ from their defaults.

    Arrays and random streams are not part of it: see `nnx.state`.

    Args:
        module: a layer, an `nnx.Sequential`, or any module that keeps the arguments of its
            constructor under their names.

    Returns:
        A dictionary for `json.dumps` and `from_config`.

    Raises:
        ModelError: if an argument has no such form, such as a lambda.

    Example:
        >>> from qjax import nn
        >>> saved = nn.config(nn.QuantumPooling(4, kind="measurement"))
        >>> saved["type"], saved["arguments"]["kind"]
        ('qjax.nn:QuantumPooling', 'measurement')
        >>> nn.from_config(saved, nnx.Rngs(0)).kept_qubits
        (0, 2)
    """
    if not isinstance(module, nnx.Module):
        raise ModelError(
            f"Argument `module` must be an nnx.Module, but is {type(module).__name__}."
        )
    written = _write(module, "module")
    _check_rebuilds(module, written)
    return written


def _check_rebuilds(module: nnx.Module, written: Mapping[str, Any]) -> None:
    """Raises ModelError if something was lost, which no attribute kept."""
    roots = (*PACKAGES, *_packages(written))
    again = nnx.eval_shape(lambda: _read(written, "config", nnx.Rngs(0), roots))
    if nnx.graphdef(again) != nnx.graphdef(module):
        raise ModelError(
            f"{type(module).__name__} cannot be saved, since it is not what its constructor makes "
            "of the arguments that it keeps. Keep all of them as attributes of the same names."
        )


def from_config(
    config: Mapping[str, Any], rngs: nnx.Rngs, *, trusted: Sequence[str] = ()
) -> nnx.Module:
    """Builds the layer or model that a config describes.

    Only classes and functions of Flax, JAX and qjax are looked up, and of the packages that you
    trust: a config can make these run with arguments of its choice, and import their modules. Of
    classes it can only build modules and frozen dataclasses.

    Args:
        config: from the function `config`, as it is or after a journey through JSON.
        rngs: random streams for the initial parameters, and for layers that go on drawing.
        trusted: further packages, such as your own.

    Returns:
        A module of the same structure. Its parameters are fresh: update it with the saved state.

    Raises:
        ModelError: if the config is malformed, or names what is not trusted or not there.

    Example:
        >>> import json
        >>> from qjax import nn
        >>> layer = nn.QuantumReadout(2, num_classes=3, rngs=nnx.Rngs(0))
        >>> again = nn.from_config(json.loads(json.dumps(nn.config(layer))), nnx.Rngs(1))
        >>> nnx.graphdef(again) == nnx.graphdef(layer)
        True
        >>> nnx.update(again, nnx.state(layer))
    """
    roots = (*PACKAGES, *trusted)
    built = _read(config, "config", rngs, roots)
    if not isinstance(built, nnx.Module):
        raise ModelError(f"Argument `config` must describe an nnx.Module, but is {config!r}.")
    return built


def _packages(written: Any) -> Iterator[str]:
    """The packages that a config names."""
    if isinstance(written, list):
        for item in written:
            yield from _packages(item)
    if isinstance(written, dict):
        name = written.get("type") or written.get("function") or ""
        yield name.split(":")[0].split(".")[0]
        yield from _packages(list(written.get("arguments", {}).values()))


# --- writing --------------------------------------------------------------------------------------


def _write(value: Any, where: str) -> Any:
    """The form of a value in JSON; `where` names it in errors."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple | nnx.List):
        return [_write(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, nnx.Module) or _is_frozen(type(value)):
        return {"type": _name(type(value), where), "arguments": _arguments(value)}
    if (dtype := _dtype_name(value)) is not None:
        return {"dtype": dtype}
    if callable(value):
        return {"function": _name(value, where)}
    raise ModelError(
        f"{where} must be a number, a string, a function, a module or a sequence of these to be "
        f"saved, but is {type(value).__name__}."
    )


def _arguments(module: Any) -> dict[str, Any]:
    """The arguments of a module's constructor, from its attributes."""
    arguments: dict[str, Any] = {}
    cls = type(module)
    is_foreign = cls.__module__.split(".")[0] == "flax"
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        name, default = parameter.name, parameter.default
        value = getattr(module, KEPT_AS.get((cls, name), name), _NOWHERE)
        if name == "rngs":
            if value is default is None:  # a layer that was built without
                arguments[name] = None
        elif is_foreign and default is not parameter.empty and _is_same(value, default):
            continue
        elif value is _NOWHERE:
            raise ModelError(
                f"{cls.__name__} cannot be saved, since it does not keep its argument `{name}`. "
                f"Set an attribute `{name}` in its constructor."
            )
        else:
            arguments[name] = _write(value, f"Argument `{name}` of {cls.__name__}")
    return arguments


def _is_same(value: Any, default: Any) -> bool:
    if value is default or value is _NOWHERE:
        return True
    return type(value) is type(default) and bool(value == default)


def _is_frozen(cls: type) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def _dtype_name(value: Any) -> str | None:
    """The name of a dtype, or None if it is something else."""
    if isinstance(value, type) and value in PYTHON_DTYPES.values():
        return value.__name__
    is_numpys = isinstance(value, np.dtype) or (
        isinstance(value, type) and issubclass(value, np.generic)
    )
    name = getattr(value, "__name__", "")
    is_jaxs = hasattr(value, "dtype") and value is getattr(jnp, name, None)
    return np.dtype(value).name if is_numpys or is_jaxs else None


def _name(value: Any, where: str) -> str:
    """A name that leads to a class or function: "module:name", the shortest public module first."""
    qualname = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    home = getattr(value, "__module__", None)
    if qualname and home:
        for module in _places(home):
            if _lookup(sys.modules.get(module), qualname) is value:
                return f"{module}:{qualname}"
    shown = qualname or type(value).__name__
    raise ModelError(f"{where} cannot be saved, since nothing leads back to {shown}. {REMEDY}")


def _places(home: str) -> Iterator[str]:
    """Modules in which a name defined in `home` may be found, public ones first."""
    parts = home.split(".")
    ancestors = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    yield from (module for module in ancestors if "._" not in f".{module}")
    if parts[0] == "jax":
        yield from PUBLIC
    yield home


def _lookup(module: Any, qualname: str) -> Any:
    """The object that a dotted name stands for in a module; None if there is none."""
    for part in qualname.split("."):
        module = getattr(module, part, None)
    return module


# --- reading --------------------------------------------------------------------------------------


def _read(value: Any, where: str, rngs: nnx.Rngs, roots: Sequence[str]) -> Any:
    """The value that a form in JSON stands for."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(_read(item, f"{where}[{i}]", rngs, roots) for i, item in enumerate(value))
    keys = set(value) if isinstance(value, Mapping) else set()
    if keys == {"dtype"} and (dtype := _dtype(str(value["dtype"]))) is not None:
        return dtype
    if keys == {"function"}:
        return _find(value["function"], roots)
    if keys == {"type", "arguments"} and isinstance(value["arguments"], Mapping):
        return _build(value["type"], value["arguments"], rngs, roots)
    raise ModelError(
        f"Argument `config` must hold numbers, strings, sequences and objects with 'type' and "
        f"'arguments', 'function' or 'dtype', but {where} is {value!r}."
    )


def _dtype(name: str) -> Any:
    """The dtype of a name, or None if there is none."""
    found = getattr(jnp, name, None)
    return PYTHON_DTYPES.get(name, found if hasattr(found, "dtype") else None)


def _build(name: Any, given: Mapping[str, Any], rngs: nnx.Rngs, roots: Sequence[str]) -> Any:
    cls = _find(name, roots)
    if not isinstance(cls, type) or not (issubclass(cls, nnx.Module) or _is_frozen(cls)):
        raise ModelError(
            f"Argument `config` must name nnx.Modules and frozen dataclasses as types, but names "
            f"{name!r}."
        )
    signature = inspect.signature(cls.__init__)
    arguments = {key: _read(value, key, rngs, roots) for key, value in given.items()}
    if "rngs" in signature.parameters:
        arguments.setdefault("rngs", rngs)
    positional: tuple[Any, ...] = ()
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional = arguments.pop(parameter.name, ())
    try:
        signature.bind(cls, *positional, **arguments)
    except TypeError as error:
        raise ModelError(f"Argument `config` does not fit {name!r}: {error}.") from None
    return cls(*positional, **arguments)


def _find(name: Any, roots: Sequence[str]) -> Callable[..., Any]:
    """The class or function of a name, if it is one of a trusted package's own."""
    module, _, qualname = str(name).partition(":")
    _check_trusted(module, name, roots)
    try:
        found = _lookup(importlib.import_module(module), qualname)
    except ImportError:
        found = None
    if not callable(found):
        raise ModelError(f"Argument `config` must name what exists, but names {name!r}.")
    _check_trusted(getattr(found, "__module__", None) or type(found).__module__, name, roots)
    return found


def _check_trusted(module: str, name: Any, roots: Sequence[str]) -> None:
    if module.split(".")[0] not in roots:
        raise ModelError(
            f"Argument `config` must name classes and functions of {', '.join(roots)}, but names "
            f"{name!r}. If you trust where the config comes from, name its package in `trusted`."
        )
