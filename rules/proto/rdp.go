package proto

import "bytes"

// isRDP knows a TPKT with a connection request (MS-RDPBCGR, section 2.2.1.1).
func isRDP(b []byte) Status { return alike(b, 3, 0, any, any, any, 0xe0, 0, 0) }

// rdp reads the connection request; what follows is TLS or the protocol's own.
func (f *Flow) rdp(b []byte) {
	if f.stage != 0 {
		return
	}
	r := reader{b: b}
	r.take(2)
	size := r.be(2)
	if !r.short && (size < 11 || size > 1<<10) {
		f.lose()
		return
	}
	if len(b) < 4 || len(b) < size {
		return
	}
	f.stage = 1
	r = reader{b: b[:size], at: 11}
	if text, n, st := line(r.rest(), 512); st == Known {
		const key = "Cookie: mstshash="
		if bytes.HasPrefix(text, []byte(key)) {
			f.set(RDPCookie, r.at+len(key), r.at+len(text))
		}
		r.take(n)
	}
	if typ := r.be(1); typ == 1 { // RDP_NEG_REQ
		r.take(3)
		if protocols := r.le(4); !r.short {
			f.setInt(RDPProtocols, protocols)
		}
	}
	f.rest()
}
