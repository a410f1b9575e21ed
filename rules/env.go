package rules

import (
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// names are what an expression may use.
var names = []string{
	"src", "dst", "sport", "dport", "ip_version", "decoy", "stream", "last", "answered",
	"packets", "bytes", "turns", "age", "idle", "proto",
	"in_net", "hex", "byte", "u16", "u32", "duration", "chance", "sample",
}

// env is what an expression sees of a flow.
type env struct {
	Src       string        `expr:"src"`
	Dst       string        `expr:"dst"`
	Sport     int           `expr:"sport"`
	Dport     int           `expr:"dport"`
	IPVersion int           `expr:"ip_version"`
	Decoy     string        `expr:"decoy"`
	Stream    string        `expr:"stream"`
	Last      string        `expr:"last"`
	Answered  string        `expr:"answered"`
	Packets   int           `expr:"packets"`
	Bytes     int           `expr:"bytes"`
	Turns     int           `expr:"turns"`
	Age       time.Duration `expr:"age"`
	Idle      time.Duration `expr:"idle"`
	Proto     string        `expr:"proto"`

	Byte   func(string, int) (int, error)    `expr:"byte"`
	U16    func(string, int) (int, error)    `expr:"u16"`
	U32    func(string, int) (int, error)    `expr:"u32"`
	Chance func(float64, ...int) bool        `expr:"chance"`
	Sample func(string, float64) bool        `expr:"sample"`
	Match  func(string, *regexp.Regexp) bool `expr:"match_bytes"`

	seed uint64
}

func newEnv(seed uint64) *env {
	e := &env{seed: seed, Sample: sample, Match: matchBytes}
	e.Byte = func(s string, i int) (int, error) { return number(s, i, 1) }
	e.U16 = func(s string, i int) (int, error) { return number(s, i, 2) }
	e.U32 = func(s string, i int) (int, error) { return number(s, i, 4) }
	e.Chance = e.chance
	return e
}

func (e *env) fill(f *Facts) {
	if e.Src == "" {
		e.Src, e.Dst = f.Src.Addr().String(), f.Dst.Addr().String()
		e.Sport, e.Dport, e.Decoy = int(f.Src.Port()), int(f.Dst.Port()), f.Decoy
		e.IPVersion = 6
		if f.Src.Addr().Is4() {
			e.IPVersion = 4
		}
	}
	e.Stream, e.Last, e.Answered = view(f.Stream), view(f.Last), view(f.Answered)
	e.Packets, e.Bytes, e.Turns = f.Packets, f.Bytes, f.Turns
	e.Age, e.Idle = f.Age, f.Idle
}

// number reads n bytes at i, big-endian. Beyond the end the rule is false.
func number(s string, i, n int) (v int, err error) {
	if i < 0 || i+n > len(s) {
		return 0, fmt.Errorf("offset %d is beyond the %d bytes", i, len(s))
	}
	for _, c := range []byte(s[i : i+n]) {
		v = v<<8 | int(c)
	}
	return v, nil
}

// chance rolls once for each flow and place in the rules.
func (e *env) chance(p float64, site ...int) bool {
	return rand.New(rand.NewPCG(e.seed, uint64(site[0]))).Float64() < p
}

// sample is the same for a client every time.
func sample(src string, p float64) bool {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(src) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return float64(h)/math.MaxUint64 < p
}

func parseDuration(s string) time.Duration { d, _ := time.ParseDuration(s); return d }

func duration(args ...any) (any, error) { return time.ParseDuration(args[0].(string)) }

func prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func inNet(args ...any) (any, error) {
	a, err := netip.ParseAddr(args[0].(string))
	if err != nil {
		return false, err
	}
	p, err := prefix(args[1].(string))
	if err != nil {
		return false, err
	}
	return p.Contains(a), nil
}

func decodeHex(s string) (string, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	return string(b), err
}

func unhex(args ...any) (any, error) { return decodeHex(args[0].(string)) }

// latin1 makes a pattern one that matches bytes read as runes: \xff, which the
// expression's own escapes have made U+00FF, is that byte; a rune beyond stands
// for the bytes of its UTF-8.
func latin1(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r <= 0xff {
			out = append(out, r)
			continue
		}
		for _, c := range []byte(string(r)) {
			out = append(out, rune(c))
		}
	}
	return string(out)
}

// byteReader reads each byte as a rune.
type byteReader struct {
	s string
	i int
}

// ReadRune is io.RuneReader's.
func (r *byteReader) ReadRune() (rune, int, error) {
	if r.i == len(r.s) {
		return 0, 0, io.EOF
	}
	c := r.s[r.i]
	r.i++
	return rune(c), 1, nil
}

func matchBytes(s string, re *regexp.Regexp) bool { return re.MatchReader(&byteReader{s: s}) }

func containsString(b []byte, lit string) bool { return strings.Contains(view(b), lit) }
