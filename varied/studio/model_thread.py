"""One thread that owns the models: requests wait in a queue, and decode requests are batched."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from varied.studio.opened_run import OpenedRun, Services
from varied.studio.schemas import DecodeRequest, DecodeResponse

T = TypeVar("T")

#: The number of runs that are kept open, and the maximum number of codes in a batch.
_MAX_OPEN, _MAX_CODES = 3, 512

Decode = Callable[[OpenedRun, DecodeRequest], DecodeResponse]


@dataclass
class _Call:
    """A function of an opened run that waits to be called.

    Arguments:
        id: The id of the run.
        function: The function.
        request: The decode request, if the call can be batched with others.
        future: The result.
    """

    id: str
    function: Callable[[OpenedRun], Any]
    request: DecodeRequest | None = None
    future: Future[Any] = field(default_factory=Future)

    def can_join(self, other: _Call) -> bool:
        """Return whether two decode requests can be answered together."""
        if self.request is None or other.request is None or self.id != other.id:
            return False
        lengths = {len(z) for call in (self, other) for z in call.request.z}  # type: ignore[union-attr]
        return self.request.label == other.request.label and len(lengths) == 1


class ModelThread:
    """The thread that opens runs and calls functions of them, one at a time.

    torch's random state is global, so that two threads must not use models at the same time.

    Arguments:
        find: Returns the folder of a run by its id.
        services: Uploads and downloads; other runs are opened by this thread.
        decode: The function that decodes the codes of several requests together.
        complete: Adds to the response what depends on a single request.
    """

    def __init__(
        self,
        find: Callable[[str], Path],
        services: Services,
        decode: Decode,
        complete: Callable[[OpenedRun, DecodeRequest, DecodeResponse], DecodeResponse],
    ) -> None:
        self.find, self.decode, self.complete = find, decode, complete
        self.services = Services(services.read_upload, self._open, services.add_download)
        self._runs: OrderedDict[str, OpenedRun] = OrderedDict()
        self._calls: deque[_Call] = deque()
        self._condition = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def call(self, id: str, function: Callable[[OpenedRun], T]) -> Future[T]:
        """Call a function of a run, after all earlier calls."""
        return cast("Future[T]", self._add(_Call(id, function)))

    def call_decode(self, id: str, request: DecodeRequest) -> Future[DecodeResponse]:
        """Decode codes, together with those of other requests that wait for the same run."""

        def decode(opened: OpenedRun) -> DecodeResponse:
            return self.complete(opened, request, self.decode(opened, request))

        return self._add(_Call(id, decode, request))

    def close(self) -> None:
        """End the thread after the current call; the others are canceled."""
        with self._condition:
            self._is_closing = True
            for call in self._calls:
                call.future.cancel()
            self._calls.clear()
            self._condition.notify()

    def _add(self, call: _Call) -> Future[Any]:
        with self._condition:
            if self._is_closing:
                call.future.cancel()
            else:
                self._calls.append(call)
                self._condition.notify()
        return call.future

    def _work(self) -> None:
        while calls := self._next():
            running = [call for call in calls if call.future.set_running_or_notify_cancel()]
            if len(running) > 1:
                self._answer_together(running)
            elif running:
                self._answer(running[0])

    def _next(self) -> list[_Call]:
        """Return the next call, with the other calls that can be answered together with it."""
        with self._condition:
            while not self._calls and not self._is_closing:
                self._condition.wait()
            if self._is_closing:
                return []
            first = self._calls.popleft()
            calls = [first]
            if first.request is None:
                return calls
            n_codes = len(first.request.z)
            others: deque[_Call] = deque()
            for call in self._calls:
                n = len(call.request.z) if call.request is not None else 0
                if call.can_join(first) and n_codes + n <= _MAX_CODES:
                    calls.append(call)
                    n_codes += n
                else:
                    others.append(call)
            self._calls = others
            return calls

    def _answer(self, call: _Call) -> None:
        try:
            call.future.set_result(call.function(self._open(call.id)))
        except BaseException as error:  # the thread must go on
            call.future.set_exception(error)

    def _answer_together(self, calls: list[_Call]) -> None:
        try:
            opened = self._open(calls[0].id)
            requests = [call.request for call in calls if call.request is not None]
            z = [code for request in requests for code in request.z]
            joined = DecodeRequest.model_construct(z=z, label=requests[0].label)
            response, start = self.decode(opened, joined), 0
            parts = []
            for request in requests:
                rows = slice(start, start + len(request.z))
                outside = response.is_outside
                part = DecodeResponse.model_construct(
                    snippets=None,
                    results=response.results[rows],
                    is_outside=None if outside is None else outside[rows],
                )
                parts.append(self.complete(opened, request, part))
                start = rows.stop
        except Exception:  # one request may be invalid
            for call in calls:
                self._answer(call)
            return
        for call, part in zip(calls, parts, strict=True):
            call.future.set_result(part)

    def _open(self, id: str) -> OpenedRun:
        """Return an opened run, which is opened again when its weights have changed."""
        folder, opened = self.find(id), self._runs.pop(id, None)
        if opened is None or opened.run.folder != folder:
            opened = OpenedRun(folder, services=self.services)
        elif not opened.is_current:
            opened = opened.reopen()
        self._runs[id] = opened
        while len(self._runs) > _MAX_OPEN:
            self._runs.popitem(last=False)
        return opened
