package bed

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OneCPU keeps every thread of this process and of others, and what they start from
// now on, on one CPU, until restore is called. A veth queues what it receives on the CPU of
// the sender, so a sender that moves to another one reorders: a wire that is to
// be lossless and in order needs this.
func OneCPU(others ...int) (restore func() error, err error) {
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
	processes := append([]int{os.Getpid()}, others...)
	return func() error { return keepAll(processes, &all) }, keepAll(processes, &one)
}

func keepAll(processes []int, cpus *unix.CPUSet) (err error) {
	for _, pid := range processes {
		err = errors.Join(err, keepOn(pid, cpus))
	}
	return err
}

// keepOn moves every thread. One that is born meanwhile has its parent's CPUs: the
// second time finds it.
func keepOn(pid int, cpus *unix.CPUSet) error {
	for range 2 {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
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
