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
	doMemoryList  = "memory list"
	doMemoryClear = "memory clear"
)

// tagArgs tag a client; For is 0: the tag is taken away.
type tagArgs struct {
	Client netip.Addr    `json:"client"`
	Name   string        `json:"name"`
	For    time.Duration `json:"for"` // nanoseconds
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
		if a.For < 0 || a.For > longestTag {
			return control.None{}, fmt.Errorf("a tag stays for up to %v", longestTag)
		}
		return control.None{}, m.Tag(now, a.Client, a.Name, now.Add(a.For))
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
