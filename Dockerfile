# syntax=docker/dockerfile:1
#
# The image of the orchestrator: one static binary, its licences and CA roots, run by user 65532.
#
#   docker build --tag registry.example.com/guras/orchestrator:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --push --tag registry.example.com/guras/orchestrator:0.1.0 .

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# The C library goes into the binary, so the final stage needs none. Because every build below names its target, the
# flag does not reach build scripts and macros, which must be linked as usual.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# Dependencies are a layer of their own, made from the manifests and empty crates in place of ours. It is built anew
# only when a manifest or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY engine/Cargo.toml engine/
COPY postgres/Cargo.toml postgres/
COPY rules/Cargo.toml rules/
COPY build/Cargo.toml build/
COPY transport/Cargo.toml transport/
COPY server/Cargo.toml server/
COPY clients/Cargo.toml clients/
COPY orchestrator/Cargo.toml orchestrator/
COPY demo/Cargo.toml demo/
COPY bench/Cargo.toml bench/
COPY tests/contracts/Cargo.toml tests/contracts/
COPY tests/app/Cargo.toml tests/app/
COPY k8s/image/empty-crates k8s/image/
RUN sh k8s/image/empty-crates \
 && cargo build --locked --release --package orchestrator --target "$(rustc --print host-tuple)"

COPY build.rs ./
COPY rules rules/
COPY build build/
COPY proto proto/
COPY engine engine/
COPY postgres postgres/
COPY transport transport/
COPY server server/
COPY clients clients/
COPY orchestrator orchestrator/
COPY k8s/image/licences k8s/image/
COPY LICENSE-MIT LICENSE-APACHE ./
# COPY keeps the files' old times, and Cargo would take the empty crates for newer.
RUN find build.rs rules build proto engine postgres transport server clients orchestrator -type f -exec touch {} + \
 && cargo build --locked --release --package orchestrator --target "$(rustc --print host-tuple)" \
 && install -D "target/$(rustc --print host-tuple)/release/orchestrator" /image/usr/bin/orchestrator \
 && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && sh k8s/image/licences /image/usr/share/doc/orchestrator \
 && install -m 644 LICENSE-MIT LICENSE-APACHE /image/usr/share/doc/orchestrator \
 && /image/usr/bin/orchestrator --version \
 && mkdir /store

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="orchestrator" \
      org.opencontainers.image.description="The orchestration microservice of Guras" \
      org.opencontainers.image.vendor="Guras" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /store /var/lib/orchestrator

# The kubelet probes from outside of the pod. The admin API stays on loopback, which is its default.
ENV PATH=/usr/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    ORCHESTRATOR__HEALTH__LISTEN=0.0.0.0:50051
EXPOSE 50051
# The store lies here by default, and nothing else is written: the root file system may be read-only.
WORKDIR /var/lib/orchestrator
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/orchestrator"]
CMD ["serve"]
