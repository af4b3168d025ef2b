package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// replicas are what runs when nothing else is said.
const replicas = 2

// operatorTimeout is how long an operator may take to be ready, or two to agree on a leader.
const operatorTimeout = 2 * time.Minute

// crew are the operators, and who starts them again when they end, as a kubelet would: at once, and ten seconds later if one has ended
// soon after its start.
type crew struct {
	world *world

	mu      sync.Mutex
	members []*member
	crashes []time.Time
	ended   map[string]int // how, and how often
	starts  int
}

// member is one operator, started again and again.
type member struct {
	crew            *crew
	args            []string
	metrics, probes string // host:port
	stopped         chan struct{}
	end             context.CancelFunc

	mu      sync.Mutex
	process *process.Process
	killed  bool
}

func newCrew(w *world) *crew { return &crew{world: w, ended: map[string]int{}} }

// start starts two operators, of which one leads, and returns when it does.
func (c *crew) start(ctx context.Context) error {
	for range replicas {
		if _, err := c.add("--leader-elect", "--leader-election-namespace="+operatorNamespace); err != nil {
			return err
		}
	}
	_, err := c.awaitLeader(ctx)
	return err
}

// add starts one operator and keeps it running.
func (c *crew) add(args ...string) (*member, error) {
	m := &member{crew: c, args: args, stopped: make(chan struct{})}
	for _, address := range []*string{&m.metrics, &m.probes} {
		free, err := process.FreeAddress()
		if err != nil {
			return nil, err
		}
		*address = free
	}
	ctx, end := context.WithCancel(context.Background())
	m.end = end
	c.mu.Lock()
	c.members = append(c.members, m)
	c.mu.Unlock()
	go m.keep(ctx)
	return m, nil
}

// keep starts the operator whenever it has ended.
func (m *member) keep(ctx context.Context) {
	defer close(m.stopped)
	for ctx.Err() == nil {
		started := time.Now()
		p, err := m.launch()
		if err != nil {
			m.crew.note(fmt.Sprintf("could not be started: %v", err))
			p = nil
		}
		if p != nil {
			select {
			case <-p.Ended():
			case <-ctx.Done():
				p.Kill()
			}
			m.noteEnd(ctx, p)
		}
		pause := time.Duration(0)
		if time.Since(started) < 10*time.Second && !m.wasKilled() {
			pause = 10 * time.Second
		}
		_ = stage.Pause(ctx, pause) // the loop asks whether the context has ended
	}
}

// launch starts the process, with the flags of an installation but for addresses; everything else is as by default.
func (m *member) launch() (*process.Process, error) {
	c := m.crew
	c.mu.Lock()
	c.starts++
	log := filepath.Join(c.world.plane.Dir, fmt.Sprintf("operator-%03d.log", c.starts))
	c.mu.Unlock()
	args := append([]string{
		"--api-url=" + c.world.proxyURL, "--ca-bundle=" + c.world.proxyCA, "--metrics-auth=false",
		"--metrics-bind-address=" + m.metrics, "--health-probe-bind-address=" + m.probes,
	}, m.args...)
	p, err := process.Start("the operator", log, []string{"KUBECONFIG=" + c.world.account, "HOME=" + os.TempDir()}, managerBinary, args...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.killed = p, false
	return p, err
}

func (m *member) wasKilled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

// noteEnd writes down how an operator has ended.
func (m *member) noteEnd(ctx context.Context, p *process.Process) {
	how := "killed"
	if !m.wasKilled() && ctx.Err() == nil {
		how = "by itself, since the lease was lost"
		if last := p.Tail(3); !strings.Contains(last, "leader election lost") {
			how = fmt.Sprintf("by itself: %v", p.Failure())
		}
	}
	m.crew.note(how)
}

func (c *crew) note(how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[how]++
	c.crashes = append(c.crashes, time.Now())
}

// ends says how often operators have ended, by how.
func (c *crew) ends() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.ended)
}

// crashed says when operators have ended.
func (c *crew) crashed() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.crashes)
}

// kill ends the operator as kill -9 does. It is started again.
func (m *member) kill() {
	m.mu.Lock()
	p := m.process
	m.killed = true
	m.mu.Unlock()
	if p != nil {
		p.Kill()
	}
}

// stop kills all operators, and starts none again.
func (c *crew) stop() {
	c.mu.Lock()
	members := c.members
	c.members = nil
	c.mu.Unlock()
	for _, m := range members {
		m.end()
	}
	for _, m := range members {
		<-m.stopped
	}
}

// leader returns the operator that leads; nil when none does.
func (c *crew) leader(ctx context.Context) *member {
	c.mu.Lock()
	members := c.members
	c.mu.Unlock()
	for _, m := range members {
		text, err := m.scrape(ctx)
		if err == nil && stage.Sum(text, "reactor_operator_leader") == 1 {
			return m
		}
	}
	return nil
}

// awaitLeader waits until one leads.
func (c *crew) awaitLeader(ctx context.Context) (*member, error) {
	var found *member
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, operatorTimeout, true, func(ctx context.Context) (bool, error) {
		found = c.leader(ctx)
		return found != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("no operator leads: %w", err)
	}
	return found, nil
}

// awaitReady waits until the operator's caches are filled.
func (m *member) awaitReady(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, operatorTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := ask(ctx, http.MethodGet, "http://"+m.probes+"/readyz", "")
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the operator is not ready: %w", err)
	}
	return nil
}

// scrape reads the operator's metrics.
func (m *member) scrape(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return stage.Get(ctx, "https://"+m.metrics+"/metrics")
}

// loop kills the only operator again and again: it has no other beside it and waits for no lease, so that it works at once.
func (c *crew) loop(ctx context.Context, lives []time.Duration) error {
	c.stop()
	m, err := c.add("--leader-elect=false")
	if err != nil {
		return err
	}
	for _, life := range lives {
		if err := m.awaitReady(ctx); err != nil {
			return err
		}
		if err := stage.Pause(ctx, life); err != nil {
			return err
		}
		m.kill()
	}
	c.stop()
	return c.start(ctx)
}
