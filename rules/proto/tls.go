package proto

const (
	tlsHandshake = 22
	clientHello  = 1
	// maxHello bounds a ClientHello. With post-quantum key shares they have some
	// 1,800 bytes; no client sends ten times that.
	maxHello = 32 << 10
)

// isTLS knows a record of a handshake that begins with a ClientHello (RFC 8446,
// sections 4 and 5.1).
func isTLS(b []byte) Status {
	switch {
	case b[0] != tlsHandshake, len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] > 4, len(b) > 5 && b[5] != clientHello:
		return Absent
	case len(b) < 6:
		return Unknown
	}
	return Known
}

// tls reads the ClientHello, once it is whole. There is nothing after it that can
// be read.
func (f *Flow) tls(b []byte) {
	if f.stage != 0 {
		return
	}
	from, size, st := f.hello(b)
	if st == Unknown {
		return
	}
	f.stage = 1
	where, all := inStream, b
	if len(f.own) > 0 {
		where, all = inOwn, f.own
	}
	var h clientHelloFields
	if st == Absent || !h.parse(all[from:from+size]) {
		f.lose()
		return
	}
	for _, field := range [...]Field{TLSJA3, TLSJA4} {
		*f.slot(field) = value{from: from, to: from + size, status: lazy, in: where}
	}
	if h.sni != nil {
		f.setText(TLSSNI, string(h.sni))
	}
	f.tlsALPN(&h)
	f.tlsVersions(&h)
	f.rest()
}

// hello finds the handshake message with its header: in the stream where it lies in
// one record, else in own, to which the records' contents are copied one by one.
func (f *Flow) hello(b []byte) (from, size int, st Status) {
	for {
		r := reader{b: b, at: f.scan}
		typ, major := r.be(1), r.be(2)>>8
		size := r.be(2)
		if !r.short && (typ != tlsHandshake || major != 3 || size == 0) {
			return 0, 0, Absent
		}
		part := r.take(size)
		if r.short {
			return 0, 0, Unknown
		}
		if len(f.own) == 0 {
			if n, st := helloSize(part); st != Unknown {
				return f.scan + 5, n, st
			}
		}
		f.own = append(f.own, part...)
		f.scan = r.at
		if n, st := helloSize(f.own); st != Unknown {
			return 0, n, st
		}
	}
}

// helloSize is the size of the message that b begins with; Unknown: it is not whole.
func helloSize(b []byte) (n int, st Status) {
	if len(b) < 4 {
		return 0, Unknown
	}
	n = 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
	switch {
	case b[0] != clientHello || n > maxHello:
		return 0, Absent
	case len(b) < n:
		return 0, Unknown
	}
	return n, Known
}

// clientHelloFields are parts of a ClientHello.
type clientHelloFields struct {
	version    int
	ciphers    []byte // 2 bytes each
	extensions []byte // type, length, content
	hasSNI     bool
	sni        []byte
	alpn       []byte // length, name
	versions   []byte // 2 bytes each
	groups     []byte // 2 bytes each
	points     []byte // 1 byte each
	signatures []byte // 2 bytes each
}

// parse reads a whole ClientHello (RFC 8446, section 4.1.2; RFC 5246, section
// 7.4.1.2).
func (h *clientHelloFields) parse(b []byte) bool {
	r := reader{b: b}
	r.take(4)
	h.version = r.be(2)
	r.take(32) // random
	r.sized(1) // session id
	h.ciphers = r.sized(2)
	r.sized(1) // compression
	if r.short || len(h.ciphers)%2 != 0 {
		return false
	}
	if r.empty() {
		return true // no extensions, as before TLS 1.2
	}
	h.extensions = r.sized(2)
	for e := (reader{b: h.extensions}); !e.empty(); {
		typ := e.be(2)
		body := e.sub(2)
		if e.short {
			return false
		}
		h.extension(typ, &body)
	}
	return !r.short
}

// Extensions (IANA's registry).
const (
	extSNI        = 0
	extGroups     = 10
	extPoints     = 11
	extSignatures = 13
	extALPN       = 16
	extVersions   = 43
)

func (h *clientHelloFields) extension(typ int, body *reader) {
	switch typ {
	case extSNI:
		h.hasSNI = true
		list := body.sub(2)
		if list.be(1) == 0 {
			h.sni = list.sized(2)
		}
	case extGroups:
		h.groups = even(body.sized(2))
	case extPoints:
		h.points = body.sized(1)
	case extSignatures:
		h.signatures = even(body.sized(2))
	case extALPN:
		h.alpn = body.sized(2)
	case extVersions:
		h.versions = even(body.sized(1))
	}
}

func even(b []byte) []byte { return b[:len(b)&^1] }

// protocols calls each with the names in an ALPN list (RFC 7301, section 3.1).
func (h *clientHelloFields) protocols(each func(name []byte)) {
	for r := (reader{b: h.alpn}); !r.empty(); {
		if name := r.sized(1); !r.short {
			each(name)
		}
	}
}

func (f *Flow) tlsALPN(h *clientHelloFields) {
	from := len(f.own)
	h.protocols(func(name []byte) {
		if len(f.own) > from {
			f.own = append(f.own, ',')
		}
		f.own = append(f.own, name...)
	})
	if len(f.own) > from {
		f.setOwn(TLSALPN, from)
	}
}

// tlsNames are the versions as operators write them.
var tlsNames = map[int]string{0x0300: "ssl3", 0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}

func (f *Flow) tlsVersions(h *clientHelloFields) {
	f.setText(TLSVersion, tlsNames[h.highest()])
	from := len(f.own)
	if len(h.versions) == 0 {
		f.own = append(f.own, tlsNames[h.version]...)
	}
	for i := 0; i < len(h.versions); i += 2 {
		name := tlsNames[u16(h.versions[i:])]
		if name != "" && len(f.own) > from {
			f.own = append(f.own, ',')
		}
		f.own = append(f.own, name...)
	}
	f.setOwn(TLSVersions, from)
}

// highest is the highest version that is offered.
func (h *clientHelloFields) highest() (v int) {
	for i := 0; i < len(h.versions); i += 2 {
		if o := u16(h.versions[i:]); !grease(o) {
			v = max(v, o)
		}
	}
	if v == 0 {
		return h.version
	}
	return v
}

// grease reports values that mean nothing (RFC 8701).
func grease(v int) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func u16(b []byte) int { return int(b[0])<<8 | int(b[1]) }
