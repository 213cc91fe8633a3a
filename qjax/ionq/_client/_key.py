"""The API key, in a box that shows it to nobody but the one line that sends it."""

import json
import os
from typing import NoReturn

from qjax.ionq._errors import ConfigurationError

__all__ = ["KEY_VARIABLE", "ApiKey"]

KEY_VARIABLE = "IONQ_API_KEY"
_MASK = "[key]"
_SHORTEST = 8  # characters from which a text is a secret; shorter ones occur in ordinary words


class ApiKey:
    """A key that prints as a mask and does not pickle.

    Making one never raises, so that the frames that hold the plain text have let go of it before
    `check` complains.

    Args:
        value: the key; the environment variable IONQ_API_KEY if not given.
    """

    __slots__ = ("__value",)

    def __init__(self, value: "str | ApiKey | None" = None):
        if isinstance(value, ApiKey):
            self.__value: str = value.__value
        else:
            self.__value = (os.environ.get(KEY_VARIABLE, "") if value is None else value).strip()

    def check(self) -> None:
        """Checks that the key can be sent.

        Raises:
            ConfigurationError: if there is none, or it cannot stand in a header.
        """
        if not self.__value:
            raise ConfigurationError(
                f"There is no API key. Pass `api_key` or set {KEY_VARIABLE}; to work without an "
                "account, start the local emulator and pass its address as `base_url`."
            )
        if not self.__value.isascii() or not self.__value.isprintable() or " " in self.__value:
            raise ConfigurationError("Argument `api_key` must be printable ASCII without spaces.")

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"apiKey {self.__value}"

    def scrub(self, text: str) -> str:
        """The text with the key masked wherever it occurs, also as JSON writes it."""
        for form in self._forms():
            text = text.replace(form, _MASK)
        return text

    def scrub_bytes(self, content: bytes) -> bytes:
        """The same for a body."""
        for form in self._forms():
            content = content.replace(form.encode(), _MASK.encode())
        return content

    def _forms(self) -> tuple[str, ...]:
        if len(self.__value) < _SHORTEST:
            return ()
        escaped = json.dumps(self.__value)[1:-1]
        return tuple(dict.fromkeys((self.__value, escaped, escaped.replace("/", "\\/"))))

    def __repr__(self) -> str:
        return f"ApiKey({_MASK})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An API key is not pickled. Make a new client where it is needed.")
