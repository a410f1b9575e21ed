package redirect

import (
	"time"

	"sleight/redirect/flow"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// drainClient gives the decoy, while S has not acknowledged the cut, its part of
// a client's segment. It reports whether the backend gets one too.
func (w *worker) drainClient(now time.Time, e *entry, seg *wire.Segment) (toBackend bool) {
	if !e.cli.SndUna.LessThan(e.cut) {
		w.detach(now, e)
		e.join()
		return true
	}
	e.draining = w.g.at(now.Add(w.g.cfg.Timeouts.Drain))
	moved := e.drainEdge.LessThan(e.cli.SndEdge)
	e.drainEdge = e.cli.SndEdge
	above := false
	if d := e.dec; d.open == nil {
		w.own = wire.Segment{Seq: d.own.Sent()}
		for _, b := range seg.Opts.Blocks() {
			if e.cut.LessThan(b.End) {
				above = true
			}
			if b.Start.LessThan(e.cut) {
				w.own.Opts.AddBlock(wire.Block{Start: b.Start, End: tcb.Min(b.End, e.cut)})
			}
		}
		w.fillServing(e, d)
		w.toServing(d, &w.own)
	}
	probe := seg.Seq.LessThan(e.cli.RcvNxt) // a keep-alive wants its answer (RFC 9293, section 3.8.4)
	return seg.Len() > 0 || above || moved || probe
}

// belowCut trims a decoy's segment to the cut. Its FIN and RST never pass.
func (w *worker) belowCut(e *entry, l *leg, seg *wire.Segment) bool {
	if seg.Flags.Any(wire.RST | wire.SYN) {
		return false
	}
	if seg.Flags.Has(wire.FIN) {
		seg.Flags &^= wire.FIN
	}
	end := e.cut - tcb.Seq(l.SeqDelta)
	if !seg.Seq.LessThan(end) {
		return false
	}
	if n := tcb.Diff(end, seg.Seq); n < len(seg.Payload) {
		seg.TrimBack(n)
	}
	// Toward S the backend's acknowledgement and window speak.
	seg.Ack = l.Srv.SndUna
	return len(seg.Payload) > 0
}

// detach takes the netstack's endpoint away with a RST at exactly its RCV.NXT:
// nothing comes out. Whatever it might still say has no flow.
func (w *worker) detach(now time.Time, e *entry) {
	l := e.dec
	if l == nil {
		return
	}
	if l.open == nil {
		w.own = wire.Segment{Seq: l.own.Sent(), Flags: wire.RST, TTL: 64}
		w.toServing(l, &w.own)
	}
	w.g.flows.Unbind(&l.node)
	e.gate.Forget()
	e.gate, e.dec, e.draining = nil, nil, 0
}

// decoyLost ends a flow whose decoy would not take the connection.
func (w *worker) decoyLost(now time.Time, e *entry) {
	w.sendReset(e, e.cli.SndNxt)
	w.end(now, e, "reset")
}

// fromDecoy carries one packet that the netstack has emitted.
func (w *worker) fromDecoy(now time.Time, n int, off wire.Offload) {
	pkt := w.buf[headroom : headroom+n]
	// The netstack's checksums are our own work: they were never on a wire.
	off.CsumValid = true
	if r := wire.Parse(&w.seg, pkt, off); r != wire.OK {
		w.g.add(parsed(r))
		return
	}
	k := flow.Key{Leg: w.seg.Tuple(), Side: tcb.Serving, Door: decoyDoor}
	e, ok := w.g.flows.Lookup(k)
	if !ok {
		w.g.add(decoyMiss)
		return
	}
	w.with(now, e, func() {
		if e.dec != nil && e.dec.node.Key == k {
			w.fromServing(now, e, e.dec, &w.seg)
		}
	})
}

// FromDecoy takes one packet that the decoy has emitted.
func (g *Gateway) FromDecoy(now time.Time, pkt []byte, off wire.Offload) {
	w := g.workers.Get().(*worker)
	n := copy(w.buf[headroom:], pkt)
	w.fromDecoy(now, n, off)
	g.workers.Put(w)
}
