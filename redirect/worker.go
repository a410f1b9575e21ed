package redirect

import (
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

const (
	// headroom is what a packet's buffer leaves before the packet: the
	// virtio_net_hdr and longer headers.
	headroom = VnetHeader + wire.MaxHeader
	bufSize  = headroom + 40 + 65536 // an IPv6 header is not counted in its length
)

// worker is a goroutine's own room: nothing on a packet's way is allocated.
type worker struct {
	g     *Gateway
	queue int
	buf   []byte // the packet that was read, from headroom on
	out   []byte // for packets that are built
	seg   wire.Segment
	own   wire.Segment // for segments of the gateway's own
	ip    wire.Packet
	icmp  wire.ICMPError
	due   []*entry
	late  []wire.Segment // SYN-ACKs to send again

	handed splice.Handed // a flow on its way to the carrier or back
}

func newWorker(g *Gateway, queue int) *worker {
	return &worker{g: g, queue: queue, buf: make([]byte, bufSize), out: make([]byte, bufSize)}
}

// with runs f under the flow's lock and sets the flow's next deadline.
func (w *worker) with(now time.Time, e *entry, f func()) {
	w.lock(e)
	if !e.gone {
		w.recall(e)
		f()
	}
	w.unlock(now, e)
}

func (w *worker) lock(e *entry) {
	e.mu.Lock()
	if e.aside != &joined {
		e.w = w
	}
}

func (w *worker) unlock(now time.Time, e *entry) {
	if !e.gone {
		if w.g.cfg.Carrier != nil {
			w.offer(now, e)
		}
		w.schedule(e)
	}
	w.letGo(e)
}

func (w *worker) letGo(e *entry) {
	if e.aside != &joined {
		e.w = nil
	}
	e.mu.Unlock()
}

// toClient sends a segment of the gateway's own to S.
func (w *worker) toClient(e *entry, seg *wire.Segment) {
	seg.Src, seg.Dst = e.dialled(), e.client()
	pkt := wire.Build(w.out[headroom:], seg)
	w.write(0, int(e.steer[tcb.Client].queue), w.out, headroom, len(pkt))
	e.count(tcb.Serving, len(seg.Payload))
}

// toServing sends a segment of the gateway's own to a serving leg.
func (w *worker) toServing(l *leg, seg *wire.Segment) {
	seg.Src, seg.Dst = l.src(), l.dst()
	pkt := wire.Build(w.out[headroom:], seg)
	w.writeLeg(l, w.out, headroom, len(pkt))
}

// passClient sends the translated segment in the worker's buffer to S, in
// segments that fit the client leg.
func (w *worker) passClient(e *entry, seg *wire.Segment) {
	seg.Src, seg.Dst = e.dialled(), e.client()
	e.count(tcb.Serving, len(seg.Payload))
	size, whole := resize(seg, int(e.cli.MSS)-seg.Opts.Size(false), w.g.doors[0].Super())
	if whole {
		at := wire.Rewrite(w.buf, seg)
		// The kernel numbers a super-packet's segments on from its own ID.
		e.cli.ID += uint16(segments(len(seg.Payload), size) - 1)
		w.writeWhole(0, int(e.steer[tcb.Client].queue), at, seg)
		return
	}
	w.cut(seg, size, func(piece *wire.Segment) {
		if piece != seg {
			piece.ID = e.cli.ID
			e.cli.ID++
		}
		pkt := wire.Build(w.out[headroom:], piece)
		w.write(0, int(e.steer[tcb.Client].queue), w.out, headroom, len(pkt))
	})
}

// passServing sends the translated segment in the worker's buffer to a serving
// leg, in segments that fit it. The decoy takes any length.
func (w *worker) passServing(l *leg, seg *wire.Segment) {
	seg.Src, seg.Dst = l.src(), l.dst()
	if l.b == nil {
		at := wire.Rewrite(w.buf, seg)
		w.g.decoy.Inject(w.buf[at : at+seg.HeaderSize()+len(seg.Payload)])
		return
	}
	size, whole := resize(seg, l.room()-seg.Opts.Size(false), w.g.doors[l.door()].Super())
	if whole {
		w.writeWhole(l.door(), l.queue(), wire.Rewrite(w.buf, seg), seg)
		return
	}
	w.cut(seg, size, func(piece *wire.Segment) { w.toServing(l, piece) })
}

// room is the most payload and options in a segment to this leg, in bytes.
func (l *leg) room() int { return int(l.Srv.MSS) }

// cut splits a segment into pieces of at most room bytes. FIN and PSH stay with
// the last one, the urgent pointer with the piece that it points into.
func (w *worker) cut(seg *wire.Segment, room int, send func(*wire.Segment)) {
	rest := *seg
	for len(rest.Payload) > room {
		piece := rest
		piece.TrimBack(room)
		send(&piece)
		rest.TrimFront(room)
	}
	send(&rest)
}

// writeLeg writes a packet that stands at buf[at:at+n] to a serving leg.
func (w *worker) writeLeg(l *leg, buf []byte, at, n int) {
	if l.b == nil {
		w.g.decoy.Inject(buf[at : at+n])
		return
	}
	w.write(l.door(), l.queue(), buf, at, n)
}

// write puts an empty virtio_net_hdr before the packet at buf[at:at+n] and hands
// it to a door.
func (w *worker) write(door, queue int, buf []byte, at, n int) {
	b := buf[at-VnetHeader : at+n]
	clear(b[:VnetHeader])
	w.send(door, queue, b)
}

// writeWhole hands a door the segment that was rewritten at w.buf[at:], with a
// virtio_net_hdr that says what the kernel still has to do.
func (w *worker) writeWhole(door, queue, at int, seg *wire.Segment) {
	b := w.buf[at-VnetHeader : at+seg.HeaderSize()+len(seg.Payload)]
	putOffload(b, seg)
	w.send(door, queue, b)
}

func (w *worker) send(door, queue int, b []byte) {
	d := w.g.doors[door]
	if _, err := d.Write(queue%d.Queues(), b); err != nil {
		w.g.add(writeFailed)
	}
}

func (e *entry) count(from tcb.Side, bytes int) {
	e.pkts[from]++
	e.bytes[from] += uint64(bytes)
}
