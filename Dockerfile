# One image for every process: operator, api, dispatcher, migrate, bootstrap, worker, and the command line.

FROM debian:trixie-slim AS dependencies
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
# pip trusts what the base image trusts, not its own list
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip stays out of the environment, so that it stays out of the image
RUN python3 -m venv --without-pip /opt/maestro
COPY requirements.lock /source/
RUN pip --python /opt/maestro/bin/python install --only-binary :all: --require-hashes --requirement /source/requirements.lock

FROM dependencies AS application
COPY pyproject.toml README.md LICENSE /source/
COPY maestro /source/maestro
COPY operator /source/operator
COPY api /source/api
# under a root of its own: a change of the source changes one small layer
RUN pip --python /opt/maestro/bin/python install --no-deps --root /application /source

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="Maestro" \
      org.opencontainers.image.description="The Kubernetes-native orchestrator for robotic process automation" \
      org.opencontainers.image.licenses="MIT"
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --home-dir /home/maestro --no-create-home --shell /usr/sbin/nologin maestro
COPY --from=dependencies /opt/maestro /opt/maestro
COPY --from=application /application/ /
ENV PATH=/opt/maestro/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["maestro", "--help"]
