"""The same client for scripts that do not use asyncio: each call waits in the calling thread."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from qjax.ionq._client._client import CANCEL_SECONDS, AsyncIonQClient, api_url
from qjax.ionq._client._key import ApiKey
from qjax.ionq._client._models import Job
from qjax.ionq._errors import ConfigurationError

__all__ = ["IonQClient"]

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[AsyncIonQClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["IonQClient", P], R]:
    """The blocking form of a coroutine method."""

    @functools.wraps(method)
    def call(self: "IonQClient", *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method(self._client, *args, **kwargs))

    return call


class IonQClient:
    """A client of IonQ's cloud for scripts: `AsyncIonQClient` on an event loop of its own.

    Args:
        api_key: as of `AsyncIonQClient`.
        **options: as of `AsyncIonQClient`.

    Raises:
        ConfigurationError: as `AsyncIonQClient`.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import IonQClient
        >>> def bell():
        ...     with IonQClient() as client:
        ...         circuit = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        ...         return client.run(circuit, backend="simulator").counts()
    """

    def __init__(self, api_key: str | None = None, **options: Any):
        self._loop: asyncio.AbstractEventLoop | None = None
        self._url = api_url(options.get("base_url"))
        key = ApiKey(api_key)
        del api_key  # a traceback may show the locals of this frame
        self._client = AsyncIonQClient(key, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="ionq")
        self._thread.start()

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise ConfigurationError("The client is closed. Make a new one.")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        finally:
            future.cancel()  # after an interrupt; nothing once it is done

    run = _blocking(AsyncIonQClient.run)
    wait_for_job = _blocking(AsyncIonQClient.wait_for_job)
    results = _blocking(AsyncIonQClient.results)
    memory = _blocking(AsyncIonQClient.memory)
    create_job = _blocking(AsyncIonQClient.create_job)
    find_job = _blocking(AsyncIonQClient.find_job)
    get_job = _blocking(AsyncIonQClient.get_job)
    list_jobs = _blocking(AsyncIonQClient.list_jobs)
    cancel_job = _blocking(AsyncIonQClient.cancel_job)
    cancel_jobs = _blocking(AsyncIonQClient.cancel_jobs)
    delete_job = _blocking(AsyncIonQClient.delete_job)
    delete_jobs = _blocking(AsyncIonQClient.delete_jobs)
    clone_job = _blocking(AsyncIonQClient.clone_job)
    get_cost = _blocking(AsyncIonQClient.get_cost)
    estimate = _blocking(AsyncIonQClient.estimate)
    estimate_job = _blocking(AsyncIonQClient.estimate_job)
    get_probabilities = _blocking(AsyncIonQClient.get_probabilities)
    get_histogram = _blocking(AsyncIonQClient.get_histogram)
    get_shots = _blocking(AsyncIonQClient.get_shots)
    get_aggregated = _blocking(AsyncIonQClient.get_aggregated)
    get_artifact = _blocking(AsyncIonQClient.get_artifact)
    get_compiled = _blocking(AsyncIonQClient.get_compiled)
    list_backends = _blocking(AsyncIonQClient.list_backends)
    get_backend = _blocking(AsyncIonQClient.get_backend)
    list_characterizations = _blocking(AsyncIonQClient.list_characterizations)
    get_characterization = _blocking(AsyncIonQClient.get_characterization)
    create_session = _blocking(AsyncIonQClient.create_session)
    get_session = _blocking(AsyncIonQClient.get_session)
    list_sessions = _blocking(AsyncIonQClient.list_sessions)
    end_session = _blocking(AsyncIonQClient.end_session)
    list_session_jobs = _blocking(AsyncIonQClient.list_session_jobs)
    whoami = _blocking(AsyncIonQClient.whoami)
    get_usage = _blocking(AsyncIonQClient.get_usage)

    def iterate_jobs(self, **filters: Any) -> Iterator[Job]:
        """All jobs, page by page; filters as of `list_jobs`."""
        jobs = self._client.iterate_jobs(**filters)
        while True:
            job = self._run(_next_or_none(jobs))
            if job is None:
                return
            yield job

    @property
    def base_url(self) -> str:
        """Address of the API."""
        return self._client.base_url

    def close(self) -> None:
        """Waits for calls that are being cancelled, closes the connections, ends the event loop."""
        if self._loop is None:
            return
        self._run(self._finish())
        loop, self._loop = self._loop, None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    async def _finish(self) -> None:
        """An interrupted call may still have to cancel its job; other threads may be in calls."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        late = (await asyncio.wait(others, timeout=CANCEL_SECONDS))[1] if others else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self._client.aclose()

    def __enter__(self) -> "IonQClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"IonQClient({self._url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client is not pickled. Make a new one where it is needed.")


async def _next_or_none(jobs: Any) -> Job | None:
    return await anext(jobs, None)
