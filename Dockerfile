# The operator's image, for builds with Docker, Podman or BuildKit. With --target token-server it is the token server's image, with --target
# reactor-emulator the emulator's. `make image` builds releases, with the same flags and the same content: one static program, which contains
# its root certificates for TLS and its version.
#
# The base is pinned by its tag. A digest would need an update with every rebuild of the base to get the fixes of its Debian, but the image
# contains nothing of Debian. It contains only Go, which the tag pins, and modules, which go.sum pins.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
ARG TARGETOS=linux
ARG TARGETARCH=amd64
ARG VERSION=devel
WORKDIR /source
COPY go.mod go.sum ./
RUN go mod download
COPY api ./api
COPY cmd ./cmd
COPY internal ./internal
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOAMD64=v1 GOARM64=v8.0 GOFLAGS= GOEXPERIMENT= \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version='"$VERSION" -o / ./cmd/manager ./cmd/token-server ./cmd/reactor-emulator

FROM scratch AS token-server
ARG VERSION=devel
LABEL org.opencontainers.image.title=reactor-token-server \
      org.opencontainers.image.source=https://github.com/reactor-operator/reactor-operator \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION
COPY --from=build /token-server /token-server
USER 65532:65532
ENTRYPOINT ["/token-server"]

FROM scratch AS reactor-emulator
ARG VERSION=devel
LABEL org.opencontainers.image.title=reactor-emulator \
      org.opencontainers.image.source=https://github.com/reactor-operator/reactor-operator \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION
COPY --from=build /reactor-emulator /reactor-emulator
USER 65532:65532
ENTRYPOINT ["/reactor-emulator"]

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title=reactor-operator \
      org.opencontainers.image.source=https://github.com/reactor-operator/reactor-operator \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION
COPY --from=build /manager /manager
# Numbers, because the kubelet cannot check a name for runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/manager"]
