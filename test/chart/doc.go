// Package chart holds the tests of charts/reactor-operator: what it renders, that it is what config/ installs, that a real API server
// takes it, which values it refuses, and what becomes of the kinds over the life of a release.
//
// Helm is the one of tools/helm. `go test ./test/chart -update` writes the golden files anew.
package chart
