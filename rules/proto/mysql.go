package proto

import "bytes"

// Capabilities (https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html).
const (
	mysqlWithDB    = 1 << 3
	mysqlProto41   = 1 << 9
	mysqlTLS       = 1 << 11
	mysqlSecure    = 1 << 15
	mysqlLongReply = 1 << 21 // PLUGIN_AUTH_LENENC_CLIENT_DATA
	mysqlComQuery  = 3
)

// isMySQL knows the client's answer to a greeting by its sequence number,
// capabilities and the zeros that it keeps free.
func isMySQL(b []byte) Status {
	st := alike(b, any, any, 0, 1, any, any, any, any, any, any, any, any, any,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if len(b) > 5 && b[5]&(mysqlProto41>>8) == 0 {
		return Absent
	}
	return st
}

// mysql reads one packet: a length of three bytes, a sequence number.
func (f *Flow) mysql(b []byte) {
	r := reader{b: b, at: f.at}
	size, seq := r.le(3), r.be(1)
	p := r.take(size)
	if r.short {
		return
	}
	f.end = r.at
	from := r.at - len(p)
	switch {
	case f.messages == 0:
		f.mysqlLogin(p, from)
	case seq == 0 && len(p) > 0 && p[0] == mysqlComQuery:
		f.set(MySQLQuery, from+1, r.at)
	}
	f.messages++
	f.rest()
}

// mysqlLogin reads a HandshakeResponse41, or the SSLRequest that is its beginning.
func (f *Flow) mysqlLogin(p []byte, from int) {
	r := reader{b: p}
	caps := r.le(4)
	f.setFlag(MySQLTLS, caps&mysqlTLS != 0)
	if len(p) <= 32 {
		f.lost = true // TLS follows
		return
	}
	r.take(28)
	f.setUpTo0(MySQLUser, &r, from)
	switch {
	case caps&mysqlLongReply != 0:
		n := r.be(1)
		if n == 0xfc {
			n = r.le(2)
		}
		r.take(n)
	case caps&mysqlSecure != 0:
		r.sized(1)
	default:
		cstring(&r)
	}
	if caps&mysqlWithDB != 0 {
		f.setUpTo0(MySQLDatabase, &r, from)
	}
}

// setUpTo0 says that a field is what r has next, up to a zero or its end. r reads
// what lies at from in the stream.
func (f *Flow) setUpTo0(field Field, r *reader, from int) {
	at := r.at
	if text := cstring(r); !r.short {
		f.set(field, from+at, from+at+len(text))
	}
}

// cstring is what r has up to a zero, which is taken as well.
func cstring(r *reader) []byte {
	text, _, ok := bytes.Cut(r.rest(), []byte{0})
	r.take(len(text))
	if ok {
		r.take(1)
	}
	return text
}
