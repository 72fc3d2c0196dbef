# docker build -t affectd .
# docker build -t affectd --build-arg TORCH="torch torchvision --index-url URL" .    # another PyTorch

# One stage: each step is a layer, and an update leaves those before its changes as they are.
FROM python:3.13.16-slim-bookworm
# Libraries that the wheels of OpenCV and mediapipe load and do not bring. The user's number is
# fixed, since files and folders of the host have to belong to it: docs/containers.md.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 999 --home-dir /var/lib/affectd --create-home affectd
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# PyTorch before the code: it is most of the image and seldom changes.
ARG TORCH="torch torchvision"
RUN pip install ${TORCH}
# What is copied stays in the image, a small part of it: to mount it instead takes BuildKit.
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY classifiers classifiers
COPY config config
COPY daemon daemon
COPY detectors detectors
COPY systemd systemd
RUN pip install ".[cpu,mqtt]"

# NVIDIA's toolkit hands in what encodes and decodes video only where `video` is asked for.
ENV STATE_DIRECTORY=/var/lib/affectd PYTHONFAULTHANDLER=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER affectd
# Models, and recordings with a relative path.
WORKDIR /var/lib/affectd
VOLUME /var/lib/affectd
EXPOSE 9464
# Loading the models takes a while; a loop that hangs is found by /livez. Docker itself does not
# restart what is unhealthy: docs/containers.md. Docker may set http_proxy, which is not asked here.
HEALTHCHECK --start-period=5m --interval=30s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:9464/livez', timeout=4)"]
ENTRYPOINT ["affectd"]
CMD ["run", "/etc/affectd/affectd.toml"]
