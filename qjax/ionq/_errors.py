"""The errors of `qjax.ionq`: what could not be written, sent, waited for or read.

None of them ever holds the API key, a request's headers or more than the start of a body.
"""

from qjax.errors import QjaxError

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "DeadlineError",
    "ForbiddenError",
    "InvalidJobError",
    "IonQError",
    "JobCanceledError",
    "JobFailedError",
    "NotFoundError",
    "PayloadError",
    "RateLimitError",
    "ResponseError",
    "ServerError",
    "SubmissionUnknownError",
    "api_error",
]


class IonQError(QjaxError):
    """Base class of the errors of `qjax.ionq`.

    Attributes:
        retryable: whether the same call may succeed if it is made again later.
    """

    retryable: bool = False


class ConfigurationError(IonQError, ValueError):
    """A client that cannot be made as asked: no key, or an address that is not safe."""


class PayloadError(IonQError, ValueError):
    """A circuit that IonQ's JSON cannot hold, or JSON that is no circuit.

    Attributes:
        code: the service's word for it, such as "UnsupportedGate".
    """

    def __init__(self, message: str, *, code: str = "InvalidInput"):
        super().__init__(message)
        self.code = code

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidJobError(IonQError, ValueError):
    """A job that breaks a limit of the service; nothing was sent."""


class ResponseError(IonQError):
    """An answer that is not what the service documents, such as HTML or cut-off JSON.

    Attributes:
        retryable: True if the body could not be read at all, as when a proxy answers; not if it
            was read and is of the wrong shape.
    """

    def __init__(self, message: str, *, retryable: bool = False):
        super().__init__(message)
        self.retryable = retryable

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__)


class ConnectionFailedError(IonQError, ConnectionError):
    """No answer: the connection failed, broke or timed out, and retries did not help.

    Attributes:
        sent: False if the request surely did not arrive.
    """

    retryable = True

    def __init__(self, message: str, *, sent: bool = True):
        super().__init__(message)
        self.sent = sent

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__)


class ApiError(IonQError):
    """An answer with an error status.

    Attributes:
        status: HTTP status.
        request_id: the service's name for the request, if it gave one.
        retryable: whether the same call may succeed if it is made again later.
        retry_after: seconds after which the service asked to come back, if it did.
        tries: how often the request was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ):
        super().__init__(message)
        self.status, self.request_id = status, request_id
        self.retryable, self.retry_after, self.tries = retryable, retry_after, 1

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__)


class BadRequestError(ApiError, ValueError):
    """400, 413 or 422: the service refuses the request as it is."""


class AuthenticationError(ApiError):
    """401: the key is missing or wrong, or its role may not do this."""


class ForbiddenError(ApiError):
    """403: the key lacks the scope."""


class NotFoundError(ApiError, LookupError):
    """404: no such thing, not yet, or not for this account."""


class ConflictError(ApiError):
    """409: the thing is in a state that does not allow it, or not ready yet."""


class RateLimitError(ApiError):
    """429: too many requests."""


class ServerError(ApiError):
    """5xx: trouble on the service's side."""


class JobFailedError(IonQError):
    """A job that the service could not finish.

    Attributes:
        job_id: which.
        code: the service's word for the reason, such as "NotEnoughQubits".
        reason: its sentence.
    """

    def __init__(self, job_id: str, code: str | None, reason: str | None):
        told = reason or "The service gave no reason."
        super().__init__(f"Job {job_id} failed ({code or 'no code'}): {told}")
        self.job_id, self.code, self.reason = job_id, code, reason
        self.retryable = code in _TRANSIENT_FAILURES

    def __reduce__(self):
        return type(self), (self.job_id, self.code, self.reason)


class JobCanceledError(IonQError):
    """A job that was cancelled and therefore has no results.

    Attributes:
        job_id: which.
    """

    def __init__(self, job_id: str):
        super().__init__(f"Job {job_id} was cancelled and has no results.")
        self.job_id = job_id

    def __reduce__(self):
        return type(self), (self.job_id,)


class DeadlineError(IonQError, TimeoutError):
    """A deadline that passed first.

    Attributes:
        job_id: the job that was waited for, if it was one; it goes on running.
    """

    retryable = True

    def __init__(self, message: str, *, job_id: str | None = None):
        super().__init__(message)
        self.job_id = job_id

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__)


class SubmissionUnknownError(IonQError):
    """A job of which it cannot be known whether the service took it.

    Attributes:
        tag: the mark in its metadata, by which `client.find_job` looks again.
        intended_at: seconds since 1970 when it was first sent.
    """

    def __init__(self, tag: str, intended_at: float, reason: str):
        super().__init__(
            f"It is not known whether the service took the job with the tag {tag!r}: {reason} "
            f"Look again with `client.find_job({tag!r}, since={intended_at:.0f})`, and submit "
            "anew only if that finds nothing."
        )
        self.tag, self.intended_at, self.reason = tag, intended_at, reason

    def __reduce__(self):
        return type(self), (self.tag, self.intended_at, self.reason)


_TRANSIENT_FAILURES = ("InternalError", "QuantumComputerError", "SimulationTimeout", "SystemCancel")

_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: BadRequestError,
    422: BadRequestError,
    429: RateLimitError,
}


def api_error(status: int) -> type[ApiError]:
    """The class of error for an HTTP status."""
    if status >= 500:
        return ServerError
    return _BY_STATUS.get(status, ApiError)


def _rebuild(kind: type[IonQError], args: tuple, state: dict) -> IonQError:
    """An unpickled error, whose class takes keywords that `BaseException` does not pass on."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
