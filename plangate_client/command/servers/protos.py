"""`plangate protos`: the contract's .proto files and gRPC service config, for clients in any language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plangate_client.command.exit_status import CommandFailed
from plangate_client.command.output.console import stdout


def protos(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to write them; made when missing.")],
) -> None:
    """Write the .proto files and the gRPC service config, for clients in any language."""
    from google.rpc import status_pb2
    from plangate.plan.v1 import plan_pb2

    contract, google = Path(plan_pb2.__file__).parents[2], Path(status_pb2.__file__).parents[1]
    # What failures are made of: google.rpc.Status and its details. Everything else of Google's comes with protoc.
    errors = [google / "rpc" / name for name in ("status.proto", "error_details.proto")]
    for source in sorted([*contract.rglob("*.proto"), contract / "service_config.json", *errors]):
        target = directory / source.relative_to(google.parent if source in errors else contract.parent)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        except OSError as error:
            raise CommandFailed(f"{error.strerror}: {error.filename}") from error
        stdout().print(str(target), soft_wrap=True)
