package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"
)

// notYetReloaded answers SIGHUP, which would otherwise end the program, until ctx
// ends. The configuration stays as it was.
func notYetReloaded(ctx context.Context, hangups <-chan os.Signal, log *zap.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			log.Warn("SIGHUP: reload is not supported yet; the gateway goes on as it is, restart it to read the configuration anew")
		}
	}
}

// catchHangups is called before anything else is done: a SIGHUP that comes while
// the gateway starts must not leave half of it behind.
func catchHangups() (hangups chan os.Signal, stop func()) {
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups, func() { signal.Stop(hangups) }
}
