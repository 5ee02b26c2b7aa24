"""Sends one HTTP request and reads the answer, up to a limit. Redirects are not followed: they would lead elsewhere."""

from __future__ import annotations

import asyncio
import json
import time

import httpx2

from plangate_client.executor.http_binding import HttpRequest
from plangate_client.executor.outcome import Outcome
from plangate_core.catalogue.binding_forms import HttpForm
from plangate_core.contract.struct_codec import JsonObject, StructRefused, json_to_struct, struct_to_json

_RETRY_AFTER_DIGITS = 20


async def run_http(request: HttpRequest, form: HttpForm) -> Outcome:
    """Send it and wait for the answer. A cancelled call closes the connection.

    The result holds status, content_type, body (JSON where the answer is a complete object or list, else text),
    output_cut, and duration_seconds. Success is a status of 200 to 299.
    """
    started = time.monotonic()
    # A read or a connect may take the whole time; together they must not take more.
    client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=httpx2.Timeout(form.timeout_seconds))
    try:
        async with (
            client,
            asyncio.timeout(form.timeout_seconds),
            client.stream(
                request.method, request.url, headers=dict(request.headers), content=request.content
            ) as answer,
        ):
            body = bytearray()
            is_cut = False
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > form.output_limit_bytes:
                    del body[form.output_limit_bytes :]
                    is_cut = True
                    break
    except (TimeoutError, httpx2.TimeoutException):
        return Outcome(
            reason="TIMED_OUT",
            message=f"no complete answer from {_host(request)} within {form.timeout_seconds:g} s",
        )
    except httpx2.ConnectError as error:
        # Nothing was sent: repeating it cannot do anything twice.
        return Outcome(reason="HTTP_FAILED", message=f"cannot connect to {_host(request)}: {error}", retryable=True)
    except httpx2.HTTPError as error:
        message = f"the exchange with {_host(request)} failed: {type(error).__name__}"
        return Outcome(reason="HTTP_FAILED", message=message)
    result: JsonObject = {
        "status": answer.status_code,
        "content_type": answer.headers.get("content-type", ""),
        "output_cut": is_cut,
        "duration_seconds": round(time.monotonic() - started, 3),
    }
    _put_body(result, bytes(body), is_cut)
    if 200 <= answer.status_code < 300:
        return Outcome(result)
    return Outcome(
        result,
        reason="HTTP_STATUS",
        message=f"{request.method} {_host(request)} answered {answer.status_code} {answer.reason_phrase}".strip(),
        retryable=answer.status_code in form.retry_on_status,
        retry_delay_seconds=_retry_after(answer.headers.get("retry-after")),
    )


def _put_body(result: JsonObject, body: bytes, is_cut: bool) -> None:
    text = body.decode("utf-8", "replace").replace("\0", "\ufffd")
    result["body"] = text
    if is_cut or not str(result["content_type"]).partition(";")[0].strip().endswith("json"):
        return
    try:
        value = json.loads(text)
        # What a Struct cannot hold stays text.
        struct_to_json(json_to_struct({"body": value}), "result")
    except (ValueError, RecursionError, StructRefused):
        return
    if isinstance(value, dict | list):
        result["body"] = value


def _retry_after(value: str | None) -> float | None:
    """Whole seconds, at most a day; of thousands of digits no number can be made."""
    if value is None or not value.isdecimal() or len(value) > _RETRY_AFTER_DIGITS or int(value) > 86_400:
        return None
    return float(value)


def _host(request: HttpRequest) -> str:
    return httpx2.URL(request.url).netloc.decode("ascii", "replace")
