"""Refusals, in the two ways of the service: an HTTP error, or a job that fails."""

from typing import Any

__all__ = ["HttpError", "JobError"]

_NAMES = {
    400: "Bad Request",
    401: "Unauthorized Error",
    403: "Forbidden",
    404: "Not Found Error",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_MESSAGES = {
    401: "Invalid key provided. See https://docs.ionq.com/ for details.",
    404: "Resource not found. See https://docs.ionq.com/ for details.",
}


class HttpError(Exception):
    """A request that is answered with an error.

    Args:
        status: of the answer.
        message: of the answer.
        keys: fields of the body that are wrong, for a status of 400.
    """

    def __init__(self, status: int, message: str | None = None, keys: tuple[str, ...] = ()):
        self.status = status
        self.name = _NAMES.get(status, "Error")
        self.message = message or _MESSAGES.get(status, self.name)
        self.keys = keys
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        body: dict[str, Any] = {
            "statusCode": self.status,
            "error": self.name,
            "message": self.message,
        }
        if self.keys:
            body["validation"] = {"source": "payload", "keys": list(self.keys)}
        return body


class JobError(Exception):
    """A job that was accepted and fails.

    Args:
        code: of the service, such as "NotEnoughQubits".
        message: what is wrong.
    """

    def __init__(self, code: str, message: str):
        self.code, self.message = code, message
        super().__init__(message)
