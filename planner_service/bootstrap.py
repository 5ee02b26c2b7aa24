"""The composition root: the one place where the planner's parts are made and joined."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import grpc
import structlog
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.planner.v1.planner_service_pb2_grpc import add_PlannerServiceServicer_to_server

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_core.process.clock import Clock, SystemClock
from plangate_core.process.tasks import cancel_and_wait
from plangate_core.rpc.channel import ChannelRefused, open_channel
from plangate_core.rpc.server import GrpcServer
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.telemetry import RpcMetrics
from plangate_core.rpc.tls_diagnosis import diagnose
from planner_service.api.servicer import PlannerServicer
from planner_service.api.status_mapping import map_error, reason_of
from planner_service.generation.embedded.engine import EmbeddedEngine, EngineFailed
from planner_service.generation.embedded.prompt_cache import weights_identity
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import ModelMissing, find_weights
from planner_service.generation.errors import ProviderNotUsable
from planner_service.generation.instructor_client import InstructorClient
from planner_service.generation.prompt.prompts import build_messages
from planner_service.generation.prompt.selection import catalogue_room, shown_actions
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.providers.recording import RecordingInvalid
from planner_service.governance.files import GovernanceMetrics, GovernanceRefused, read_governance
from planner_service.planning.draft_cache import DraftCache
from planner_service.planning.kernel import Kernel
from planner_service.planning.metrics import PlanningMetrics
from planner_service.planning.plan_generation import GenerationLimits, PlanGeneration
from planner_service.planning.policy_simulation import Simulations
from planner_service.planning.reconsideration import Reconsideration
from planner_service.planning.use_cases import Planning
from planner_service.replay.plan_recording import PlanRecorder
from planner_service.settings import PlannerSettings
from planner_service.store_gateway import StoreGateway

SERVICE_NAME = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name
POLICY_HEALTH = "plangate.policy"
"""Health of catalogue and policy: NOT_SERVING while a bad file is ignored and what was in force before still is."""

_log = structlog.get_logger(__name__)


class PlannerRefused(Exception):
    """The planner cannot be started as the settings ask; the message says why, and what mends it."""


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever keeps a planner from starting as PlannerRefused."""
    try:
        yield
    except (
        ChannelRefused,
        EngineFailed,
        GovernanceRefused,
        ModelMissing,
        ProviderNotUsable,
        RecordingInvalid,
    ) as error:
        raise PlannerRefused(str(error)) from error


