package sim

import (
	"slices"
	"time"
)

// operation is one thing that happens. Its weight is how often it is drawn beside the others.
type operation struct {
	name   string
	weight int
	draw   func(dice) step // the step's On, How, For and Count
	do     func(*world, step)
}

// operations are all that can happen. They stand, by what they are about, in the files operations_*_test.go.
var operations = slices.Concat(tokenOperations, keyOperations, secretOperations, sessionOperations, queueOperations, policyOperations, reactorOperations, refusalOperations, clusterOperations, betweenOperations, operatorOperations, hostOperations, clockOperations)

// operationOf finds an operation by its name.
func operationOf(name string) operation {
	at := slices.IndexFunc(operations, func(o operation) bool { return o.name == name })
	if at < 0 {
		panic("there is no operation " + name)
	}
	return operations[at]
}

func onToken(d dice) step { return step{On: d.one(tokenNames...)} }

// onTokenHow draws a token, and what happens to it.
func onTokenHow(hows ...string) func(dice) step {
	return func(d dice) step { return step{On: d.one(tokenNames...), How: d.one(hows...)} }
}

func onKey(d dice) step { return step{On: d.one(keySecrets...)} }

func onSession(d dice) step { return step{On: d.one(sessionNames...)} }

// lasting draws how long something lasts, and what.
func lasting(least, most time.Duration, hows ...string) func(dice) step {
	return func(d dice) step {
		s := step{For: d.between(least, most)}
		if len(hows) > 0 {
			s.How = d.one(hows...)
		}
		return s
	}
}
