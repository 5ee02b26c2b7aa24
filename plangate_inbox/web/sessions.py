"""Who is signed in. Credentials stay in this process's memory: a browser holds a random key and nothing else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc
from plangate.store.v1 import identity_service_pb2

from plangate_client.calls import CallPolicy
from plangate_client.client import PlannerClient, StoreClient
from plangate_client.errors import Unauthenticated
from plangate_client.outlook.waiting import Reviewer
from plangate_core.rpc.channel import open_channel
from plangate_inbox.settings import InboxSettings

MAX_SESSIONS = 2_000


@dataclass(slots=True)
class Session:
    """One signed-in browser, and the clients that act with its credentials."""

    reviewer: Reviewer
    authenticated: bool
    store: StoreClient
    planner: PlannerClient
    csrf_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    last_used: float = 0.0

    async def close(self) -> None:
        """Close both clients."""
        await self.store.close()
        await self.planner.close()


class Sessions:
    """The signed-in browsers by the key in their cookie. They end with this process, or when they are idle."""

    def __init__(self, settings: InboxSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._settings = settings
        # A person waits in front of the page.
        self._call_policy = CallPolicy(timeout_seconds=settings.timeout_seconds, attempts=3)
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    async def must_prove(self) -> bool:
        """Whether callers must prove who they are. Raises PlangateError when the store cannot be reached."""
        async with StoreClient(self._channel(self._settings.store_target), call_policy=self._call_policy) as store:
            try:
                return (await store.who_am_i()).authenticated
            except Unauthenticated:
                return True

    async def open(self, *, token: str = "", name: str = "", roles: Iterable[str] = ()) -> str:
        """Sign in with a token, or with a name and roles on servers without authentication; the key for the cookie.

        Raises PlangateError, ChannelRefused.
        """
        planner_channel = self._channel(self._settings.planner_target, token, name, roles)
        store_channel = self._channel(self._settings.store_target, token, name, roles)
        planner = PlannerClient(planner_channel, call_policy=self._call_policy)
        store = StoreClient(store_channel, call_policy=self._call_policy)
        try:
            caller: identity_service_pb2.WhoAmIResponse = await store.who_am_i()
        except BaseException:
            await store.close()
            await planner.close()
            raise
        reviewer = Reviewer(caller.identity, frozenset(caller.roles))
        session = Session(reviewer, caller.authenticated, store, planner, last_used=self._clock())
        await self._forget_idle()
        key = secrets.token_urlsafe(32)
        self._sessions[key] = session
        return key

    def find(self, key: str | None) -> Session | None:
        """The session of a cookie; None when there is none, or none any more."""
        session = self._sessions.get(key) if key else None
        now = self._clock()
        if session is None or now - session.last_used > self._settings.inbox_session_seconds:
            return None
        session.last_used = now
        return session

    async def end(self, key: str | None) -> None:
        """Sign out."""
        session = self._sessions.pop(key, None) if key else None
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """Sign everybody out."""
        for key in [*self._sessions]:
            await self.end(key)

    async def _forget_idle(self) -> None:
        now = self._clock()
        for key, session in [*self._sessions.items()]:
            if now - session.last_used > self._settings.inbox_session_seconds:
                await self.end(key)
        while len(self._sessions) >= MAX_SESSIONS:
            await self.end(min(self._sessions, key=lambda key: self._sessions[key].last_used))

    def _channel(self, target: str, token: str = "", name: str = "", roles: Iterable[str] = ()) -> grpc.aio.Channel:
        # Never with a token or a name that lies in this process's environment.
        return open_channel(target, self._settings.reach, actor=name or None, token=token or None, roles=roles)
