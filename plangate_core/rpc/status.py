"""Failures as they cross the wire: a typed failure here becomes google.rpc.Status, and the same failure again there.

Every failure carries google.rpc.ErrorInfo with the domain "plangate"; its reasons are those of
plangate/errors/v1/error_reason.proto without their prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import grpc
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from plangate_core.text.truncation import truncate

DOMAIN = "plangate"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

# Peers refuse metadata beyond 8 KiB (soft limit). Binary metadata may travel as base64, which makes it a third longer,
# and grpc-message carries the text a second time, percent-encoded: these two limits keep the sum below 8 KiB.
STATUS_BYTES_LIMIT = 4096
MESSAGE_BYTES_LIMIT = 400

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_AnyMessage = TypeVar("_AnyMessage", bound=Message)


class RpcFailure(Exception):
    """A call that failed, as the caller may see it. Never holds causes, SQL, paths, prompts or tokens."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        details: Iterable[Message] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{code.name} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.details: tuple[Message, ...] = tuple(details)
        self.retry_after_seconds = retry_after_seconds

    def detail(self, kind: type[_AnyMessage]) -> _AnyMessage | None:
        """Return the first detail of this message type, or None."""
        return next((detail for detail in self.details if isinstance(detail, kind)), None)


def invalid_fields(violations: Mapping[str, str], *, reason: str = "INVALID_FIELD") -> RpcFailure:
    """INVALID_ARGUMENT that names every wrong field: path -> what is wrong with it, as a clause ("is required")."""
    path, description = next(iter(violations.items()))
    text = f"{path} {description}" if len(violations) == 1 else f"{len(violations)} fields are wrong, first {path}"
    request = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=clause, reason=reason)
            for field, clause in violations.items()
        ]
    )
    return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, reason, text, metadata={"field": path}, details=(request,))


def invalid_field(path: str, description: str, *, reason: str = "INVALID_FIELD") -> RpcFailure:
    """INVALID_ARGUMENT with BadRequest for one field; `description` is a clause such as "is required"."""
    return invalid_fields({path: description}, reason=reason)


def not_found(reason: str, resource_type: str, resource_name: str) -> RpcFailure:
    """NOT_FOUND with ResourceInfo, for example ("PLAN_NOT_FOUND", "plan", "0197...")."""
    return RpcFailure(
        grpc.StatusCode.NOT_FOUND,
        reason,
        f"{resource_type} {truncate(resource_name, 100)} does not exist",
        metadata={"id": truncate(resource_name, 100)},
        details=(
            error_details_pb2.ResourceInfo(resource_type=resource_type, resource_name=truncate(resource_name, 100)),
        ),
    )


def permission_denied(reason: str, message: str, *, metadata: Mapping[str, str] | None = None) -> RpcFailure:
    """PERMISSION_DENIED; name in `message` what the caller lacks."""
    return RpcFailure(grpc.StatusCode.PERMISSION_DENIED, reason, message, metadata=metadata)


def internal(request_id: str) -> RpcFailure:
    """INTERNAL for faults of ours: says nothing of the cause, names the request id under which the log has it."""
    return RpcFailure(
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        f"the server failed; its log says why under request id {request_id}",
        metadata={"request_id": request_id},
    )


def to_rpc_status(failure: RpcFailure) -> status_pb2.Status:
    """Encode a failure, ErrorInfo first. Details too large for gRPC metadata are cut, or left out and counted in
    ErrorInfo's metadata under "details_left_out"."""
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN)
    for key, value in failure.metadata.items():
        info.metadata[key] = truncate(value, 256)
    status = status_pb2.Status(code=failure.code.value[0], message=_status_text(failure.message))
    details = list(failure.details)
    if failure.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(failure.retry_after_seconds * 1e9))
        details.insert(0, retry)
    room = STATUS_BYTES_LIMIT - len(status.message) - info.ByteSize() - 128
    left_out = 0
    packed: list[any_pb2.Any] = []
    for detail in details:
        fitting = _fitted(detail, room - 80)
        if fitting is None:
            left_out += 1
            continue
        packed.append(_pack(fitting))
        room -= packed[-1].ByteSize() + 4
    if left_out:
        info.metadata["details_left_out"] = str(left_out)
    status.details.append(_pack(info))
    status.details.extend(packed)
    return status


def from_rpc_status(status: status_pb2.Status) -> RpcFailure:
    """Decode what to_rpc_status made. Details of unknown types are left out; reason is empty without ErrorInfo."""
    reason, metadata, retry_after_seconds = "", {}, None
    details: list[Message] = []
    for packed in status.details:
        detail = _unpack(packed)
        if isinstance(detail, error_details_pb2.ErrorInfo) and not reason:
            reason, metadata = detail.reason, dict(detail.metadata)
        elif isinstance(detail, error_details_pb2.RetryInfo):
            retry_after_seconds = detail.retry_delay.ToNanoseconds() / 1e9
        elif detail is not None:
            details.append(detail)
    return RpcFailure(
        _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        reason,
        status.message,
        metadata=metadata,
        details=details,
        retry_after_seconds=retry_after_seconds,
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> RpcFailure:
    """Decode a failed call. Failures that no server of ours made (connection refused, deadline) have reason ""."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_rpc_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    return RpcFailure(error.code(), "", error.details() or error.code().name)


def _status_text(text: str) -> str:
    data = text.encode()
    return text if len(data) <= MESSAGE_BYTES_LIMIT else data[:MESSAGE_BYTES_LIMIT].decode(errors="ignore") + "\u2026"


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _unpack(packed: any_pb2.Any) -> Message | None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.TypeName())
        detail = message_factory.GetMessageClass(descriptor)()
        packed.Unpack(detail)
    except (KeyError, DecodeError):
        return None
    return detail


def _fitted(detail: Message, byte_limit: int) -> Message | None:
    """Return the detail, or a copy cut down step by step until it fits, or None when even that is too large."""
    if detail.ByteSize() <= byte_limit:
        return detail
    for characters, elements in ((1024, 20), (256, 20), (256, 5), (64, 5), (64, 1)):
        smaller = type(detail)()
        smaller.CopyFrom(detail)
        _cut(smaller, characters, elements)
        if smaller.ByteSize() <= byte_limit:
            return smaller
    return None


def _cut(message: Message, characters: int, elements: int) -> None:
    for field, value in message.ListFields():
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            # The last elements of a history (attempts) say most, the first ones of a list of errors do: keep ends.
            if len(value) > elements:
                del value[(elements + 1) // 2 : len(value) - elements // 2]
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                for element in value:
                    _cut(element, characters, elements)
            elif field.type == FieldDescriptor.TYPE_STRING:
                value[:] = [truncate(element, characters) for element in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            _cut(value, characters, elements)
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, truncate(value, characters))
