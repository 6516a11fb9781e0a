# The gate as an image: docker build -t exeat .
#
# The binary is built here; `--build-arg BINARY=given` takes the one called `exeat` in the build context instead, and
# `--build-arg RUNTIME=...` another base. BuildKit skips the stages that are not used. The image holds no secret, no
# configuration and no root: those come in volumes.
ARG BINARY=built
ARG RUNTIME=debian

FROM rust:1.95-bookworm AS built
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --locked --release -p exeat && cp target/release/exeat /exeat

FROM scratch AS given
COPY exeat /exeat

FROM ${BINARY} AS binary

FROM debian:12-slim AS debian
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 -m 700 /var/lib/exeat && install -d -o 65532 -g 65532 /roots

FROM ${RUNTIME}
COPY --from=binary /exeat /usr/local/bin/exeat
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    EXEAT_CONFIG=/etc/exeat/exeat.toml \
    EXEAT_DATA=/var/lib/exeat
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/exeat"]
CMD ["serve"]
