package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"sleight/internal/config"
	"sleight/internal/memory"
	"sleight/rules"
)

// saveEvery is how often the memory is written, if it has changed: so much of it a
// crash may cost.
const saveEvery = time.Minute

// newMemory is one without anything in it. Over a reload the memory stays, and a new
// set is given it by giveMemory.
func newMemory(cfg *config.Config) *memory.Memory {
	var secret [8]byte
	_, _ = rand.Read(secret[:]) // it never fails
	return memory.New(memory.Config{
		Clients: cfg.Memory.Clients, Payloads: cfg.Memory.Payloads, Keep: cfg.Memory.Keep,
		PrefixV4: cfg.Limits.PrefixV4, PrefixV6: cfg.Limits.PrefixV6, Secret: binary.BigEndian.Uint64(secret[:]),
	})
}

// giveMemory lets a set remember, and draw the same clients each time.
func giveMemory(set *rules.Set, mem *memory.Memory, cfg *config.Config) {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], mem.Secret())
	set.SetClients(key, cfg.Limits.PrefixV4, cfg.Limits.PrefixV6)
	set.SetMemory(mem)
}

// memoryFile is where the memory is kept over a restart.
func memoryFile(cfg *config.Config) string {
	if cfg.Memory.File != "" {
		return cfg.Memory.File
	}
	return filepath.Join(cfg.StateDir, "memory")
}

// openMemory is the memory that the last run has left. A file that is damaged is put
// aside: the gateway runs without a memory rather than not at all.
func openMemory(cfg *config.Config, log *zap.Logger) *memory.Memory {
	m := newMemory(cfg)
	file := memoryFile(cfg)
	err := m.Load(file)
	if err == nil {
		return m
	}
	aside := file + ".damaged"
	if rerr := os.Rename(file, aside); rerr != nil {
		aside = ""
	}
	log.Warn("the memory begins anew", zap.Error(err), zap.String("aside", aside))
	return newMemory(cfg)
}

// keepMemory writes the memory from time to time, and once more when ctx ends.
func keepMemory(ctx context.Context, done chan<- struct{}, m *memory.Memory, file string, log *zap.Logger) {
	defer close(done)
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			saveMemory(m, file, log)
			return
		case <-t.C:
			saveMemory(m, file, log)
		}
	}
}

func saveMemory(m *memory.Memory, file string, log *zap.Logger) {
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = m.Save(file)
	}
	if err != nil {
		log.Warn("the memory is not kept", zap.Error(err))
	}
}
