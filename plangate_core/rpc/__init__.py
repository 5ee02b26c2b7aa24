"""gRPC servers and channels: life cycle, interceptors, authentication, statuses, telemetry."""
