# One image for the servers, the review page, the executor and the command. Build tools stay in the first stage.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY protos protos
COPY plangate_core plangate_core
COPY store_service store_service
COPY planner_service planner_service
COPY plangate_client plangate_client
COPY plangate_inbox plangate_inbox
COPY docs/verify_log.py docs/
COPY examples/ops examples/ops
RUN python3 -m venv /opt/plangate \
 && /opt/plangate/bin/python -m pip install --no-cache-dir -q -c constraints.txt '.[embedded,postgres,anthropic,otlp]'

FROM ${PYTHON_IMAGE}
# libgomp1: the embedded model's engine runs its threads through it.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin plangate \
 && install -d -o plangate -g plangate /data /etc/plangate /credentials /servers /planner /executor /work
COPY --from=build /opt/plangate /opt/plangate
COPY examples/ops/catalogue.yaml examples/ops/policy.yaml /etc/plangate/
ENV PATH=/opt/plangate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    XDG_CACHE_HOME=/data/cache \
    PLANGATE_CATALOGUE_FILE=/etc/plangate/catalogue.yaml \
    PLANGATE_POLICY_FILE=/etc/plangate/policy.yaml
USER plangate
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
# PLANGATE_HEALTH_TARGET says which server this container runs; the probe uses the client's TLS settings.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["sh", "-c", "exec python -m plangate_core.rpc.probe \"${PLANGATE_HEALTH_TARGET:-localhost:50051}\""]
CMD ["python", "-m", "store_service"]
