// Package sim plays seeded schedules of faults with the whole operator, and holds what happens against the rules of docs/reliability.md.
//
// Both controllers run unchanged, on the real manager with its queues, informers and predicates, in virtual time (testing/synctest). Reactor
// is the emulator behind an in-memory transport, and the API server a model (apimodel) that is held to the real one by a test of its own.
// A schedule is data: it is drawn from a seed, printed when it fails, shortened, and kept in testdata to be played again.
//
//   - operations_between_test.go has what is between the operator and Reactor: proxies, connections, and answers of neither.
//   - schedule_test.go draws schedules; operations_*_test.go is what can happen in one.
//   - world_test.go, operator_test.go, node_test.go, machine_test.go, reactor_test.go, clocks_test.go and faults_test.go are the world.
//   - judge_*_test.go are the rules, and weather_test.go is what the judge makes allowances for.
//   - play_test.go plays a schedule to its end, sim_test.go many of them, and shrink_test.go shortens one that fails.
//   - mutants_test.go breaks the operator on purpose, and wants the rules to notice.
//
// The goroutines of one instant run in the order that Go's scheduler has them in, so that a seed is the same schedule each time, but not
// the same interleaving. stress_test.go has what varies that: a replay runs on one processor, and -busy plays schedules under stress.
package sim
