"""What a collector of OpenTelemetry is sent by a store: traces and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.polling import until
from tests.support.processes import store_process

CREATE = "/plangate.store.v1.ProposalService/CreateProposal"


def labels(attributes: Any) -> dict[str, str]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: pair.value.string_value for pair in pairs}


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self) -> None:
        self.spans: list[str] = []
        self.resources: list[Resource] = []
        self.metrics: dict[str, Metric] = {}

    async def Export(self, request: Any, context: Any) -> Any:
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            for resource in request.resource_spans:
                self.resources.append(resource.resource)
                self.spans += [span.name for scope in resource.scope_spans for span in scope.spans]
            return trace_service_pb2.ExportTraceServiceResponse()
        for resource in request.resource_metrics:
            self.resources.append(resource.resource)
            self.metrics = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def created(self) -> Any:
        """The data point of the calls that created a proposal, or None."""
        points = self.metrics["plangate_rpc_handled"].sum.data_points if self.metrics else []
        return next((point for point in points if labels(point.attributes) == {"method": CREATE, "code": "OK"}), None)


@pytest.mark.asyncio
async def test_traces_and_metrics_reach_a_collector(tmp_path: Path) -> None:
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    environment = {"PLANGATE_OTLP_ENDPOINT": endpoint, "PLANGATE_OTLP_METRICS_SECONDS": "0.1"}
    async with store_process(tmp_path, environment) as process:
        async with StoreClient(open_channel(process.address, ChannelSettings(), actor="admin")) as store:
            for _ in range(2):
                await store.proposals.create(proposal_pb2.Proposal(action_name="look"))
            await until(lambda: (point := collector.created()) is not None and point.as_double == 2)
        calls = collector.metrics["plangate_rpc_handled"].sum
        assert calls.is_monotonic
        assert calls.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        seconds = collector.metrics["plangate_rpc_seconds"].histogram
        [taken] = [point for point in seconds.data_points if labels(point.attributes) == {"method": CREATE}]
        assert (taken.count, sum(taken.bucket_counts)) == (2, 2)
        assert len(taken.bucket_counts) == len(taken.explicit_bounds) + 1
        assert 0 < taken.sum < 60
        [writable] = collector.metrics["plangate_store_database_writable"].gauge.data_points
        assert writable.as_double == 1
        # What was counted last is sent before the end.
        await process.stop()
    await server.stop(0)
    assert {"plangate.store.v1.ProposalService/CreateProposal", "write"} <= set(collector.spans)
    assert {labels(resource.attributes)["service.name"] for resource in collector.resources} == {"plangate-store"}
