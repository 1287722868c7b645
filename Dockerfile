# K-Gen Explorer in a container. How to build and run it: docs/places.md#docker
# For an NVIDIA GPU, build with --build-arg DEVICE=cuda.
FROM python:3.12-slim

ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1

# torch first: it is the largest part and changes least. PyPI's default wheels include CUDA.
RUN case "$DEVICE" in \
      cpu) pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu ;; \
      cuda) pip install torch torchvision ;; \
      *) echo "DEVICE=$DEVICE: expected cpu or cuda" >&2; exit 2 ;; \
    esac

WORKDIR /src
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
RUN pip install --no-deps .

RUN useradd --create-home --uid 1000 kgen && install -d -o kgen /data
# by number: Kubernetes cannot tell whether a name is root's
USER 1000
WORKDIR /data
ENV KGEN_HOME=/data/home
VOLUME /data
EXPOSE 7860

# A container's port is open to other computers, so the app has a presenter's token: the log shows
# the link that contains it.
ENTRYPOINT ["kgen-explorer", "--host", "0.0.0.0", "--port", "7860", "--runs", "/data/runs", \
            "--presenter", "--no-browser"]
CMD ["--link", "http://localhost:7860/"]
