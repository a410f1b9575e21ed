package main

import (
	"os"
	"os/signal"
	"syscall"
)

// catchHangups is called before anything else is done: a SIGHUP that comes while
// the gateway starts must not leave half of it behind. It is heeded once the gateway
// runs; several that came together are one.
func catchHangups() (hangups chan os.Signal, stop func()) {
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups, func() { signal.Stop(hangups) }
}
