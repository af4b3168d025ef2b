// Package metrics is what the operator exports in addition to the metrics of controller-runtime: the state of every ReactorToken and
// ReactorSession, how attempts of sessions ended, the calls to Reactor, the skew of the clocks, and which build this is.
//
// No label holds a key, a token or anything derived from either. All labels are bounded by the objects in the cluster or
// by a fixed list.
package metrics
