package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"go.uber.org/zap"

	"sleight/internal/config"
	"sleight/internal/control"
	"sleight/redirect"
)

// standing is how a gateway stands.
type standing struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	File     string    `json:"file"`
	Flows    int       `json:"flows"`
	Decoys   int       `json:"decoys"`
	Backends int       `json:"backends"`
	Rules    int       `json:"rules"`
	Reloads  reloads   `json:"reloads"`
	Kernel   *carried  `json:"kernel,omitempty"`
}

// carried is what the kernel carries for the gateway, and has carried.
type carried struct {
	Watched   int    `json:"watched"`
	Carried   int    `json:"carried"`
	HandDowns uint64 `json:"hand_downs"`
	Bytes     uint64 `json:"bytes"`
	Full      uint64 `json:"full"`
	Late      uint64 `json:"late"`
	Errors    uint64 `json:"errors"`
}

// part asks for one part of the table of flows.
type part struct {
	Part int `json:"part"`
}

// flowsPart answers it. Next is the part to ask for then; −1: there is none.
type flowsPart struct {
	Flows []liveFlow `json:"flows"`
	Next  int        `json:"next"`
}

// flowID names a flow as its events do.
type flowID struct {
	ID uint64 `json:"flow_id"`
}

// liveFlow is a flow, in the words of events.
type liveFlow struct {
	ID              uint64 `json:"flow_id"`
	SrcIP           string `json:"src_ip"`
	SrcPort         uint16 `json:"src_port"`
	DestIP          string `json:"dest_ip"`
	DestPort        uint16 `json:"dest_port"`
	Decoy           string `json:"decoy"`
	Phase           string `json:"phase"`
	Decided         bool   `json:"decided"`
	Backend         string `json:"backend,omitempty"`
	BackendIP       string `json:"backend_ip,omitempty"`
	BackendPort     uint16 `json:"backend_port,omitempty"`
	AgeUS           int64  `json:"age_us"`
	IdleUS          int64  `json:"idle_us"`
	BytesToServer   uint64 `json:"bytes_toserver"`
	BytesToClient   uint64 `json:"bytes_toclient"`
	PacketsToServer uint64 `json:"packets_toserver"`
	PacketsToClient uint64 `json:"packets_toclient"`
}

func inWords(l *redirect.Live) liveFlow {
	f := liveFlow{
		ID:    l.ID,
		SrcIP: l.Client.Addr().String(), SrcPort: l.Client.Port(),
		DestIP: l.Dialled.Addr().String(), DestPort: l.Dialled.Port(),
		Decoy: l.Decoy, Phase: l.Phase, Decided: l.Decided, Backend: l.Backend,
		AgeUS: l.Age.Microseconds(), IdleUS: l.Idle.Microseconds(),
		BytesToServer: l.BytesToServer, BytesToClient: l.BytesToClient,
		PacketsToServer: l.PacketsToServer, PacketsToClient: l.PacketsToClient,
	}
	if l.Addr.IsValid() {
		f.BackendIP, f.BackendPort = l.Addr.Addr().String(), l.Addr.Port()
	}
	return f
}

// client and dialled are a flow's ends in one word each.
func (f *liveFlow) client() string  { return ends(f.SrcIP, f.SrcPort) }
func (f *liveFlow) dialled() string { return ends(f.DestIP, f.DestPort) }

func ends(ip string, port uint16) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	return netip.AddrPortFrom(a, port).String()
}

// handlers are what can be asked of a running gateway. One more is one more call of
// control.Handle, and a line in docs/control.md.
func handlers(r *reloader) control.Handlers {
	h := control.Handlers{}
	started := time.Now()
	control.Handle(h, "reload", func(context.Context, control.None) (string, error) { return r.reload() })
	control.Handle(h, "status", func(context.Context, control.None) (standing, error) { return r.status(started), nil })
	control.Handle(h, "flows", func(_ context.Context, a part) (flowsPart, error) {
		live, next := r.g.List(time.Now(), a.Part)
		out := flowsPart{Flows: make([]liveFlow, len(live)), Next: next}
		for i := range live {
			out.Flows[i] = inWords(&live[i])
		}
		return out, nil
	})
	control.Handle(h, "show", func(_ context.Context, a flowID) (f liveFlow, err error) {
		l, ok := r.g.Show(time.Now(), a.ID)
		if !ok {
			return f, noFlow(a.ID)
		}
		return inWords(&l), nil
	})
	control.Handle(h, "kill", func(_ context.Context, a flowID) (n control.None, err error) {
		if !r.g.Kill(time.Now(), a.ID) {
			return n, noFlow(a.ID)
		}
		return n, nil
	})
	handleMemory(h, r.mem)
	return h
}

func noFlow(id uint64) error { return fmt.Errorf("no live flow has the number %d", id) }

func (r *reloader) status(started time.Time) standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := standing{
		Version: version(), PID: os.Getpid(), Started: started, File: r.cfg.File, Flows: r.g.Flows(),
		Decoys: len(r.cfg.Decoys), Backends: len(r.cfg.Backends), Rules: len(r.cfg.Rules), Reloads: r.reloads,
	}
	if r.kernel != nil {
		k, h := r.kernel.Stats(), r.g.HandDowns()
		s.Kernel = &carried{k.Watched, k.Carried, h.Ended, h.Bytes, h.Full, k.Late, k.Errors}
	}
	return s
}

// serveControl answers at the control socket. nil: where nobody has asked for one by
// name, a machine on which there can be none still has its gateway.
func serveControl(cfg *config.Config, h control.Handlers, log *zap.Logger) (*control.Server, error) {
	l, err := control.Listen(cfg.ControlSocket())
	switch {
	case err == nil:
		return control.Serve(l, h), nil
	case cfg.Control != "" || errors.Is(err, control.ErrLive):
		return nil, fmt.Errorf("control.socket: %w", err)
	}
	log.Warn("no control socket: commands cannot reach this gateway", zap.Error(err))
	return nil, nil
}
