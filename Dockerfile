# Only the server, without the development stack. The same image migrates and serves:
#   docker build --tag chat-api .
#   docker run --rm --env-file .env chat-api migrate
#   docker run --env-file .env --publish 8002:8002 chat-api

FROM python:3.13-slim AS build
WORKDIR /src
# pip stays outside: it installs into the environment, which is all that the next stage copies.
RUN python -m venv --without-pip /opt/chat-api
COPY LICENSE README.md constraints.txt pyproject.toml setup.cfg ./
COPY chat_api chat_api
COPY deploy/postgresql deploy/postgresql
COPY docs docs
COPY migrations migrations
COPY sql sql
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --disable-pip-version-check --python /opt/chat-api/bin/python \
        install --only-binary=:all: --constraint constraints.txt .

FROM python:3.13-slim
COPY --from=build /opt/chat-api /opt/chat-api
# LOGNAME: yoyo records who migrated, and a numeric user has no other name.
ENV LOGNAME=chat-api \
    PATH=/opt/chat-api/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes' runAsNonRoot can see that the user isn't root. The user can write to nothing in the image.
USER 10001:10001
WORKDIR /opt/chat-api
EXPOSE 8002
# SIGTERM drains: allow more time than DRAIN_SECONDS (docker stop -t, terminationGracePeriodSeconds).
STOPSIGNAL SIGTERM
# http.client, because urllib would use a proxy from the environment. If the service listens elsewhere than on 8002, override it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-ISc", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', 8002, timeout=2); c.request('GET', os.environ.get('BASE_PATH', '').rstrip('/') + '/api/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["chat-api"]
CMD ["serve", "--host", "0.0.0.0"]
