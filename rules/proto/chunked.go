package proto

// Where a chunked body (RFC 9112, section 7.1) stands, in Flow.need; what is
// greater than zero is how much of the current chunk is to come.
const (
	chunkSize    = 0  // at the beginning of a size's line
	chunkEnd     = -1 // at the end of line after a chunk
	chunkTrailer = -2 // at the beginning of a line of the trailer
)

// chunks copies a chunked body without its sizes, as far as it has come.
func (f *Flow) chunks(b []byte) {
	v := f.slot(HTTPBody)
	v.status = Partial
	for f.end == 0 && f.stage == httpChunks && f.scan < len(b) {
		if f.need > 0 {
			n := min(f.need, len(b)-f.scan)
			f.own = append(f.own, b[f.scan:f.scan+n]...)
			f.scan += n
			v.to = len(f.own)
			if f.need -= n; f.need == 0 {
				f.need = chunkEnd
			}
			continue
		}
		text, n, st := line(b[f.scan:], 4<<10)
		if st == Unknown {
			return
		}
		f.chunkLine(text, n, st)
	}
	if f.end > 0 {
		v.status = Known
	}
}

// chunkLine takes a line between chunks. What is no chunked body has no end.
func (f *Flow) chunkLine(text []byte, n int, st Status) {
	f.scan += n
	switch {
	case st == Absent:
		f.stage = httpClose
	case f.need == chunkEnd:
		f.need = chunkSize
	case f.need == chunkTrailer:
		if len(text) == 0 {
			f.end = f.scan
		}
	default:
		size, ok := hexNumber(text)
		switch {
		case !ok:
			f.stage = httpClose
		case size == 0:
			f.need = chunkTrailer
		default:
			f.need = size
		}
	}
}

// hexNumber reads the hexadecimal digits that a text begins with.
func hexNumber(text []byte) (n int, ok bool) {
	for i, c := range text {
		d := unhex(c)
		if d < 0 {
			return n, i > 0
		}
		if n = n<<4 | d; n > 1<<30 {
			return 0, false
		}
	}
	return n, len(text) > 0
}

// unhex is a hexadecimal digit's value; −1: it is none.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
