// Package chart holds the tests of charts/reactor-operator: what it renders, that it is what config/ installs, that a real API server
// accepts it, which values it refuses, and what happens to the CRDs over the life of a release.
//
// Helm is the one of tools/helm. `go test ./test/chart -update` writes the golden files again.
package chart
