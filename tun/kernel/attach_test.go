package kernel

import (
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The mark of what is redirected is the doors' own affair: it is gone before an
// administrator's program at the same device looks at it, or passes the packet on to
// rules that ask for marks.
func TestNobodySeesTheMarkOfWhatIsRedirected(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	const lo = 1
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	other, err := link.AttachTCX(link.TCXOptions{Interface: lo, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := Attach([]int{lo}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.objs.Landed.Info()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := info.ID()
	q, err := link.QueryPrograms(link.QueryOptions{Target: lo, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Programs) != 2 || q.Programs[0].ID != want {
		t.Errorf("at the door are %+v, the first should be %d", q.Programs, want)
	}
}
