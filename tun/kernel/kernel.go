// Package kernel carries plain spliced flows in the kernel: a program at the egress of
// each door (flow.c) translates their packets and redirects them to the other door's
// ingress, so that they never come to user space. It is a redirect.Carrier.
//
// A flow stands in a slot of an array that is as large as its bound, since an element of
// it is never freed under a program that still looks at it.
package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"sleight/redirect"
	"sleight/redirect/splice"
	"sleight/stack/tcb"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -type flow -type place -type key -type leg -type way -type sent flow flow.c -- -O2 -Wall -I/usr/include/x86_64-linux-gnu

// Flows is the most flows that are watched at once.
const Flows = 4096

// Phases of a flow, as flow.c has them.
const (
	free = iota
	watched
	offered
	taken
	back
)

// Carrier is the programs at work.
type Carrier struct {
	objs  flowObjects
	links []link.Link
	doors []uint32 // interface indices

	// began is when, on the gateway's clock, the kernel's had come to ktime.
	began time.Duration
	ktime uint64

	room  atomic.Int32 // slots that are free
	mu    sync.Mutex
	next  uint32   // slots below were used
	slots []uint32 // of those, the free ones
	ids   uint64
	keys  map[uint32][2]flowKey
	flows map[uint32]*flowFlow // what was written last

	landing    time.Duration
	late, errs atomic.Uint64
}

// Attach loads the programs and attaches them to the doors, the clients' first. The
// gateway's clock began at started. An error says why this kernel, or this user, cannot
// have them. Everything vanishes with the process.
func Attach(doors []int, started time.Time) (*Carrier, error) {
	c, err := load(0, started)
	if err != nil {
		return nil, err
	}
	for i, index := range doors {
		c.doors = append(c.doors, uint32(index))
		p := c.objs.FromBackend
		if i == 0 {
			p = c.objs.FromClient
		}
		for _, o := range []link.TCXOptions{
			// Before all others, who would see the mark, or end the packet's way to it.
			{Program: c.objs.Landed, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()},
			{Program: p, Attach: ebpf.AttachTCXEgress},
		} {
			o.Interface = index
			l, err := link.AttachTCX(o)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("attach to device %d: %w", index, err), c.Close())
			}
			c.links = append(c.links, l)
		}
	}
	return c, nil
}

// Probe says why this kernel, or this user, cannot carry flows, without a device. It
// leaves nothing behind.
func Probe() error {
	c, err := load(0, time.Now())
	if err != nil {
		return err
	}
	return errors.Join(hasTCX(), c.Close())
}

// hasTCX asks for the links of no device: a kernel with TCX has none of that name.
func hasTCX() error {
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1<<31 - 1, Attach: ebpf.AttachTCXEgress})
	if err == nil || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("TCX (Linux 6.6): %w", err)
}

// load loads the programs for packets behind a link header of l2 bytes.
func load(l2 uint32, started time.Time) (*Carrier, error) {
	spec, err := loadFlow()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["l2"].Set(l2); err != nil {
		return nil, err
	}
	c := &Carrier{keys: map[uint32][2]flowKey{}, flows: map[uint32]*flowFlow{}, landing: landing}
	if err := spec.LoadAndAssign(&c.objs, nil); err != nil {
		return nil, loading(err)
	}
	c.room.Store(Flows)
	c.began, c.ktime = time.Since(started), monotonic()
	return c, nil
}

// loading says what a refusal to load the programs means.
func loading(err error) error {
	const rights = "it takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, not of a user namespace"
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("load the programs: %w: %s", unix.EPERM, rights)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("load the programs: %w: %s", err, rights)
	}
	return fmt.Errorf("load the programs: %w", err)
}

func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// Close takes the programs away.
func (c *Carrier) Close() error {
	var err error
	for _, l := range c.links {
		err = errors.Join(err, l.Close())
	}
	return errors.Join(err, c.objs.Close())
}

