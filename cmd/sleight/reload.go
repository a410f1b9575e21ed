package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"sleight/internal/config"
	"sleight/internal/evidence"
	"sleight/internal/host"
	"sleight/redirect"
	"sleight/tun/kernel"
)

// reloader gives a running gateway what its configuration says now: all of it, or
// nothing.
type reloader struct {
	machinery
	g       *redirect.Gateway
	machine *host.Host
	out     *evidence.Writer
	log     *zap.Logger
	kernel  *kernel.Carrier // nil: it carries nothing

	mu      sync.Mutex // one reload at a time
	cfg     *config.Config
	reloads reloads
}

// reloads is what has become of those so far.
type reloads struct {
	Done   int       `json:"done"`
	Failed int       `json:"failed"`
	Last   time.Time `json:"last,omitzero"`
	Said   string    `json:"said,omitempty"` // what the last one has changed, or why it has not
}

// maxDetail bounds what an event says of a reload, in bytes: a file may have many
// mistakes. The log has them all.
const maxDetail = 4 << 10

// reload reads the configuration anew, and reports what has changed or why nothing
// has.
func (r *reloader) reload() (changed string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err = r.replace()
	r.reloads.Last, r.reloads.Said = time.Now(), changed
	if err != nil {
		r.reloads.Failed++
		r.reloads.Said = cut(err.Error(), maxDetail)
		for _, mistake := range strings.Split(err.Error(), "\n") {
			r.log.Error("reload: " + mistake)
		}
		r.log.Error("not reloaded: the gateway goes on with the configuration that it has")
		announce(r.out, "reload_failed", r.reloads.Said)
		return "", err
	}
	r.reloads.Done++
	r.log.Info("reloaded", zap.String("changes", changed))
	announce(r.out, "reloaded", cut(changed, maxDetail))
	return changed, nil
}

// replace is the reload itself. Nothing of the running gateway is touched before
// everything has been found right.
func (r *reloader) replace() (changed string, err error) {
	l, err := loadRules(r.cfg.File)
	if err != nil {
		return "", err
	}
	if err := l.cfg.Unchangeable(r.cfg); err != nil {
		return "", err
	}
	p, err := r.policy(l.cfg, l.set)
	if err != nil {
		return "", err
	}
	if err := r.machine.Holds(machinePlan(l.cfg)); err != nil {
		return "", fmt.Errorf("backends: %w", err)
	}
	words := l.cfg.Changes(r.cfg)
	if len(l.cfg.Suricata.Files) > 0 {
		words = append(words, fmt.Sprintf("Suricata's rules read anew: %d used, %d skipped", l.set.Suricata().Len(), len(l.suricata.skipped)))
	}
	if words == nil {
		words = []string{"nothing"}
	}
	r.g.Reload(time.Now(), p)
	r.cfg = l.cfg
	return strings.Join(words, "; "), nil
}

// cut is a text of at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}

// onHangups reloads at each SIGHUP until ctx ends, and closes done.
func (r *reloader) onHangups(ctx context.Context, hangups <-chan os.Signal, done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			_, _ = r.reload() // it has reported both itself
		}
	}
}
