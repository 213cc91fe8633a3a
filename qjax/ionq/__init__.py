"""IonQ: native gates, compiler, client and emulator.

Bit order, turns and everything else that IonQ does its own way is converted here and nowhere else.
"""

from qjax.ionq._client._account import (
    Cost,
    CostEstimate,
    JobCost,
    Session,
    SessionSettings,
    Usage,
    WhoAmI,
)
from qjax.ionq._client._backends import Backend, Characterization, CharacterizationPage
from qjax.ionq._client._client import AsyncIonQClient
from qjax.ionq._client._http import Timeouts
from qjax.ionq._client._job_endpoints import JobEstimate
from qjax.ionq._client._models import CreatedJob, Failure, Job, JobPage, JobStats, ResultLink
from qjax.ionq._client._pace import Backoff, Clock, PollSchedule
from qjax.ionq._client._submission import Submission
from qjax.ionq._client._sync import IonQClient
from qjax.ionq._compiler._compiler import IonQNativeCompiler
from qjax.ionq._compiler._native_circuit import NativeCircuit
from qjax.ionq._compiler._passes import Draft, Pass
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
from qjax.ionq._measurement import MeasurementPlan, measurement_circuits
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from qjax.ionq._noise import NOISE_MODELS, find_noise_model
from qjax.ionq._outcomes import MeasuredValue, Outcomes, ShotTable
from qjax.ionq._payload import circuit_from_payload, circuit_to_payload
from qjax.ionq._twin import TwinComparison, TwinError, compare_with_twin

__all__ = [
    "GATESETS",
    "GPI",
    "GPI2",
    "MACHINES",
    "MS",
    "NOISE_MODELS",
    "ZZ",
    "ApiError",
    "AsyncIonQClient",
    "AuthenticationError",
    "Backend",
    "Backoff",
    "BadRequestError",
    "Characterization",
    "CharacterizationPage",
    "Clock",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "Cost",
    "CostEstimate",
    "CreatedJob",
    "DeadlineError",
    "Draft",
    "Failure",
    "ForbiddenError",
    "InvalidJobError",
    "IonQClient",
    "IonQError",
    "IonQNativeCompiler",
    "Job",
    "JobCanceledError",
    "JobCost",
    "JobEstimate",
    "JobFailedError",
    "JobPage",
    "JobStats",
    "Machine",
    "MeasuredValue",
    "MeasurementPlan",
    "NativeCircuit",
    "NotFoundError",
    "Outcomes",
    "Pass",
    "PayloadError",
    "PollSchedule",
    "RateLimitError",
    "ResponseError",
    "ResultLink",
    "ServerError",
    "Session",
    "SessionSettings",
    "ShotTable",
    "Submission",
    "SubmissionUnknownError",
    "Timeouts",
    "TwinComparison",
    "TwinError",
    "Usage",
    "WhoAmI",
    "circuit_from_payload",
    "circuit_to_payload",
    "compare_with_twin",
    "find_machine",
    "find_noise_model",
    "measurement_circuits",
]