class PlannerServer:
    """A planner in one process. start() once, stop() once; `grpc` is the server within."""

    def __init__(
        self,
        settings: PlannerSettings,
        *,
        channel_settings: ChannelSettings | None = None,
        embedded_settings: EmbeddedSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Needs a running event loop. `channel_settings` say how the store is reached.

        Raises PlannerRefused, ServerRefused, TokensFileInvalid.
        """
        self._settings = settings
        self._channel_settings = channel_settings or ChannelSettings()
        self._embedded_settings = embedded_settings or EmbeddedSettings()
        self._clock = clock or SystemClock()
        metrics = RpcMetrics()
        self._metrics = PlanningMetrics(metrics.registry, reason_of)
        with _refusing():
            self.governance = read_governance(
                settings.catalogue_file,
                settings.policy_file,
                GovernanceMetrics(metrics.registry),
                settings.known_roles,
            )
            self._weights = find_weights(self._embedded_settings) if self._is_embedded else None
        # Servicers are added when the model runs; what settings forbid shows before it is loaded.
        servers: list[grpc.aio.Server] = []
        self.grpc = GrpcServer(
            settings,
            register=servers.append,
            service_names=[SERVICE_NAME],
            map_error=map_error,
            listen=settings.planner_listen,
            metrics=metrics if settings.has_metrics else None,
        )
        [self._server] = servers
        self.grpc.on_drain(self._begin_draining)
        with _refusing():
            channel = open_channel(settings.store_target, self._channel_settings, actor=settings.planner_identity)
        # Two to three seconds, which a store's restart takes: callers wait meanwhile.
        self._store_client = StoreClient(channel, call_policy=CallPolicy(attempts=8))
        # Closed in the opposite order, and each one whatever becomes of the others.
        self._closing = AsyncExitStack()
        self._closing.push_async_callback(self._store_client.close)
        self._engine: EmbeddedEngine | None = None
        self._kernel: Kernel | None = None
        self._kernel_run: asyncio.Task[None] | None = None
        self._reconsideration: Reconsideration | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._grace_seconds = settings.drain_seconds
        self._drain_ends: float | None = None

    @property
    def _is_embedded(self) -> bool:
        return EMBEDDED in self._settings.usable_models and self._settings.model_replay_file is None

    async def start(self) -> int:
        """Load and warm the model, bind, take calls, work on the queue; then health says SERVING. Returns the port.

        Raises PlannerRefused, ServerRefused.
        """
        try:
            with _refusing():
                return await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> int:
        settings = self._settings
        if self._weights is not None:
            self._engine = await EmbeddedEngine.start(self._weights, self._embedded_settings)
            self._closing.push_async_callback(self._engine.close)
            await self._warm_up(self._engine)
        instructor_client = self._make_instructor_client()
        self._closing.push_async_callback(instructor_client.aclose)
        store = StoreGateway(
            self._store_client,
            planner_identity=settings.planner_identity,
            diagnose=partial(asyncio.to_thread, diagnose, settings.store_target, self._channel_settings),
        )
        generation = self._make_generation(instructor_client)
        planning = Planning(
            governance=self.governance,
            generation=generation,
            store=store,
            clock=self._clock,
            metrics=self._metrics,
            max_plans_in_flight=settings.max_plans_in_flight,
        )
        add_PlannerServiceServicer_to_server(
            PlannerServicer(
                planning,
                store,
                Simulations(settings.max_simulations, settings.known_roles),
                max_prompt_characters=settings.max_prompt_characters,
                plan_timeout_seconds=settings.plan_timeout_seconds,
                stream_stall_seconds=settings.stream_stall_seconds,
            ),
            self._server,
        )
        port = await self.grpc.start()
        if settings.kernel_concurrency:
            self._kernel = Kernel(
                generation,
                store,
                self._metrics,
                reason_of,
                lambda: instructor_client.seconds_until_usable(settings.models),
                concurrency=settings.kernel_concurrency,
                lease_seconds=settings.kernel_lease_seconds,
                wait_seconds=settings.kernel_wait_seconds,
                plan_seconds=settings.plan_timeout_seconds,
            )
            self._kernel_run = self._in_background(self._kernel.run(), "the kernel loop")
        self._reconsideration = Reconsideration(self.governance, store, self._clock, settings.planner_identity)
        self._in_background(self._reconsideration.run(), "making decisions again")
        self._in_background(self.governance.watch(settings.reload_poll_seconds, self._reloaded), "watching the files")
        await self.grpc.set_serving(True)
        await self.grpc.health.set_serving(POLICY_HEALTH, True)
        self._log_start()
        return port

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Drain: calls and claimed plans finish within the grace, then everything is closed."""
        if grace_seconds is not None:
            self._grace_seconds = grace_seconds
        await self.grpc.stop(grace_seconds)
        await self.close()

    async def close(self) -> None:
        """What remains after the gRPC server drained (run_until_signal does that): the kernel, the model, the store."""
        if self._kernel_run is not None:
            remaining = 0.0
            if self._drain_ends is not None:
                remaining = max(0.0, self._drain_ends - asyncio.get_running_loop().time())
            await asyncio.wait((self._kernel_run,), timeout=remaining)
        async with self._closing:
            await cancel_and_wait(*self._tasks)

    def reload(self) -> None:
        """Read catalogue and policy again, beginning now; a bad file keeps what is in force."""
        self._in_background(self._reload(), "reading the files")

    def _make_instructor_client(self) -> InstructorClient:
        """Raises ProviderNotUsable for any of the models that requests may name."""
        settings = self._settings.generation_settings()
        clients = ModelClients(settings, self._engine.endpoint if self._engine else None)
        for model in sorted(self._settings.usable_models):
            clients.client(model)
        profile = self._engine.review_profile if self._engine else None
        return InstructorClient(clients, settings, now=self._clock.now, review_profile=profile)

    def _make_generation(self, instructor_client: InstructorClient) -> PlanGeneration:
        settings = self._settings
        try:
            cache = DraftCache(
                max_bytes=settings.draft_cache_bytes,
                directory=settings.draft_cache_dir,
                max_files=settings.draft_cache_max_files,
            )
        except OSError as error:
            raise PlannerRefused(f"PLANGATE_DRAFT_CACHE_DIR: {error.strerror}: {error.filename}") from error
        limits = GenerationLimits(
            models=settings.models,
            allowed_models=settings.usable_models,
            max_attempts=settings.model_attempts,
            token_budget=settings.model_token_budget,
            asked_how=(
                settings.model_base_url,
                settings.model_mode,
                str(settings.model_temperature),
                str(settings.model_seed),
                str(settings.model_max_output_tokens),
                str(settings.model_catalogue_characters),
                *(map(str, weights_identity(self._weights)) if self._weights else ()),
            ),
        )
        recording = settings.model_record_file
        return PlanGeneration(
            governance=self.governance,
            instructor_client=instructor_client,
            cache=cache,
            clock=self._clock,
            limits=limits,
            metrics=self._metrics,
            record=PlanRecorder(recording, settings.generation_settings(), reason_of).write if recording else None,
        )

    def _log_start(self) -> None:
        catalogue, policy = self.governance.current.catalogue, self.governance.current.policy
        _log.info(
            "serving",
            address=self.grpc.address,
            models=self._settings.models,
            actions=len(catalogue.actions),
            rules=len(policy.rules),
            catalogue_digest=catalogue.digest,
            policy_digest=policy.digest,
        )
        self.governance.log_warnings()
        if not policy.rules and not any(action.policy for action in catalogue.actions):
            _log.warning("every job will be denied: neither PLANGATE_POLICY_FILE nor the catalogue has a policy")

    async def _warm_up(self, engine: EmbeddedEngine) -> None:
        room = catalogue_room(EMBEDDED, self._settings.generation_settings())
        shown = shown_actions(self.governance.current.catalogue, "", {}, room)
        await engine.warm_up(build_messages("Say hello.", {}, shown))

    async def _reload(self) -> None:
        # A large policy takes seconds.
        self._reloaded(await asyncio.to_thread(self.governance.reload))

    def _reloaded(self, usable: bool) -> None:
        shown = self.grpc.health.set_serving(POLICY_HEALTH, usable)
        self._in_background(shown, "saying whether the files are in force")
        if self._reconsideration is not None:
            self._reconsideration.wake()
        if usable and self._engine is not None:
            # The catalogue is the beginning of every prompt: a local model reads it once, before it is needed.
            self._in_background(self._warm_up(self._engine), "warming the model up")

    def _begin_draining(self) -> None:
        self._drain_ends = asyncio.get_running_loop().time() + self._grace_seconds
        if self._kernel is not None:
            self._kernel.stop_claiming()

    def _in_background(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                _log.critical(f"{what} ended", exc_info=error)

        task = asyncio.create_task(work, name=what)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task
