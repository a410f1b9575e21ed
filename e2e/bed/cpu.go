package bed

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OneCPU keeps every thread of the process, and what it starts from now on, on
// one CPU, until restore is called. A veth queues what it receives on the CPU of
// the sender, so a sender that moves to another one reorders: a wire that is to
// be lossless and in order needs this.
func OneCPU() (restore func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read the CPUs of this process: %w", err)
	}
	one := all
	for cpu, kept := 0, false; cpu < 1024; cpu++ {
		if kept {
			one.Clear(cpu)
		}
		kept = kept || one.IsSet(cpu)
	}
	return func() error { return keepOn(&all) }, keepOn(&one)
}

// keepOn moves every thread. One that is born meanwhile has its parent's CPUs: the
// second time finds it.
func keepOn(cpus *unix.CPUSet) error {
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, cpus); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("keep thread %d on its CPUs: %w", id, err)
			}
		}
	}
	return nil
}
