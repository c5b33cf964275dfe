"""The errors of the API: each response with an error status has a `Failure` as its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from varied.errors import VariedError, printable
from varied.studio.schemas import Failure, Problem

Kind = Literal[
    "invalid", "not-found", "unsupported", "conflict", "too-large", "forbidden", "failed"
]

#: The kind of failure for each status.
KINDS: dict[int, Kind] = {
    400: "invalid",
    401: "forbidden",
    403: "forbidden",
    404: "not-found",
    405: "unsupported",
    409: "conflict",
    413: "too-large",
    422: "invalid",
    500: "failed",
}
_SENTENCES = {
    400: "The body of the request cannot be parsed; see /api/openapi.json for its format.",
    404: "There is nothing at this address; see /api/openapi.json for the addresses.",
    405: "This address does not support this method; see /api/openapi.json for the methods.",
    500: "The server failed to answer; its terminal shows where the error occurred.",
}
#: The maximum number of invalid fields that a message names.
_MAX_FIELDS = 5


class RequestError(VariedError):
    """An error with an HTTP status.

    Arguments:
        status: The status, which is one of the keys of `KINDS`.
        message: A sentence with the remedy.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def not_found(what: str, where: str) -> RequestError:
    """Return the error for an id or a name that does not exist."""
    return RequestError(404, f"There is no such {what}; see {where}.")


def failure_body(status: int, message: str, fields: Sequence[str] = ()) -> bytes:
    """Return the body of a response with an error status."""
    problem = Problem(message=printable(message), kind=KINDS[status], fields=list(fields))
    return Failure(error=problem).model_dump_json().encode()


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the declaration of responses with an error status, for the OpenAPI document."""
    texts = {status: KINDS[status].replace("-", " ") for status in statuses}
    return {
        status: {"model": Failure, "description": f"An error: {text}."}
        for status, text in texts.items()
    }


def add_handlers(app: FastAPI, clean: Callable[[str], str]) -> None:
    """Let an application answer each error with a `Failure`.

    Arguments:
        app: The application.
        clean: A function that removes from a message what clients need not know, such as paths.
    """

    def answer(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RequestError) else 422
        return _respond(status, clean(str(error)))

    app.add_exception_handler(VariedError, answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_error)


def _respond(status: int, message: str, fields: Sequence[str] = (), **headers: str) -> Response:
    body = failure_body(status, message, fields)
    return Response(body, status, headers, media_type="application/json")


def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code if error.status_code in KINDS else 500
    allow = {"Allow": _permitted_methods(request)} if status == 405 else {}
    return _respond(status, _SENTENCES.get(status, str(error.detail)), **allow)


def _permitted_methods(request: Request) -> str:
    """Return the methods of all routes with the path of a request."""
    path = request.scope["path"]
    routes = [r for r in request.app.routes if isinstance(r, Route) and r.path_regex.match(path)]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _answer_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields: dict[str, str] = {}
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"][1:]) or str(problem["loc"][0])
        fields.setdefault(name, str(problem["msg"]).removeprefix("Value error, "))
    shown = [f"{name}: {text}" for name, text in list(fields.items())[:_MAX_FIELDS]]
    more = len(fields) - len(shown)
    rest = f" and {more} more" if more > 0 else ""
    message = f"The request is invalid ({'; '.join(shown)}{rest}); see /api/openapi.json."
    return _respond(422, message, list(fields)[: 10 * _MAX_FIELDS])
