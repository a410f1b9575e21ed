package stack

import (
	"context"
	"errors"
	"io"
	"time"
)

// over is a context that ends when a channel is closed.
type over struct{ done <-chan struct{} }

// Deadline implements context.Context.
func (over) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (o over) Done() <-chan struct{} { return o.done }

// Err implements context.Context.
func (o over) Err() error {
	select {
	case <-o.done:
		return context.Canceled
	default:
		return nil
	}
}

// Value implements context.Context.
func (over) Value(any) any { return nil }

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
