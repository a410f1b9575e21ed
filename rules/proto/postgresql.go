package proto

// Codes of the messages without a type
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
const (
	pgCancel  = 80877102
	pgTLS     = 80877103
	pgGSS     = 80877104
	pgMajor   = 3
	maxPGText = 10000 // PostgreSQL's own bound of a start-up packet
)

// isPostgreSQL knows a start-up packet, or a request for encryption, by its
// length and code.
func isPostgreSQL(b []byte) Status {
	st := alike(b, 0, 0, any, any)
	if st != Known {
		return st
	}
	if len(b) >= 8 {
		r := reader{b: b}
		size, code := r.be(4), r.be(4)
		if size < 8 || size > maxPGText || code>>16 != pgMajor && (code < pgCancel || code > pgGSS) {
			return Absent
		}
		return Known
	}
	// 3.x, or 1234 and 5678 to 5680 in two bytes each.
	return either(alike(b, 0, 0, any, any, 0, 3, 0, any), alike(b, 0, 0, any, any, 0x04, 0xd2, 0x16, any))
}

// postgresql reads one message: without a type until the start-up packet has come.
func (f *Flow) postgresql(b []byte) {
	r := reader{b: b, at: f.at}
	if f.messages > 0 {
		f.pgMessage(&r)
		return
	}
	size := r.be(4)
	code := r.be(4)
	if !r.short && (size < 8 || size > maxPGText) {
		f.lose()
		return
	}
	body := reader{b: r.take(size - 8)}
	if r.short {
		return
	}
	f.end = r.at
	switch {
	case code == pgTLS:
		f.setFlag(PostgreSQLTLS, true)
		return
	case code == pgGSS:
		return
	case code>>16 != pgMajor:
		f.lose()
		return
	}
	f.messages++
	if f.slot(PostgreSQLTLS).status == Unknown {
		f.setFlag(PostgreSQLTLS, false)
	}
	f.pgParameters(&body, r.at-len(body.b))
	f.rest()
}

// pgParameters reads pairs of a name and a value, each ended by a zero.
func (f *Flow) pgParameters(r *reader, from int) {
	for !r.empty() {
		name := cstring(r)
		if len(name) == 0 {
			return
		}
		switch string(name) {
		case "user":
			f.setUpTo0(PostgreSQLUser, r, from)
		case "database":
			f.setUpTo0(PostgreSQLDatabase, r, from)
		case "application_name":
			f.setUpTo0(PostgreSQLApplication, r, from)
		default:
			cstring(r)
		}
	}
}

// pgMessage reads a message with a type.
func (f *Flow) pgMessage(r *reader) {
	typ, size := r.be(1), r.be(4)
	if !r.short && (size < 4 || !isLetter(byte(typ))) {
		f.lose()
		return
	}
	body := r.take(size - 4)
	if r.short {
		return
	}
	f.end = r.at
	if typ == 'Q' {
		q := reader{b: body}
		f.setUpTo0(PostgreSQLQuery, &q, r.at-len(body))
	}
	f.rest()
}
