"""OpenAI's chat completions over our transport: what Instructor prepared goes out as it is, what comes back is JSON.

OpenAI's SDK still says where its server is and which headers it wants. Its way there is not taken: it looks at every
message, schema, header and reply several times, which was half of what a plan cost (1.2 of 2.2 ms with two actions).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import openai
from pydantic_core import PydanticSerializationError, from_json, to_json

from planner_service.generation.providers.transport import Body, HttpReply, HttpRequest, Transport

_MOST_ELEMENTS = 1_000
"""Of a list of choices or tool calls. Nobody sends more, and one is all that is asked for."""


class ChatRefused(Exception):
    """The server answered with an error. Its words are kept apart from the exception's own, which may end in a log.

    status_code: HTTP's, None when the error was told inside a stream. body: what the server said of it, if anything.
    """

    def __init__(self, status_code: int | None, response: HttpReply | None, said: Any) -> None:
        super().__init__("the server answered with an error")
        self.status_code = status_code
        self.response = response
        error = said.get("error") or said if isinstance(said, dict) else said
        self.body: dict[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
        self.message = str(self.body.get("message") or "")
        self.param = str(self.body.get("param") or "")


class Said(dict[str, Any]):
    """A JSON object with its members as attributes, as Instructor wants replies. What is not there is None.

    Members that are objects become such as these when they are asked for: all of a large reply, that took seconds.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.get(name)
        if type(value) is dict:
            value = self[name] = Said(value)
        elif type(value) is list and value and type(value[0]) is dict:
            value[:_MOST_ELEMENTS] = [Said(item) if type(item) is dict else item for item in value[:_MOST_ELEMENTS]]
            del value[_MOST_ELEMENTS:]
        return value


class ChatCompletions:
    """One server's endpoint.

    :param sdk: names the address, the headers and the credentials
    """

    def __init__(self, sdk: openai.AsyncOpenAI, transport: Transport) -> None:
        self._transport = transport
        self._url = f"{str(sdk.base_url).rstrip('/')}/chat/completions"
        named = {**sdk.default_headers, **sdk.auth_headers, "Accept-Encoding": "identity"}
        self._headers = {name: value for name, value in named.items() if isinstance(value, str)}

    async def create(self, *, extra_body: dict[str, Any] | None = None, **body: Any) -> Any:
        """The completion as `Said`, or with `stream` a `ChatEvents`. A reply that is not JSON comes back as text.

        :raises ChatRefused: any status but 2xx
        :raises httpx2.TransportError: nothing came, or not all
        """
        if extra_body:
            body.update(extra_body)
        reply = await self._transport.send(HttpRequest("POST", self._url, self._headers, _encoded(body)))
        if not 200 <= reply.status < 300:
            raise ChatRefused(reply.status, reply, _json_or_text(await reply.read()))
        if body.get("stream"):
            return ChatEvents(reply.body)
        return _json_or_text(await reply.read())


class ChatEvents:
    """The events of a streamed completion as plain JSON, each when it is there. Ends with the server's last word.

    From a server that does not stream although it was asked to, the completion as `Said` is the only event.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._parts = aiter(body)
        self._events = _events(self._parts)

    def __aiter__(self) -> ChatEvents:
        return self

    async def __anext__(self) -> Any:
        """The next event.

        :raises ChatRefused: the event is an error
        :raises ValueError: the event is not JSON
        """
        event = await anext(self._events)
        if isinstance(event, bytes):
            if event.startswith(b"[DONE]"):
                raise StopAsyncIteration
            event = from_json(event)
        if isinstance(event, dict) and event.get("error"):
            raise ChatRefused(None, None, event)
        return event

    async def close(self) -> None:
        """Let the connection go: back to be used again when all was read, else closed."""
        await self._events.aclose()
        if isinstance(self._parts, AsyncGenerator):
            await self._parts.aclose()
        await self._body.aclose()


async def _events(parts: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    """The data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as bytes.

    A JSON object instead of events is read to its end, and is what `create` makes of one.
    """
    # A line that has not ended, in pieces: joined anew with each, megabytes of one line take minutes.
    begun: list[bytes] = []
    data: list[bytes] = []
    # Not by the content type, in which servers err; no line of an event begins with a brace.
    is_object: bool | None = None
    async for part in parts:
        if is_object is None and (beginning := part.lstrip()):
            is_object = beginning.startswith(b"{")
        if is_object:
            begun.append(part)
            continue
        end, *lines = part.split(b"\n")
        begun.append(end)
        if not lines:
            continue
        lines.insert(0, b"".join(begun))
        begun = [lines.pop()]
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif data and not line.rstrip(b"\r"):
                yield b"\n".join(data)
                data.clear()
    if is_object:
        yield _json_or_text(b"".join(begun))


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return to_json(body)
    except PydanticSerializationError:
        # Half a surrogate pair, of a reply that is told again: escaped it is valid JSON.
        return json.dumps(body).encode()


def _json_or_text(data: bytes) -> Any:
    try:
        value = from_json(data)
    except ValueError:
        try:
            # Half a surrogate pair, which Python's own reader takes.
            value = json.loads(data)
        except (ValueError, RecursionError):
            return data.decode("utf-8", "replace")
    return Said(value) if type(value) is dict else value
