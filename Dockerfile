# The budeval service. Any Python 3.11 base with venv serves: docker build -t budeval .
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
USER 0
# Only where the package index is behind an authority of one's own.
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT=180
WORKDIR /build
COPY requirements/budeval.txt requirements/build.txt requirements/collection.txt requirements/
COPY dev/collection.py dev/collection.py
RUN python3 -m venv /opt/budeval \
 && /opt/budeval/bin/pip install --no-cache-dir --require-hashes -r requirements/budeval.txt \
 && /opt/budeval/bin/python dev/collection.py requirements/collection.txt /opt/budeval/lib/python3.11/site-packages
RUN python3 -m venv /build/tools && /build/tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY budeval budeval
RUN /build/tools/bin/python -m hatchling build -t wheel -d /build/dist \
 && /opt/budeval/bin/pip install --no-cache-dir --no-deps /build/dist/*.whl

FROM ${BASE_IMAGE}
COPY --from=build /opt/budeval /opt/budeval
ENV PATH=/opt/budeval/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 LANG=C.UTF-8
WORKDIR /tmp
USER 10001:10001
EXPOSE 13080
CMD ["python", "-m", "uvicorn", "--factory", "budeval.main:create_app", "--host", "0.0.0.0", "--port", "13080", "--timeout-graceful-shutdown", "5"]
