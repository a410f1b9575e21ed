package bed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Processes lists the ids of the processes in the namespace, this one excepted: what Command started
// and what that started, also in sessions of their own.
func (n *Namespace) Processes() ([]int, error) {
	var self unix.Stat_t
	if err := unix.Fstat(n.fd, &self); err != nil {
		return nil, fmt.Errorf("namespace %s: %w", n.Name, err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err == nil && pid != os.Getpid() && sameFile(link, self) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// sameFile is false for a process that has ended or that is not ours to see.
func sameFile(link string, want unix.Stat_t) bool {
	var got unix.Stat_t
	return unix.Stat(link, &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino
}

// killTimeout is how long a killed process may take to end.
const killTimeout = 5 * time.Second

// killProcesses ends every process in the namespace and waits until they are gone. A process that
// forks while it is listed is found in the next round.
func (n *Namespace) killProcesses() error {
	for range 10 {
		pids, err := n.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := n.kill(pid); err != nil {
				return fmt.Errorf("namespace %s: end process %d: %w", n.Name, pid, err)
			}
		}
	}
	return fmt.Errorf("namespace %s: its processes start new ones faster than they can be ended", n.Name)
}

// kill ends one process. A descriptor holds it while we look again whether it is in the namespace,
// because its id may be another's by now.
func (n *Namespace) kill(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var self unix.Stat_t
	if err := unix.Fstat(n.fd, &self); err != nil {
		return err
	}
	if !sameFile(fmt.Sprintf("/proc/%d/ns/net", pid), self) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return waitEnd(fd)
}

// waitEnd waits until the process of a descriptor has ended.
func waitEnd(fd int) error {
	limit := time.Now().Add(killTimeout)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		count, err := unix.Poll(fds, int(time.Until(limit).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case count == 0:
			return fmt.Errorf("still there %v after it was killed", killTimeout)
		default:
			return nil
		}
	}
}
