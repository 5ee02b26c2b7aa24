"""Failed calls and requests as pages."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from plangate_client import errors
from plangate_inbox.web.rendering import render

_STATUS: tuple[tuple[type[errors.PlangateError], HTTPStatus], ...] = (
    (errors.InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.PreconditionFailed, HTTPStatus.CONFLICT),
    (errors.PermissionDenied, HTTPStatus.FORBIDDEN),
    (errors.Exhausted, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
)


def status_of(error: errors.PlangateError) -> int:
    """The HTTP status of a page that says that a call failed."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.BAD_GATEWAY)


def sentence(error: errors.PlangateError) -> str:
    """What happened, for people. gRPC's own sentences are long and for programmers."""
    if not error.reason:
        server = f"The {error.service}" if error.service else "The server"
        if isinstance(error, errors.Unavailable):
            return f"{server} cannot be reached now. Nothing was changed."
        if isinstance(error, errors.DeadlineExceeded):
            return f"{server} did not answer in time. Load the page again to see whether something was changed."
        if isinstance(error, errors.Unimplemented):
            return f"{server} does not offer this: it is older than this page."
    return error.message


async def failed_call(request: Request, error: Exception) -> Response:
    """For PlangateError."""
    assert isinstance(error, errors.PlangateError)
    return _page(request, status_of(error), sentence(error))


async def failed_request(request: Request, error: Exception) -> Response:
    """For HTTPException."""
    assert isinstance(error, HTTPException)
    detail = "There is no such page." if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    return _page(request, error.status_code, detail)


def _page(request: Request, status: int, message: str) -> Response:
    context = {"status": int(status), "phrase": HTTPStatus(status).phrase, "message": message}
    return render(request, "failure.html", context, status=status)
