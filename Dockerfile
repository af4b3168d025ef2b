# The operator's image, for those who build with Docker, Podman or BuildKit; with --target token-server the token server's, with --target
# reactor-emulator the emulator's. Releases are made by `make image`, with the same flags, and hold the same: one static program, which
# brings its roots for TLS and knows its version.
#
# The base is pinned by its tag. A digest would have to be renewed with every rebuild of it to get the fixes of its Debian, of which
# nothing is left in the image; what is left is Go's, which the tag names exactly, and modules, which go.sum pins.
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
# Numbers, since kubelet cannot check a name for runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/manager"]
