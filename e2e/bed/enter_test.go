package bed_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A user without rights builds the same bed: the test binary runs again as user 65534, whose Enter
// makes a user namespace.
func TestBedNeedsNoRoot(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv("SLEIGHT_BED_ENTERED") != "" {
		return // this run is itself the proof
	}
	dir, err := os.MkdirTemp("", "sleight-noroot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	node, binary := filepath.Join(dir, "tun"), filepath.Join(dir, "bed.test")
	copyProgram(t, binary)
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(node, 0o666), os.Chmod(dir, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), binary, "-test.run=TestAttackerReaches|TestBackendOwns|TestWires", "-test.v")
	c.Env = []string{"SLEIGHT_TUN_NODE=" + node, "HOME=" + dir, "TMPDIR=/tmp"}
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
