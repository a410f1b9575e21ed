package rules

import (
	"bytes"
	"math/bits"
	"net/netip"
	"slices"

	"sleight/rules/proto"
)

// payload hashes what a client says as it comes, with each address in it replaced by
// the same word: what differs only in the address that it names is the same payload.
// The hash of a beginning says of a stream how it began, however it was cut.
type payload struct {
	hash  uint64
	units int    // hashed so far: bytes, and addresses
	mark  uint64 // the hash at the last place that is remembered
	at    int    // bytes of the stream that are in hash
	plain bool   // the run at `at` is too long for an address
}

const (
	// fineUnits is up to where a stream's every beginning is remembered; beyond, each
	// that is a multiple of coarse.
	fineUnits = 1024
	coarse    = 32
	// maxRun is the longest text of an address with a port, in bytes.
	maxRun = 48
)

// place is one that is remembered.
func (p *payload) place() bool { return p.units <= fineUnits || p.units%coarse == 0 }

// add hashes one byte, or an address.
func (p *payload) add(c uint64, marks *[]uint64) {
	hi, lo := bits.Mul64(p.hash^(c+0x9e3779b97f4a7c15), 0xd6e8feb86659fd93)
	p.hash = hi ^ lo
	p.units++
	if p.place() {
		p.mark = p.hash
		if marks != nil {
			*marks = append(*marks, p.mark)
		}
	}
}

// address is what all addresses are hashed as.
const address = 256

// feed takes the stream as it has grown. What may become an address waits for its end.
func (p *payload) feed(stream []byte, whole bool, marks *[]uint64) {
	for p.at < len(stream) {
		n := runLength(stream[p.at:])
		switch {
		case n == 0:
			p.plain = false
			p.add(uint64(stream[p.at]), marks)
			p.at++
			continue
		case p.plain || n > maxRun:
			p.plain = true
			p.raw(stream[:p.at+n], marks)
			continue
		case p.at+n == len(stream) && !whole:
			return
		}
		if a := addressLength(stream[p.at : p.at+n]); a > 0 {
			p.add(address, marks)
			p.at += a
			n -= a
		}
		p.raw(stream[:p.at+n], marks)
	}
}

// raw hashes bytes as they are, to the end of what it is given.
func (p *payload) raw(stream []byte, marks *[]uint64) {
	for ; p.at < len(stream); p.at++ {
		p.add(uint64(stream[p.at]), marks)
	}
}

// learn appends the hashes of a stream's beginnings.
func (p *payload) learn(stream []byte, marks *[]uint64) { p.feed(stream, false, marks) }

// runLength is how many bytes in front can be part of an address; it looks no further
// than is needed to know that they are too many.
func runLength(b []byte) int {
	for i, c := range b[:min(len(b), maxRun+1)] {
		isHex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if !isHex && c != '.' && c != ':' {
			return i
		}
	}
	return min(len(b), maxRun+1)
}

// addressLength is how much of a run is an address, without a port or the point that
// ends a sentence; 0: it is none.
func addressLength(run []byte) int {
	run = bytes.TrimRight(run, ".:")
	dots, colons := bytes.Count(run, []byte{'.'}), bytes.Count(run, []byte{':'})
	if dots == 3 && colons == 1 {
		run = run[:bytes.IndexByte(run, ':')]
		colons = 0
	}
	if len(run) == 0 || dots != 3 && colons < 2 {
		return 0
	}
	// Of the text nothing is kept, not even in an error.
	if _, err := netip.ParseAddr(view(run)); err != nil {
		return 0
	}
	return len(run)
}

// saying is what a flow has asked about of what its client says.
type saying struct {
	stream payload
	fields []uint64 // hashes
}

// ask is the flow's saying, of which there is none before a rule asks.
func (fl *Flow) ask() *saying {
	if fl.saying == nil {
		fl.saying = &saying{stream: payload{hash: fl.salt(proto.NoField)}}
	}
	return fl.saying
}

// maxPayloads bounds the fields that a flow asks about, and leaves to the memory.
const maxPayloads = 64

// salt is what a hash begins with: the same text is another payload in another field,
// and at another port. The stream itself is NoField.
func (fl *Flow) salt(field proto.Field) uint64 {
	return fl.set.memory.Secret() ^ uint64(field)<<48 ^ uint64(fl.dialled)<<32
}

// novel reports whether no other flow's stream began like this one.
func (fl *Flow) novel(stream []byte) bool {
	if fl.set.memory == nil {
		return len(stream) > 0
	}
	p := &fl.ask().stream
	before := p.at
	p.feed(stream, false, nil)
	fl.work += p.at - before
	return p.units > 0 && !fl.set.memory.Known(p.mark)
}

// novelField reports whether no other flow's field was this.
func (fl *Flow) novelField(field proto.Field, text []byte) bool {
	if fl.set.memory == nil {
		return true
	}
	p := payload{hash: fl.salt(field)}
	p.feed(text, true, nil)
	p.add(address+1, nil) // its end
	said := fl.ask()
	if !slices.Contains(said.fields, p.hash) && len(said.fields) < maxPayloads {
		said.fields = append(said.fields, p.hash)
	}
	return !fl.set.memory.Known(p.hash)
}
