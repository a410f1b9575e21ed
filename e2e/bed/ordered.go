package bed

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Ordered has the namespace's kernel take in each flow that arrives at a device on one
// CPU, as it is behind a card with several queues: receive packet steering (see the
// kernel's Documentation/networking/scaling.rst). A veth takes in on the CPU of the
// sender, so without it one that moves to another CPU overtakes itself.
func (n *Namespace) Ordered(device string) error {
	err := n.Do(func() error {
		sys, err := sysfs()
		if err != nil {
			return err
		}
		defer unix.Close(sys)
		fd, err := unix.Openat(sys, "class/net/"+device+"/queues/rx-0/rps_cpus", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "rps_cpus")
		_, err = fmt.Fprintf(f, "%x", uint32(1)<<min(runtime.NumCPU(), 31)-1)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("steer what %s receives: %w", device, err)
	}
	return nil
}

// sysfs is one of the calling thread's network namespace: the one at /sys is of another.
func sysfs() (fd int, err error) {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open a sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make a sysfs: %w", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}
