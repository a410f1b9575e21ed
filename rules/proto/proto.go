// Package proto recognises the protocol of a client's stream by its first bytes,
// and reads fields from it. It does no I/O and knows no clock.
//
// What it is given is the client's stream from its beginning, as far as it has
// come; each time it may have grown. So every answer has a Status: "the client has
// not said that yet" is another answer than "there is none". An answer that was
// given never changes because more has come, however the stream was cut.
//
// A Flow keeps offsets, not bytes: fields are sub-slices of the stream that its
// caller passes in. Only what has to be computed (a normalised URI, a hash) is
// memory of its own, and never more than a small multiple of the stream.
package proto

// Protocol is what a client speaks. The zero value is none that is known here.
type Protocol uint8

// The protocols.
const (
	None Protocol = iota
	HTTP
	TLS
	SSH
	Telnet
	SMB
	RDP
	Redis
	MySQL
	PostgreSQL
	MongoDB
	SMTP
	FTP
	MQTT
	SIP
	numProtocols
)

var protocolNames = [numProtocols]string{
	"", "http", "tls", "ssh", "telnet", "smb", "rdp", "redis", "mysql", "postgresql", "mongodb",
	"smtp", "ftp", "mqtt", "sip",
}

// String is the protocol's name in rules.
func (p Protocol) String() string { return protocolNames[p] }

// Status says how far a question can be answered.
type Status uint8

const (
	// Unknown: the client has not said enough yet.
	Unknown Status = iota
	// Absent: it will not come. The message has no such field, or the stream is
	// another protocol's.
	Absent
	// Partial: its beginning; the rest may come (a body).
	Partial
	// Known: whole.
	Known

	lazy // known, but not computed yet
)

// value is what is known of one field.
type value struct {
	from, to int // in what `in` names
	n        int // of a number
	status   Status
	in       place
}

// place is where a field's bytes are.
type place uint8

const (
	inStream place = iota
	inOwn          // Flow.own
	inKept         // Flow.kept
)

// maxFields is the greatest number of fields that one protocol has.
const maxFields = 12

// Flow reads one client's stream. The zero value is ready. Its owner guards it.
type Flow struct {
	proto    Protocol
	known    Status // of proto
	lost     bool   // the stream has left its protocol: there are no more messages
	at       int    // where the current message begins
	end      int    // where it ends; 0: not known yet
	scan     int    // how far the parser has read
	seen     int    // how far lineEnd has looked
	stage    uint8  // the parser's own
	need     int    // the parser's own: what a length in the message says
	messages int    // begun
	mail     bool   // SMTP: what comes is a mail
	vals     [maxFields]value
	own      []byte // computed fields of the current message
	kept     []byte // computed fields of the connection, at most maxKept bytes
}

// maxKept bounds copies of fields that outlive their message, in bytes.
const maxKept = 1 << 10

// Step reads on in stream, which holds all that the client has said, and returns
// how much of it has been read. Where a stream is a sequence of messages whose
// fields stand for themselves (HTTP requests), Step stops at the end of each: the
// fields are those of the message in which it stopped. The caller looks at them and
// calls Step again until all is read:
//
//	for at := 0; at < len(stream); {
//		at = flow.Step(stream)
//		…
//	}
//
// It allocates nothing but what a field has to be copied for.
func (f *Flow) Step(stream []byte) int {
	if f.known == Unknown {
		f.proto, f.known = recognise(stream)
	}
	if f.known != Known || f.lost {
		return len(stream)
	}
	if f.end > 0 && len(stream) > f.end {
		f.begin(f.end)
	}
	if f.end == 0 {
		parsers[f.proto](f, stream)
	}
	if f.end > 0 {
		return f.end
	}
	return len(stream)
}

// parsers read a message's fields as far as they have come, and set end when it
// is whole.
var parsers = [numProtocols]func(*Flow, []byte){
	HTTP: (*Flow).http, TLS: (*Flow).tls, SSH: (*Flow).ssh, Telnet: (*Flow).telnet, SMB: (*Flow).smb,
	RDP: (*Flow).rdp, Redis: (*Flow).redis, MySQL: (*Flow).mysql, PostgreSQL: (*Flow).postgresql,
	MongoDB: (*Flow).mongodb, SMTP: (*Flow).smtp, FTP: (*Flow).ftp, MQTT: (*Flow).mqtt, SIP: (*Flow).sip,
}

// begin starts with the next message.
func (f *Flow) begin(at int) {
	f.at, f.scan, f.seen, f.end, f.stage, f.need = at, at, at, 0, 0, 0
	if f.lost {
		return
	}
	f.own = f.own[:0]
	for i := range f.vals {
		if at := int(first[f.proto]) + i; at < int(numFields) && !fields[at].flow {
			f.vals[i] = value{}
		}
	}
}

