// Package apimodel is a model of the Kubernetes API server, in memory, for simulations.
package apimodel