// Watch puts both ways of a flow into the books.
func (c *Carrier) Watch(p redirect.Passage) (flow uint32, ok bool) {
	if c.room.Load() <= 0 {
		return 0, false // without the lock: each packet of the flows beyond asks
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, ok := c.take()
	if !ok {
		return 0, false
	}
	c.ids++
	f := &flowFlow{Phase: watched, Id: c.ids, Ttl: p.TTL}
	f.Way[0] = way(p.Serving, p.LabelToServer, c.doors[p.Door])
	f.Way[1] = way(p.Client, p.LabelToClient, c.doors[0])
	keys := [2]flowKey{key(p.Client, c.doors[0]), key(p.Serving, c.doors[p.Door])}
	c.flows[slot], c.keys[slot] = f, keys
	ok = c.write(slot, f)
	for i := range keys {
		if !ok {
			break
		}
		if err := c.objs.Keys.Put(&keys[i], &flowPlace{Id: f.Id, Slot: slot}); err != nil {
			c.errs.Add(1)
			ok = false
		}
	}
	if !ok {
		c.forget(slot)
	}
	return slot, ok
}

// take finds a free slot.
func (c *Carrier) take() (slot uint32, ok bool) {
	switch n := len(c.slots); {
	case n > 0:
		slot, c.slots = c.slots[n-1], c.slots[:n-1]
	case c.next == Flows:
		return 0, false
	default:
		slot = c.next
		c.next++
	}
	c.room.Add(-1)
	return slot, true
}

// way is the one to a leg's peer, who sends as t has it.
func way(t tcb.Tuple, label, ifindex uint32) flowWay {
	w := flowWay{Label: label, Ifindex: ifindex}
	w.Src, w.Sport = socket(t.Dest())
	w.Dst, w.Dport = socket(t.Source())
	return w
}

func key(t tcb.Tuple, ifindex uint32) flowKey {
	k := flowKey{Ifindex: ifindex, Family: 6}
	if t.Source().Addr().Is4() {
		k.Family = 4
	}
	k.Src, k.Sport = socket(t.Source())
	k.Dst, k.Dport = socket(t.Dest())
	return k
}

// socket is an address as flow.c has it, and a port in the network's order.
func socket(a netip.AddrPort) (addr [16]uint8, port uint16) {
	copy(addr[:], a.Addr().AsSlice())
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], a.Port())
	return addr, binary.NativeEndian.Uint16(b[:])
}

func (c *Carrier) write(slot uint32, f *flowFlow) bool {
	if err := c.objs.Flows.Update(&slot, f, ebpf.UpdateLock); err != nil {
		c.errs.Add(1)
		return false
	}
	return true
}

// Begin begins another hand-down.
func (c *Carrier) Begin(slot, turn uint32) {
	f := c.flow(slot)
	f.Phase, f.Turn = watched, turn
	c.write(slot, f)
}

// flow is what was written of a flow; the flow's lock guards it.
func (c *Carrier) flow(slot uint32) *flowFlow {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flows[slot]
}

// Offer offers a flow to the kernel.
func (c *Carrier) Offer(slot, turn uint32, seen [2]uint64, h *splice.Handed) {
	f := c.flow(slot)
	f.Phase, f.Turn, f.Seen = offered, turn, seen
	f.Heard, f.UnaAt, f.Paws = 0, c.kernelTime(h.UnaAt), h.PAWS
	f.Pkts, f.Bytes = [2]uint64{}, [2]uint64{}
	f.Cli, f.Srv = legTo(&h.Cli.Leg), legTo(&h.Srv)
	f.SeqDelta, f.TsDelta, f.Cut = h.SeqDelta, h.TSDelta, uint32(h.Cut)
	f.Trained = flag(h.Trained)
	f.Echoed = h.Cli.TSEchoed
	f.Last, f.Top, f.Una, f.IpId = h.Last, uint32(h.Top), uint32(h.Una), h.Cli.ID
	c.write(slot, f)
}

func (c *Carrier) kernelTime(t time.Duration) uint64 { return c.ktime + uint64(t-c.began) }

func (c *Carrier) time(k uint64) time.Duration {
	if k == 0 {
		return 0
	}
	return c.began + time.Duration(k-c.ktime)
}

