// Package control is the operator's way into a running gateway: a unix socket that
// takes one request in JSON per line and gives one answer in a line for each.
//
// Who may open the socket may do everything, so it is its owner's alone. What comes
// in is bounded all the same: a script that runs wild must not stop a gateway.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Version is of requests and answers.
const Version = 1

const (
	maxRequest = 64 << 10         // bytes of a request's line
	maxConns   = 16               // at once; who comes then is told so
	idle       = 30 * time.Second // for the next request, and for an answer to be taken
	maxAnswer  = 64 << 20         // bytes of an answer's line that a client reads
)

// Request is a line from a client.
type Request struct {
	Version int             `json:"version"`
	Do      string          `json:"do"`
	Args    json.RawMessage `json:"args,omitempty"`
}

// Answer is a line to it. Error is empty if it was done.
type Answer struct {
	Version int             `json:"version"`
	Error   string          `json:"error,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// Handlers are what can be asked for, by name.
type Handlers map[string]func(context.Context, json.RawMessage) (any, error)

// None is the type of no arguments, and of no result.
type None struct{}

// Handle adds what can be asked for by a name. Arguments are an object with A's
// fields, and no others; the result is R as JSON. f may be called from several
// goroutines at once; its ctx ends with the gateway.
func Handle[A, R any](h Handlers, name string, f func(context.Context, A) (R, error)) {
	h[name] = func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if len(raw) > 0 {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&args); err != nil {
				return nil, fmt.Errorf("the arguments of %s: %w", name, err)
			}
		}
		return f(ctx, args)
	}
}

// names are what can be asked for.
func (h Handlers) names() string {
	var all []string
	for n := range h {
		all = append(all, n)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// answer does what a line asks for.
func (h Handlers) answer(ctx context.Context, line []byte) Answer {
	result, err := h.do(ctx, line)
	a := Answer{Version: Version}
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (h Handlers) do(ctx context.Context, line []byte) (any, error) {
	var q Request
	if err := json.Unmarshal(line, &q); err != nil {
		return nil, fmt.Errorf("a request is one JSON object in a line: %w", err)
	}
	if q.Version != Version {
		return nil, fmt.Errorf("the request is of version %d; this gateway speaks %d", q.Version, Version)
	}
	f := h[q.Do]
	if f == nil {
		return nil, fmt.Errorf("this gateway cannot do %q; it knows %s", q.Do, h.names())
	}
	return f(ctx, q.Args)
}
