# Airflow with this provider, as requirements-distributed.txt locks it. Two targets: `airflow`, the default, and
# `simulator`, which is the same with the simulator of KIE.
#
# Any base with Python 3.11 to 3.14, its venv module and a POSIX shell will do. Nothing of the base's own Airflow is
# used, so that the image holds the tested versions whatever the base brings along.
ARG BASE=apache/airflow:3.3.2-python3.11

FROM ${BASE} AS builder
USER root
WORKDIR /build
# The official image asks pip for user installations, which a venv refuses. The lock is complete (`pip check` below): there
# is nothing to resolve, and where a requirement has extras pip would resolve anew, against the hashes.
ENV PIP_USER=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_HASHES=1 PIP_ONLY_BINARY=:all: \
    PIP_NO_DEPS=1
COPY requirements-distributed.txt ./
RUN python3 -m venv /opt/kie/venv && /opt/kie/venv/bin/python -m pip install -r requirements-distributed.txt
# The tool that builds the wheel, and what the simulator needs: the lock's own lines, with their hashes.
COPY requirements-dev.txt ./
RUN set -eu; \
    locked() { awk -v names="^($1)==" '$0 ~ names {on=1} on {print} on && !/\\$/ {on=0}' requirements-dev.txt; }; \
    locked 'editables|hatchling|packaging|pathspec|pluggy|trove-classifiers' > wheel.txt; \
    locked 'lameenc' > simulator.txt; \
    python3 -m venv /build/venv; \
    /build/venv/bin/python -m pip install -r wheel.txt
COPY pyproject.toml README.md LICENSE ./
COPY plugins plugins
RUN /build/venv/bin/python -m hatchling build -t wheel -d /build/dist \
    && PIP_REQUIRE_HASHES=0 /opt/kie/venv/bin/python -m pip install --no-index /build/dist/*.whl \
    && /opt/kie/venv/bin/python -m pip check

FROM builder AS simulator-builder
RUN /opt/kie/venv/bin/python -m pip install -r simulator.txt

FROM ${BASE} AS plain
USER root
RUN id airflow >/dev/null 2>&1 || useradd --uid 50000 --gid 0 --create-home --home-dir /home/airflow airflow
RUN for tool in cc gcc g++ clang make; do \
        ! command -v "$tool" || { echo "The base image has $tool; take a slim one."; exit 1; }; \
    done
# An empty named volume takes owner and rights from here.
RUN mkdir -p /opt/airflow/dags /opt/airflow/logs && chown -R airflow:0 /opt/airflow && chmod -R g=u /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow \
    PATH=/opt/kie/venv/bin:$PATH \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1
USER airflow
WORKDIR /opt/airflow
ENTRYPOINT []
CMD ["airflow", "api-server"]
# That of the default command; docker-compose.yaml has one for each other process.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=5 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8080/api/v2/monitor/health', timeout=5)"]

FROM plain AS simulator
COPY --from=simulator-builder /opt/kie/venv /opt/kie/venv
COPY include /opt/kie/include
ENV PYTHONPATH=/opt/kie/include
CMD ["python", "-m", "kie_simulator", "--host", "0.0.0.0", "--port", "8000"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8000/_sim/state', timeout=5)"]

FROM plain AS airflow
COPY --from=builder /opt/kie/venv /opt/kie/venv
COPY dags /opt/airflow/dags
