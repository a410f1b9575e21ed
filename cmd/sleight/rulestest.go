package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"sleight/internal/evidence"
	"sleight/internal/offline"
	"sleight/internal/pcap"
	"sleight/rules"
)

// trial is a run of rules over captures.
type trial struct {
	cfg      offline.Config
	out      io.Writer
	complain io.Writer
	json     bool
	quiet    bool

	file    string
	files   int
	flows   int
	packets int
	bytes   int
	broken  int
	spoken  map[string]int // by rule and verdict
}

func testRules(c *cli.Context) error {
	t, _, err := newTrial(c)
	if err != nil {
		return err
	}
	t.json = c.Bool("json")
	if err := t.run(c.String("pcap")); err != nil {
		return cli.Exit(err, 1)
	}
	return t.summary()
}

func benchRules(c *cli.Context) error {
	t, l, err := newTrial(c)
	if err != nil {
		return err
	}
	t.quiet = true
	l.set.Account()
	began := time.Now()
	if err := t.run(c.String("pcap")); err != nil {
		return cli.Exit(err, 1)
	}
	took := time.Since(began)
	fmt.Fprintf(t.out, "%d connections, %d packets, %d bytes of clients in %v with the reading; %.1f µs for each KiB\n",
		t.flows, t.packets, t.bytes, took.Round(time.Millisecond), float64(took.Microseconds())*1024/float64(max(1, t.bytes)))
	return costs(t.out, l.set)
}

func newTrial(c *cli.Context) (*trial, *loaded, error) {
	if err := noArgs(c); err != nil {
		return nil, nil, err
	}
	if c.String("pcap") == "" {
		return nil, nil, cli.Exit(fmt.Sprintf("rules %s: name a capture with --pcap", c.Command.Name), 2)
	}
	l, err := loadRules(c.String("config"))
	if err != nil {
		return nil, nil, cli.Exit(err, 1)
	}
	giveMemory(l.set, newMemory(l.cfg), l.cfg)
	t := &trial{out: c.App.Writer, complain: c.App.ErrWriter, spoken: map[string]int{}}
	t.cfg = offline.Config{
		Set: l.set, Record: l.cfg.Limits.Record, Answering: l.cfg.Timeouts.Answering,
		Decoy: func(client, dialled netip.AddrPort) (string, bool) {
			for i := range l.cfg.Decoys {
				m := match(l.cfg.Decoys[i].Match)
				if m.Fits(client, dialled) {
					return l.cfg.Decoys[i].Name, true
				}
			}
			return "", true // rules that name no decoy can be tried on any capture
		},
	}
	return t, &l, nil
}

// run goes over a capture, or over all files in a directory that are one.
func (t *trial) run(path string) error {
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		err = t.capture(name)
		if errors.Is(err, pcap.ErrFormat) && name != path {
			return nil
		}
		if err != nil && name != path {
			t.broken++
			fmt.Fprintf(t.complain, "%s: %v\n", name, err)
			return nil
		}
		return err
	})
}

// capture judges one capture; one that is damaged, as far as it can be read.
func (t *trial) capture(name string) (err error) {
	r, err := pcap.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	t.file = name
	t.files++
	j := offline.New(t.cfg, t.verdict)
	for p := range r.All() {
		j.Packet(p.Time, p.Number, p.Data)
	}
	j.Close()
	t.flows, t.packets = t.flows+j.Flows, t.packets+j.Packets
	return r.Err()
}

// verdict prints what came of a connection, where a rule has spoken.
func (t *trial) verdict(v offline.Verdict) {
	if !v.Logged {
		t.bytes += v.Bytes
	}
	if v.Rule == "" {
		t.spoken["no rule, "+v.Reason]++
		return
	}
	t.spoken[v.Rule+", "+v.Action.String()]++
	switch {
	case t.quiet:
	case t.json:
		t.line(&v)
	default:
		what := v.Action.String()
		if v.Action == rules.Switch {
			what += " to " + v.Backend
		}
		fmt.Fprintf(t.out, "%s: packet %d: %s > %s: %s by %s after %d bytes", t.file, v.Packet, v.Client, v.Dialled, what, v.Rule, v.Offset)
		if v.Alert != nil {
			fmt.Fprintf(t.out, " (%d %s)", v.Alert.SID, v.Alert.Msg)
		}
		fmt.Fprintln(t.out)
	}
}

// tried is a decision with EVE's fields for captures.
type tried struct {
	evidence.Event
	File    string `json:"pcap_filename"`
	Packet  int    `json:"pcap_cnt"`
	Backend string `json:"backend,omitempty"`
}

func (t *trial) line(v *offline.Verdict) {
	e := evidence.Flow{ID: uint64(t.flows + v.Flow), Client: v.Client, Dialled: v.Dialled}.Of(v.Time, "decision")
	e.Decision = &evidence.Decision{Rule: v.Rule, Verdict: v.Action.String(), Offset: v.Offset, Reason: v.Reason, Alert: alert(v.Alert), Suppressed: v.Suppressed}
	t.encode(tried{e, t.file, v.Packet, v.Backend})
}

func (t *trial) encode(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = t.out.Write(append(b, '\n'))
	}
	if err != nil {
		fmt.Fprintln(t.complain, err)
	}
}

// summary says how often each rule has spoken.
func (t *trial) summary() error {
	if t.json {
		t.encode(map[string]any{"event_type": "summary", "summary": map[string]any{
			"files": t.files, "damaged": t.broken, "packets": t.packets, "connections": t.flows, "verdicts": t.spoken,
		}})
		return nil
	}
	fmt.Fprintf(t.out, "%d captures, %d packets, %d connections\n", t.files, t.packets, t.flows)
	for _, name := range slices.Sorted(maps.Keys(t.spoken)) {
		fmt.Fprintf(t.out, "%6d  %s\n", t.spoken[name], name)
	}
	return nil
}
