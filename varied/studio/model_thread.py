"""One thread that owns the models: requests wait in a queue, and decode requests are batched."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from varied.studio.opened_run import OpenedRun, Services
from varied.studio.schemas import DecodeRequest, DecodeResponse

T = TypeVar("T")

#: The number of runs that are kept open, and the maximum number of codes in a batch.
_MAX_OPEN, _MAX_CODES = 3, 512
#: The number of seconds for which the current call may still run when the thread is closed.
_MAX_WAIT = 5

Listener = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]"]
Decode = Callable[[OpenedRun, Sequence[DecodeRequest]], list[DecodeResponse]]


@dataclass
class _Call:
    """A function of an opened run that waits to be called.

    Arguments:
        id: The id of the run.
        function: The function.
        request: The decode request, if the call can be batched with others.
        future: The result.
        listener: An event loop, and its future for the result, which replaces ``future``.
    """

    id: str
    function: Callable[[OpenedRun], Any]
    request: DecodeRequest | None = None
    future: Future[Any] = field(default_factory=Future)
    listener: Listener | None = None


class ModelThread:
    """The thread that opens runs and calls functions of them, one at a time.

    torch's random state is global, so that two threads must not use models at the same time.

    Arguments:
        find: Returns the run folder with an id.
        services: Uploads and downloads; other runs are opened by this thread.
        decode: The function that answers several decode requests together.
    """

    def __init__(
        self,
        find: Callable[[str], Path],
        services: Services,
        decode: Decode,
    ) -> None:
        self.find, self.decode = find, decode
        self.services = Services(services.read_upload, self._open, services.add_download)
        self._runs: OrderedDict[str, OpenedRun] = OrderedDict()
        self._calls: deque[_Call] = deque()
        #: What is computed while no call waits: the properties of opened runs.
        self._preparations: deque[tuple[OpenedRun, str]] = deque()
        self._condition = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def call(self, id: str, function: Callable[[OpenedRun], T]) -> Future[T]:
        """Call a function of a run, after all earlier calls."""
        return cast("Future[T]", self._add(_Call(id, function)))

    async def decode_soon(self, id: str, request: DecodeRequest) -> DecodeResponse:
        """Decode codes, together with those of other requests that wait for the same run.

        The event loop is woken once for all of these requests.

        Raises:
            VariedError: If the run cannot be opened.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[DecodeResponse] = loop.create_future()
        decode = lambda opened: self.decode(opened, [request])[0]  # noqa: E731
        self._add(_Call(id, decode, request, listener=(loop, waiting)))
        return await waiting

    def close(self) -> None:
        """End the thread after the current call, for which this waits; the others are canceled."""
        with self._condition:
            self._is_closing = True
            calls = list(self._calls)
            self._calls.clear()
            self._condition.notify()
        for call in calls:
            call.future.cancel()
        _notify([(call, asyncio.CancelledError()) for call in calls if call.listener])
        # The interpreter may abort if it ends while a thread computes in C++.
        self._thread.join(_MAX_WAIT)

    def _add(self, call: _Call) -> Future[Any]:
        with self._condition:
            if not self._is_closing:
                self._calls.append(call)
                self._condition.notify()
                return call.future
        call.future.cancel()
        _notify([(call, asyncio.CancelledError())] if call.listener else [])
        return call.future

    def _work(self) -> None:
        while not self._is_closing:
            calls = self._next()
            running = [call for call in calls if call.future.set_running_or_notify_cancel()]
            if len(running) > 1:
                self._answer_together(running)
            elif running:
                self._answer(running[0])
            elif not calls:
                self._prepare_next()

    def _next(self) -> list[_Call]:
        """Return the next call, with the other calls that can be answered together with it.

        If there is none, but something to prepare, return an empty list.
        """
        with self._condition:
            while not (self._calls or self._preparations or self._is_closing):
                self._condition.wait()
            if self._is_closing or not self._calls:
                return []
            first = self._calls.popleft()
            calls = [first]
            if first.request is None:
                return calls
            n_codes = len(first.request.z)
            others: deque[_Call] = deque()
            for call in self._calls:
                n = _MAX_CODES if call.request is None else len(call.request.z)
                if call.id == first.id and n_codes + n <= _MAX_CODES:
                    calls.append(call)
                    n_codes += n
                else:
                    others.append(call)
            self._calls = others
            return calls

    def _answer(self, call: _Call) -> None:
        try:
            result = call.function(self._open(call.id))
        except BaseException as error:  # the thread must go on
            result = error
        _notify([(call, result)])

    def _answer_together(self, calls: list[_Call]) -> None:
        requests = [call.request for call in calls if call.request is not None]
        try:
            responses = self.decode(self._open(calls[0].id), requests)
        except Exception:  # one request may be the reason
            for call in calls:
                self._answer(call)
            return
        _notify(list(zip(calls, responses, strict=True)))

    def _prepare_next(self) -> None:
        """Compute a property of an opened run, so that later requests do not wait for it."""
        if self._preparations:
            opened, name = self._preparations.popleft()
            with suppress(Exception):  # a request that needs the property raises the error
                if opened in self._runs.values():
                    opened.prepare(name)

    def _open(self, id: str) -> OpenedRun:
        """Return an opened run, which is opened again when its weights have changed."""
        folder, before = self.find(id), self._runs.pop(id, None)
        opened = before
        if opened is None or opened.run.folder != folder:
            opened = OpenedRun(folder, services=self.services)
        elif not opened.is_current:
            opened = opened.reopen()
        if opened is not before and opened.run.store.is_trained:
            self._preparations.extend((opened, name) for name in OpenedRun.PREPARED)
        self._runs[id] = opened
        while len(self._runs) > _MAX_OPEN:
            self._runs.popitem(last=False)
        return opened


def _notify(results: list[tuple[_Call, Any]]) -> None:
    """Set the results or the errors of calls, and wake each event loop once."""
    waiting: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for call, result in results:
        if call.listener is not None:
            loop, future = call.listener
            waiting.setdefault(loop, []).append((future, result))
        elif isinstance(result, BaseException):
            call.future.set_exception(result)
        else:
            call.future.set_result(result)
    for loop, pairs in waiting.items():
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_set_results, pairs)


def _set_results(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.done():  # the client has gone
            continue
        if isinstance(result, asyncio.CancelledError):
            future.cancel()
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