// Begin is where the current message begins in the stream.
func (f *Flow) Begin() int { return f.at }

// Protocol is what the client speaks.
func (f *Flow) Protocol() (Protocol, Status) { return f.proto, f.known }

// Bytes is a field of the current message: a part of stream, which is what Step was
// given last, or memory of f's that is valid until the next Step. A field that has
// nothing to do with the flow's protocol is Absent.
func (f *Flow) Bytes(stream []byte, field Field) ([]byte, Status) {
	v, st := f.value(field)
	if v == nil || st < Partial {
		return nil, st
	}
	if v.status == lazy {
		f.compute(stream, field, v)
	}
	if v.status < Partial {
		return nil, v.status
	}
	switch {
	case v.in == inOwn:
		return f.own[v.from:v.to], v.status
	case v.in == inKept:
		return f.kept[v.from:v.to], v.status
	case v.to > len(stream):
		return nil, Unknown // not the stream that Step was given
	}
	return stream[v.from:v.to:v.to], v.status
}

// Int is a field that is a number, or 1 or 0 for a flag.
func (f *Flow) Int(field Field) (int, Status) {
	v, st := f.value(field)
	if v == nil || st < Partial {
		return 0, st
	}
	return v.n, st
}

// Status is how far a field is known, without computing it.
func (f *Flow) Status(field Field) Status {
	_, st := f.value(field)
	return st
}

// value finds a field's value; nil: there is none in this protocol.
func (f *Flow) value(field Field) (*value, Status) {
	switch {
	case f.known != Known:
		return nil, f.known
	case field >= numFields || fields[field].Protocol != f.proto:
		return nil, Absent
	}
	v := &f.vals[field-first[f.proto]]
	switch {
	case v.status == lazy:
		return v, Known
	case v.status == Unknown && f.lost:
		return v, Absent
	}
	return v, v.status
}

// slot is where a parser writes a field.
func (f *Flow) slot(field Field) *value { return &f.vals[field-first[f.proto]] }

// set says that a field is [from, to) of the stream.
func (f *Flow) set(field Field, from, to int) {
	*f.slot(field) = value{from: from, to: to, status: Known}
}

// setOwn says that a field is what own has grown by since from.
func (f *Flow) setOwn(field Field, from int) {
	*f.slot(field) = value{from: from, to: len(f.own), status: Known, in: inOwn}
}

// setText copies a field.
func (f *Flow) setText(field Field, s string) {
	from := len(f.own)
	f.own = append(f.own, s...)
	f.setOwn(field, from)
}

// keep copies a field that outlives its message. What has no room is cut.
func (f *Flow) keep(field Field, text []byte) {
	from := len(f.kept)
	f.kept = append(f.kept, text[:min(len(text), maxKept-from)]...)
	*f.slot(field) = value{from: from, to: len(f.kept), status: Known, in: inKept}
}

// setUpper says that a field is [from, to) of the stream in capitals.
func (f *Flow) setUpper(field Field, b []byte, from, to int) {
	at := len(f.own)
	for _, c := range b[from:to] {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		f.own = append(f.own, c)
	}
	if string(f.own[at:]) == string(b[from:to]) {
		f.own = f.own[:at]
		f.set(field, from, to)
		return
	}
	f.setOwn(field, at)
}

// setLater says that a field is known but has to be computed from [from, to).
func (f *Flow) setLater(field Field, from, to int) {
	*f.slot(field) = value{from: from, to: to, status: lazy}
}

func (f *Flow) setFlag(field Field, yes bool) {
	n := 0
	if yes {
		n = 1
	}
	f.setInt(field, n)
}

func (f *Flow) setInt(field Field, n int) { *f.slot(field) = value{n: n, status: Known} }

// rest says that the fields which are not known yet will not come.
func (f *Flow) rest() {
	for i := range f.vals {
		if f.vals[i].status == Unknown {
			f.vals[i].status = Absent
		}
	}
}

// lose says that the stream has left its protocol.
func (f *Flow) lose() {
	f.lost = true
	f.rest()
}

// compute fills in a field that was left for later.
func (f *Flow) compute(stream []byte, field Field, v *value) {
	from := len(f.own)
	switch field {
	case HTTPURI:
		f.own = appendURI(f.own, stream[v.from:v.to])
	case HTTPHost:
		f.own = appendLower(f.own, stream[v.from:v.to])
	case TLSJA3, TLSJA4:
		f.fingerprint(stream, field)
		return
	case SSHHASSH:
		f.own = appendHASSH(f.own, stream[v.from:v.to])
	}
	f.setOwn(field, from)
}
