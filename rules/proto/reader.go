package proto

// reader takes numbers and strings of bytes off a message's front. What reads
// beyond its end gives nothing, and sets short.
type reader struct {
	b     []byte
	at    int // bytes taken
	short bool
}

// take is the next n bytes.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.short, r.at = true, len(r.b)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

// rest is what has not been taken.
func (r *reader) rest() []byte { return r.b[r.at:] }

// empty reports whether everything was taken.
func (r *reader) empty() bool { return r.at == len(r.b) }

// be is a big-endian number of n bytes, le a little-endian one.
func (r *reader) be(n int) (v int) {
	for _, c := range r.take(n) {
		v = v<<8 | int(c)
	}
	return v
}

func (r *reader) le(n int) (v int) {
	for i, c := range r.take(n) {
		v |= int(c) << (8 * i)
	}
	return v
}

// sized is what follows a big-endian length of n bytes.
func (r *reader) sized(n int) []byte { return r.take(r.be(n)) }

// sub reads on in what follows a big-endian length of n bytes.
func (r *reader) sub(n int) reader {
	b := r.sized(n)
	return reader{b: b, short: r.short}
}
