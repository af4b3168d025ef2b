package main

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// recorder keeps what Kubernetes tells: which tokens came into which Secret, and when the program of a session had ended. Readers read
// what it was told.
type recorder struct {
	mu      sync.Mutex
	readers *readers
	written map[string]string    // Secret's UID, by the token's id
	over    map[string]time.Time // when Kubernetes told that the program of a session had ended, by the session's id
	died    ends                 // of programs that told of no session
}

func newRecorder() *recorder {
	return &recorder{readers: newReaders(), written: map[string]string{}, over: map[string]time.Time{}, died: ends{}}
}

// secret takes a change of the operator's Secrets.
func (r *recorder) secret(c change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.object != nil {
		r.takeSecret(c.object.(*corev1.Secret), c.gone) //nolint:forcetypeassert // that is what is followed
		return
	}
	missing := maps.Clone(r.readers.copies)
	for _, object := range c.all {
		delete(missing, object.GetName())
		r.takeSecret(object.(*corev1.Secret), false) //nolint:forcetypeassert // see above
	}
	for name := range missing {
		r.readers.remove(name)
	}
}

func (r *recorder) takeSecret(secret *corev1.Secret, gone bool) {
	read := strings.HasPrefix(secret.Name, tokenPrefix) // those of sessions are read by their pods
	if gone {
		if read {
			r.readers.remove(secret.Name)
		}
		return
	}
	v := versionOf(secret)
	v.seen = time.Now()
	if v.jti != "" {
		r.written[v.jti] = v.secret
	}
	if read {
		r.readers.deliver(secret.Name, v)
	}
}

// versionOf reads what a program would read, and more.
func versionOf(secret *corev1.Secret) version {
	v := version{secret: string(secret.UID)}
	claims := jwt.RegisteredClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(string(secret.Data["jwt"]), &claims); err != nil || claims.ExpiresAt == nil {
		v.flaw = "there is no token in the Secret"
		return v
	}
	v.jti, v.expires = claims.ID, claims.ExpiresAt.Time
	switch {
	case string(secret.Data["expires_at"]) != strconv.FormatInt(v.expires.Unix(), 10):
		v.flaw = "expires_at is not the token's"
	case secret.Annotations[v1alpha1.ExpiresAtAnnotation] != v.expires.UTC().Format(time.RFC3339):
		v.flaw = "the annotation of the expiry is not the token's"
	}
	return v
}

// pod takes a change of pods.
func (r *recorder) pod(c change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := c.all
	if c.object != nil {
		all = append(all, c.object)
	}
	for _, object := range all {
		pod := object.(*corev1.Pod) //nolint:forcetypeassert // that is what is followed
		told := endedIn(pod)
		for _, id := range told {
			if _, known := r.over[id]; !known {
				r.over[id] = time.Now()
			}
		}
		if len(told) == 0 {
			r.takeSilentEnd(pod)
		}
	}
}

// takeSilentEnd notes when the program of a pod ended that told of no session.
func (r *recorder) takeSilentEnd(pod *corev1.Pod) {
	model := modelOf(pod.Annotations[attempts.SessionAnnotation])
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; ended != nil && !slices.Contains(r.died[model], ended.FinishedAt.Time) {
			r.died[model] = append(r.died[model], ended.FinishedAt.Time)
		}
	}
}

// endedIn returns the sessions of a pod whose program has ended, if it has.
func endedIn(pod *corev1.Pod) []string {
	var ids []string
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated == nil {
			continue
		}
		lines := bufio.NewScanner(strings.NewReader(status.State.Terminated.Message))
		for lines.Scan() {
			var said struct {
				ID string `json:"sessionId"`
			}
			if json.Unmarshal(lines.Bytes(), &said) == nil && said.ID != "" {
				ids = append(ids, said.ID)
			}
		}
	}
	return ids
}

// look has all readers read, once a second.
func (r *recorder) look(ctx context.Context) {
	often := time.NewTicker(time.Second)
	defer often.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-often.C:
			r.mu.Lock()
			r.readers.look(now)
			r.mu.Unlock()
		}
	}
}

// take returns what readers saw, from the beginning, but for the shortest rest of life: that is since it was taken last.
func (r *recorder) take() lookResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readers.take()
}

// behind counts the tokens that are not renewed though they should be.
func (r *recorder) behind(reserve time.Duration) (behind, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readers.behind(time.Now(), reserve), r.readers.count()
}

// noted returns copies of what was recorded.
func (r *recorder) noted() (written map[string]string, over map[string]time.Time, died ends, spells []spell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.written), maps.Clone(r.over), maps.Clone(r.died), append([]spell(nil), r.readers.spells...)
}

// chronicle keeps the circumstances while they happen.
type chronicle struct {
	mu  sync.Mutex
	why circumstances
}

func (c *chronicle) refusedSince(from time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why.refused = append(c.why.refused, window{from, time.Now()})
}

func (c *chronicle) muteSince(from time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why.mute = append(c.why.mute, window{from, time.Now()})
}

func (c *chronicle) blackholedAt(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why.blackholed = append(c.why.blackholed, at)
}

// with returns what was kept, and when operators and programs ended.
func (c *chronicle) with(crashes []time.Time, died ends) circumstances {
	c.mu.Lock()
	defer c.mu.Unlock()
	return circumstances{crashes, slices.Clone(c.why.refused), slices.Clone(c.why.mute), slices.Clone(c.why.blackholed), died}
}
