# cachefleet with its engines, as a user without rights. Endpoints are ports of the container's own
# address: other containers of its network reach them, and on Linux the host does.

# The web console.
FROM node:22-bookworm-slim AS console
WORKDIR /src/dashboard
COPY dashboard/package.json dashboard/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY dashboard/ ./
COPY engine/catalog/data/node_types.json /src/engine/catalog/data/
RUN npm run build

# The wheel, from the source distribution as it is handed out, in an environment with nothing else.
FROM python:3.12-slim-bookworm AS build
# The engines' distribution keeps no older versions of a package to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=console /src/src/cachefleet/_console src/cachefleet/_console
# What is built is there already, and Node.js is not.
ENV CACHEFLEET_CONSOLE=skip
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir "build>=1.2,<2" \
    && /opt/build/bin/python -m build --outdir /dist . \
    && python -m venv /opt/cachefleet \
    && /opt/cachefleet/bin/pip install --no-cache-dir /dist/*.whl

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server memcached \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/cachefleet cachefleet
COPY --from=build /opt/cachefleet /opt/cachefleet
ENV PATH=/opt/cachefleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CACHEFLEET_HOST=0.0.0.0 \
    CACHEFLEET_PORT=8379 \
    CACHEFLEET_DATA_DIR=/var/lib/cachefleet/data \
    CACHEFLEET_ENDPOINT_MODE=ports \
    CACHEFLEET_ALLOWED_HOSTS=localhost,*.localhost,127.0.0.1,::1,cachefleet \
    CACHEFLEET_PORT_RANGE=20000-20099 \
    CACHEFLEET_LOG_FORMAT=json
USER 10001
WORKDIR /var/lib/cachefleet
VOLUME /var/lib/cachefleet
EXPOSE 8379 20000-20099
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8379/readyz', timeout=2)"]
ENTRYPOINT ["/bin/sh", "-c", "export CACHEFLEET_ENDPOINT_HOST=\"${CACHEFLEET_ENDPOINT_HOST:-$(hostname -i | cut -d' ' -f1)}\"; exec cachefleet \"$@\"", "cachefleet"]
CMD ["serve"]
