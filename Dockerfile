# One image for machines with an NVIDIA GPU and without: the program carries its kernels and loads the driver when it starts.
#
#   docker build -t tempest .
#   docker run --rm -v "$PWD:/runs" tempest train --data my-text.txt --out mine               # on the CPU
#   docker run --rm --gpus all -v "$PWD:/runs" tempest train --data my-text.txt --out mine    # on a GPU
#
#   docker build --build-arg KERNELS=off -t tempest .    # for CPUs only: fetches no CUDA compiler
FROM rust:1.95-bookworm AS build
ARG KERNELS=require
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
COPY setup-cuda .
RUN if [ "$KERNELS" != off ]; then ./setup-cuda; fi
COPY . .
RUN TEMPEST_KERNELS=$KERNELS ./dist /bundle && mkdir /installed && tar -xzf /bundle/*.tar.gz --strip-components 1 -C /installed

FROM debian:bookworm-slim
COPY --from=build /installed /usr/local
# What NVIDIA's container runtime brings in: the driver's library for computing, and its tools.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /runs
ENTRYPOINT ["tempest"]