func legTo(l *tcb.Leg) flowLeg {
	return flowLeg{
		SndUna: uint32(l.SndUna), SndNxt: uint32(l.SndNxt), SndEdge: uint32(l.SndEdge),
		RcvNxt: uint32(l.RcvNxt), RcvMax: uint32(l.RcvMax), RcvEdge: uint32(l.RcvEdge),
		TsFirst: l.TSFirst, TsRecent: l.TSRecent, TsSent: l.TSSent, Mss: uint32(l.MSS),
		SndShift: l.SndShift, RcvShift: l.RcvShift, Sack: flag(l.SACK), Ts: flag(l.TS),
	}
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// legFrom brings what moves in a leg up to where the kernel has come.
func legFrom(l *tcb.Leg, f *flowLeg) {
	l.SndUna, l.SndNxt, l.SndEdge = tcb.Seq(f.SndUna), tcb.Seq(f.SndNxt), tcb.Seq(f.SndEdge)
	l.RcvNxt, l.RcvMax, l.RcvEdge = tcb.Seq(f.RcvNxt), tcb.Seq(f.RcvMax), tcb.Seq(f.RcvEdge)
	l.TSRecent, l.TSSent = f.TsRecent, f.TsSent
}

// call is what recall is run with: a slot behind a link header, and room that a test
// run asks for.
func call(slot uint32) []byte {
	b := make([]byte, 64)
	binary.NativeEndian.PutUint32(b[14:], slot)
	return b
}

// Recall takes a flow back.
func (c *Carrier) Recall(slot uint32, h *splice.Handed) bool {
	if _, err := c.objs.Recall.Run(&ebpf.RunOptions{Data: call(slot)}); err != nil {
		c.errs.Add(1)
	}
	f, ok := c.read(slot)
	if !ok || f.Phase != back {
		return false
	}
	c.land(slot)
	c.handed(&f, h)
	return true
}

// landing is how long a recall waits for what the kernel has on its way.
const landing = 5 * time.Millisecond

// land waits until what the kernel has carried of a flow has come through the queue
// between the doors, which what the gateway writes does not wait in. The queue may drop.
func (c *Carrier) land(slot uint32) {
	var s flowSent
	for begun := monotonic(); ; {
		if err := c.objs.Counts.Lookup(&slot, &s); err != nil || s.Across == s.Landed {
			return
		}
		if monotonic()-begun > uint64(c.landing) {
			c.late.Add(1)
			return
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
	}
}

func (c *Carrier) read(slot uint32) (f flowFlow, ok bool) {
	err := c.objs.Flows.LookupWithFlags(&slot, &f, ebpf.LookupLock)
	return f, err == nil
}

// handed tells where a flow stands. What the kernel does not move h keeps of the splice:
// it was offered from there.
func (c *Carrier) handed(f *flowFlow, h *splice.Handed) {
	legFrom(&h.Cli.Leg, &f.Cli)
	legFrom(&h.Srv, &f.Srv)
	h.Cli.TSEchoed = f.Echoed
	h.Cut, h.Last, h.Cli.ID, h.PAWS = tcb.Seq(f.Cut), f.Last, f.IpId, f.Paws
	h.Top, h.Una, h.UnaAt = tcb.Seq(f.Top), tcb.Seq(f.Una), c.time(f.UnaAt)
	h.Heard = c.time(f.Heard)
	h.Pkts, h.Bytes = f.Pkts, f.Bytes
}

// Peek looks at a flow.
func (c *Carrier) Peek(slot uint32, h *splice.Handed) bool {
	f, ok := c.read(slot)
	if !ok || f.Phase != taken && f.Phase != back {
		return false
	}
	c.handed(&f, h)
	return true
}

// Forget ends the watch on a flow.
func (c *Carrier) Forget(slot uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(slot)
}

func (c *Carrier) forget(slot uint32) {
	for _, k := range c.keys[slot] {
		_ = c.objs.Keys.Delete(&k) // it may not have come so far
	}
	c.write(slot, &flowFlow{Phase: free})
	delete(c.keys, slot)
	delete(c.flows, slot)
	c.slots = append(c.slots, slot)
	c.room.Add(1)
}

// Stats is how the carrier stands.
type Stats struct {
	Watched, Carried int    // flows that it looks for, and those of them that it has
	Late             uint64 // recalls that waited for landing, and in vain
	Errors           uint64 // of the kernel's, where none should be
}

// Stats counts.
func (c *Carrier) Stats() Stats {
	c.mu.Lock()
	var slots []uint32
	for s := range c.flows {
		slots = append(slots, s)
	}
	c.mu.Unlock()
	st := Stats{Watched: len(slots), Late: c.late.Load(), Errors: c.errs.Load()}
	for _, s := range slots {
		if f, ok := c.read(s); ok && f.Phase == taken {
			st.Carried++
		}
	}
	return st
}
