"""IonQ: native gates, compiler, client and emulator.

Bit order, turns and everything else that IonQ does its own way is converted here and nowhere else.
"""

from qjax.ionq._errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeadlineError,
    ForbiddenError,
    InvalidJobError,
    IonQError,
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    PayloadError,
    RateLimitError,
    ResponseError,
    ServerError,
    SubmissionUnknownError,
)
from qjax.ionq._machines import GATESETS, MACHINES, Machine, find_machine
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from qjax.ionq._noise import NOISE_MODELS, find_noise_model
from qjax.ionq._payload import circuit_from_payload, circuit_to_payload

__all__ = [
    "GATESETS",
    "GPI",
    "GPI2",
    "MACHINES",
    "MS",
    "NOISE_MODELS",
    "ZZ",
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
    "Machine",
    "NotFoundError",
    "PayloadError",
    "RateLimitError",
    "ResponseError",
    "ServerError",
    "SubmissionUnknownError",
    "circuit_from_payload",
    "circuit_to_payload",
    "find_machine",
    "find_noise_model",
]
