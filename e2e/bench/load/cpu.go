package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// tick is USER_HZ, which is 100 on every architecture that Go runs on.
const tick = 100.0

// cpu is the CPU time that was used when it was read.
type cpu struct {
	pids            []int
	process, system float64 // seconds
}

func readCPU(pids []int) (c cpu, err error) {
	c.pids = pids
	for _, pid := range pids {
		t, err := processTime(pid)
		if err != nil {
			return c, err
		}
		c.process += t
	}
	c.system, err = systemTime()
	return c, err
}

// since is the CPU time used since it was read.
func (c cpu) since() (process, system float64, err error) {
	now, err := readCPU(c.pids)
	return now.process - c.process, now.system - c.system, err
}

// processTime is user and system time of a process, in seconds.
func processTime(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name may hold spaces; what follows its bracket is the third field.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	return sum(f[11:13])
}

// systemTime is what all CPUs did but wait, in seconds.
func systemTime() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line) // cpu user nice system idle iowait irq softirq …
	user, err := sum(f[1:4])
	if err != nil {
		return 0, err
	}
	irq, err := sum(f[6:8])
	return user + irq, err
}

func sum(fields [][]byte) (seconds float64, err error) {
	for _, f := range fields {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		seconds += float64(n) / tick
	}
	return seconds, nil
}
