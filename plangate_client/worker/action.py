"""`@action`: a function becomes an action, with the JSON Schema of its arguments from its signature."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, SchemaError, core_schema

from plangate_client.executor.outcome import Answer, Outcome
from plangate_core.catalogue.catalogue import ACTION_NAME
from plangate_core.contract.struct_codec import JsonObject

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of one proposal.

    `proposal_id` is the same in every attempt: give it to other systems as the idempotency key.
    """

    proposal_id: str
    plan_id: str
    attempt: int
    requested_by: str


_current: ContextVar[Call] = ContextVar("plangate_call")


def current_call() -> Call:
    """The proposal that is being carried out. Raises LookupError outside of an action."""
    return _current.get()


class ActionFailed(Exception):
    """Raise it to say why an action failed; the reason and the message go to the log of events.

    :param reason: UPPER_SNAKE_CASE kind, for programs.
    :param retryable: another attempt may help; it is made while `max_attempts` lasts.
    :param not_started: nothing had an effect: the attempt does not count.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "ACTION_FAILED",
        retryable: bool = False,
        retry_delay_seconds: float | None = None,
        not_started: bool = False,
    ) -> None:
        super().__init__(message)
        self.outcome = Outcome(
            reason=reason,
            message=message,
            retryable=retryable or not_started,
            not_started=not_started,
            retry_delay_seconds=retry_delay_seconds,
        )


class NotCarriedOut(Exception):
    """Raised by a `reconcile` function: the action had no effect, and may be executed again."""


@dataclass(eq=False)
class WorkerAction(Generic[P, R]):
    """A function as an action; see `action` for its options. Calling it calls the function, so that it is tested like
    any other. Raises TypeError for a name or a signature that cannot be an action's."""

    function: Callable[P, R]
    name: str
    description: str = ""
    risk: Literal["low", "medium", "high"] | None = None
    retry_on: tuple[type[Exception], ...] = ()
    idempotent: bool = False
    effect_key: str = ""
    reconcile: Callable[P, R] | None = None
    read_only: bool = False

    def __post_init__(self) -> None:
        if not ACTION_NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} cannot be the name of an action")
        self.description = self.description or (inspect.getdoc(self.function) or "").partition("\n\n")[0]
        if not self.description:
            raise TypeError(f"the action {self.name} needs a description: a docstring or description=")
        self._arguments = _arguments_model(self.function, self.name)
        hints = get_type_hints(self.function, include_extras=True)
        self._result: TypeAdapter[Any] = TypeAdapter(hints.get("return", Any))
        self.parameters: Mapping[str, Any] = self._arguments.model_json_schema(schema_generator=_Schema)
        if self.reconcile is not None:
            _require_arguments(self.reconcile, self._arguments, self.name)
        update_wrapper(self, self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    async def perform(self, args: JsonObject, call: Call, begin: Callable[[], None]) -> Outcome:
        """Carry the action out.

        :param begin: called when the function is about to be.
        """
        try:
            model = self._arguments.model_validate(args)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            return Outcome(reason="ARGUMENTS_REFUSED", message=f"{place}: {first['msg']}")
        _current.set(call)
        begin()
        try:
            value = await _called(self.function, model)
            return Outcome(result=_as_object(self._result.dump_python(value, mode="json")))
        except ActionFailed as failure:
            return failure.outcome
        except PydanticSerializationError as error:
            _log.error("the result of %s is not what its signature says", self.name, exc_info=error)
            return Outcome(reason="RESULT_INVALID", message="the result is not what the signature says")
        except Exception as error:
            # Its text may hold what must not leave this machine: the log has it, the store gets its kind.
            _log.error("the action %s failed", self.name, exc_info=error)
            return Outcome(
                reason="EXCEPTION",
                message=f"{type(error).__name__} was raised",
                retryable=isinstance(error, self.retry_on),
            )

    async def look_up(self, args: JsonObject, call: Call) -> Answer:
        """Find out by `reconcile` whether the action was carried out."""
        assert self.reconcile is not None
        _current.set(call)
        try:
            value = await _called(self.reconcile, self._arguments.model_validate(args))
            result = _as_object(self._result.dump_python(value, mode="json"))
        except NotCarriedOut as error:
            return Answer(False, str(error) or "the worker found nothing")
        except Exception as error:
            _log.error("the look-up of %s failed", self.name, exc_info=error)
            return Answer(None, f"{type(error).__name__} was raised")
        return Answer(True, "the worker found it done", result)


def action(
    name: str,
    *,
    description: str = "",
    risk: Literal["low", "medium", "high"] | None = None,
    retry_on: tuple[type[Exception], ...] = (),
    idempotent: bool = False,
    effect_key: str = "",
    reconcile: Callable[P, R] | None = None,
    read_only: bool = False,
) -> Callable[[Callable[P, R]], WorkerAction[P, R]]:
    """Make an action of a function.

    :param name: the action's name in the catalogue.
    :param description: what it does, for models and reviewers; by default the docstring's first paragraph.
    :param risk: policy takes none for high.
    :param retry_on: exceptions after which another attempt may help.
    :param idempotent: doing it twice has the same effect as doing it once: an execution of unknown outcome is repeated.
    :param effect_key: names the effect in the world: "refund:{args.order_id}". One is executed at a time.
    :param reconcile: a function with the same arguments that looks up whether an execution of unknown outcome was
        carried out. It returns what the action would have returned, or raises NotCarriedOut; whatever else it raises
        leaves the outcome unknown.
    :param read_only: it changes nothing, and may be looked up for reviewers before they decide.
    """

    def decorate(function: Callable[P, R]) -> WorkerAction[P, R]:
        return WorkerAction(
            function,
            name,
            description=description,
            risk=risk,
            retry_on=retry_on,
            idempotent=idempotent,
            effect_key=effect_key,
            reconcile=reconcile,
            read_only=read_only,
        )

    return decorate


def _arguments_model(function: Callable[..., Any], name: str) -> type[BaseModel]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"the action {name}: {error}") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"the action {name}: arguments are given by name, {parameter} cannot be")
        if parameter.name not in hints:
            raise TypeError(f"the action {name}: the argument {parameter.name} has no type")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
    except (PydanticUserError, SchemaError, NameError) as error:
        raise TypeError(f"the action {name}: {' '.join(str(error).split())}") from error


def _require_arguments(reconcile: Callable[..., Any], arguments: type[BaseModel], name: str) -> None:
    try:
        inspect.signature(reconcile).bind(**dict.fromkeys(arguments.model_fields))
    except TypeError as error:
        raise TypeError(f"the action {name}: reconcile takes other arguments: {error}") from error


async def _called(function: Callable[..., Any], arguments: BaseModel) -> Any:
    given = {name: getattr(arguments, name) for name in type(arguments).model_fields}
    if inspect.iscoroutinefunction(function):
        coroutine: Awaitable[Any] = function(**given)
        return await coroutine
    thread = asyncio.ensure_future(asyncio.to_thread(function, **given))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        # A thread cannot be stopped. What it did is reported as what it is.
        return await thread


def _as_object(value: Any) -> JsonObject:
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


class _Schema(GenerateJsonSchema):
    """As a catalogue likes it: no titles, and a Decimal is a number."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        bounds = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        numbers = {
            written: _number(bound) for given, written in bounds.items() if (bound := schema.get(given)) is not None
        }
        return {"type": "number", **numbers}


def _number(bound: Any) -> int | float:
    return int(bound) if bound == int(bound) else float(bound)
