package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sleight/internal/control"
	"sleight/internal/memory"
)

// What the control socket does with the memory: requests and their arguments.
const (
	doTag         = "tag"
	doMemoryList  = "memory_list"
	doMemoryClear = "memory_clear"
)

// tagArgs tag a client. ForUS is microseconds; 0: the tag is taken away.
type tagArgs struct {
	Client netip.Addr `json:"client"`
	Name   string     `json:"name"`
	ForUS  int64      `json:"for_us"`
}

// listArgs and clearArgs are about clients within a prefix; without one, about all.
type listArgs struct {
	Within netip.Prefix `json:"within,omitzero"`
	Most   int          `json:"most"` // 0: all
}

type clearArgs struct {
	Within netip.Prefix `json:"within,omitzero"`
}

// remembered is what is in the memory.
type remembered struct {
	Clients  int             `json:"clients"`
	Payloads int             `json:"payloads"` // beginnings of them
	Listed   []memory.Client `json:"listed"`
}

// cleared is how many clients were forgotten.
type cleared struct {
	Clients int `json:"clients"`
}

// mostListed bounds an answer.
const mostListed = 100_000

// handleMemory adds what can be done with the memory.
func handleMemory(h control.Handlers, m *memory.Memory) {
	control.Handle(h, doTag, func(_ context.Context, a tagArgs) (control.None, error) {
		now := time.Now()
		if a.ForUS < 0 || a.ForUS > longestTag.Microseconds() {
			return control.None{}, fmt.Errorf("a tag stays for up to %v", longestTag)
		}
		return control.None{}, m.Tag(now, a.Client, a.Name, now.Add(time.Duration(a.ForUS)*time.Microsecond))
	})
	control.Handle(h, doMemoryList, func(_ context.Context, a listArgs) (r remembered, err error) {
		r.Clients, r.Payloads = m.Size()
		if a.Most <= 0 || a.Most > mostListed {
			a.Most = mostListed
		}
		r.Listed = m.List(time.Now(), a.Within, a.Most)
		return r, nil
	})
	control.Handle(h, doMemoryClear, func(_ context.Context, a clearArgs) (cleared, error) {
		return cleared{m.Clear(a.Within)}, nil
	})
}

// longestTag is as in a rule.
const longestTag = 366 * 24 * time.Hour
