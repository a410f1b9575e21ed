package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"sleight/rules/pattern"
	"sleight/rules/proto"
)

// names are what an expression may use.
var names = []string{
	"src", "dst", "sport", "dport", "ip_version", "decoy", "stream", "last", "answered",
	"packets", "bytes", "turns", "age", "idle", "proto",
	"in_net", "hex", "byte", "u16", "u32", "duration", "chance", "sample",
	"seen", "switched", "first_seen", "conns", "rate", "novel", "tagged",
	"between", "weekday", "in_list",
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
	Weekday   string        `expr:"weekday"`

	Byte   func(string, int) (int, error)      `expr:"byte"`
	U16    func(string, int) (int, error)      `expr:"u16"`
	U32    func(string, int) (int, error)      `expr:"u32"`
	Chance func(float64) bool                  `expr:"chance"`
	Roll   func(float64, int) bool             `expr:"·roll"`
	Sample func(string, float64) (bool, error) `expr:"sample"`
	Match  func(string, *pattern.Pattern) bool `expr:"·match"`

	Text   func(int) (string, error)    `expr:"·text"`
	Number func(int) (int, error)       `expr:"·number"`
	Flag   func(int) (bool, error)      `expr:"·flag"`
	Header func(string) (string, error) `expr:"·header"`
	Known  func(int) bool               `expr:"·known"`

	Recall func(int, int) int      `expr:"·recall"`
	First  func() time.Duration    `expr:"·first"`
	Tagged func(string) bool       `expr:"·tagged"`
	Novel  func(int) (bool, error) `expr:"·novel"`

	Between func(int, int) bool               `expr:"·between"`
	Listed  func(string, *list) (bool, error) `expr:"·listed"`

	SynTTL     int    `expr:"·syn_ttl"`
	SynWindow  int    `expr:"·syn_window"`
	SynOptions string `expr:"·syn_options"`
	SynMSS     int    `expr:"·syn_mss"`
	SynIPID    int    `expr:"·syn_ipid"`
	SynSeq     int    `expr:"·syn_seq"`

	flow *proto.Flow
	said []byte // what it was given

	now time.Time

	recaller *recaller // nil: no rule asks for what other flows did

	seed uint64
}

func newEnv(seed uint64, s *sampler, p *proto.Flow) *env {
	e := &env{seed: seed, flow: p, Sample: s.sample, Match: func(s string, p *pattern.Pattern) bool { return p.Match(s) }}
	e.Byte = func(s string, i int) (int, error) { return number(s, i, 1) }
	e.U16 = func(s string, i int) (int, error) { return number(s, i, 2) }
	e.U32 = func(s string, i int) (int, error) { return number(s, i, 4) }
	e.Roll, e.Text, e.Number, e.Flag, e.Header, e.Known = e.roll, e.text, e.number, e.flag, e.header, e.known
	e.Between, e.Listed = e.between, listed
	return e
}

// remember gives a flow's expressions the memory.
func (e *env) remember(fl *Flow) {
	r := &recaller{memory: fl.set.memory, fl: fl}
	e.recaller, e.Recall, e.First, e.Tagged, e.Novel = r, r.recall, r.first, r.tagged, e.novel
}

func (e *env) fill(f *Facts) {
	if e.Src == "" {
		e.Src, e.Dst = f.Src.Addr().Unmap().String(), f.Dst.Addr().Unmap().String()
		e.Sport, e.Dport, e.Decoy = int(f.Src.Port()), int(f.Dst.Port()), f.Decoy
		e.SynTTL, e.SynWindow, e.SynOptions = int(f.SYN.TTL), int(f.SYN.Window), f.SYN.Options.String()
		e.SynMSS, e.SynIPID, e.SynSeq = int(f.SYN.MSS), int(f.SYN.IPID), int(f.SYN.Seq)
		e.IPVersion = 6
		if f.Src.Addr().Unmap().Is4() {
			e.IPVersion = 4
		}
	}
	e.Stream, e.Last, e.Answered = view(f.Stream), view(f.Last), view(f.Answered)
	e.Packets, e.Bytes, e.Turns = f.Packets, f.Bytes, f.Turns
	e.Age, e.Idle = f.Age, f.Idle
	e.now, e.Weekday = f.Now, weekdays[f.Now.Weekday()]
	if e.recaller != nil {
		e.recaller.src, e.recaller.now, e.recaller.said = f.Src.Addr(), f.Now, f.Stream
	}
	e.said = f.Stream
	if e.flow != nil {
		p, _ := e.flow.Protocol()
		e.Proto = p.String()
	}
}

// text is a field of bytes; what is absent is empty.
func (e *env) text(field int) (string, error) {
	b, st := e.flow.Bytes(e.said, proto.Field(field))
	if st == proto.Unknown {
		return "", errUnknown
	}
	return view(b), nil
}

func (e *env) number(field int) (int, error) {
	n, st := e.flow.Int(proto.Field(field))
	if st < proto.Partial {
		return 0, errUnknown
	}
	return n, nil
}

func (e *env) flag(field int) (bool, error) {
	n, err := e.number(field)
	return n != 0, err
}

// header is the value of a header field, whose name is in lower case.
func (e *env) header(name string) (string, error) {
	b, st := e.flow.Header(e.said, name)
	if st == proto.Unknown {
		return "", errUnknown
	}
	return view(b), nil
}

// known reports whether a comparison with a field can be answered. A number that is
// absent has no value, and can be compared with nothing.
func (e *env) known(field int) bool {
	f := proto.Field(field)
	if f == protoFact {
		_, st := e.flow.Protocol()
		return st != proto.Unknown
	}
	st := e.flow.Status(f)
	return st >= proto.Partial || st == proto.Absent && f.Info().Kind == proto.Bytes
}

// number reads n bytes at i, big-endian. Beyond the end the rule is false.
func number(s string, i, n int) (v int, err error) {
	if i < 0 || i > len(s)-n {
		return 0, fmt.Errorf("offset %d is beyond the %d bytes", i, len(s))
	}
	for _, c := range []byte(s[i : i+n]) {
		v = v<<8 | int(c)
	}
	return v, nil
}

// roll rolls once for each flow and place in the rules. The compiler puts it in
// place of chance, whose field only lends its type.
func (e *env) roll(p float64, site int) bool {
	return rand.New(rand.NewPCG(e.seed, uint64(site))).Float64() < p
}

// forget lets go of the flow's bytes, whose memory is the record's.
func (e *env) forget() {
	e.Stream, e.Last, e.Answered, e.said = "", "", "", nil
	if e.recaller != nil {
		e.recaller.said = nil
	}
}

// sampler draws clients: the same one every time, and unforeseeable without
// the key. A client is a prefix (limits.client_prefix).
type sampler struct {
	key      [32]byte
	ip4, ip6 int // prefix lengths, bits
}

func (s *sampler) sample(src string, p float64) (bool, error) {
	a, err := netip.ParseAddr(src)
	if err != nil {
		return false, err
	}
	bits := s.ip6
	if a.Is4() {
		bits = s.ip4
	}
	client, err := a.Prefix(bits)
	if err != nil {
		return false, err
	}
	var b [48]byte
	copy(b[:], s.key[:])
	ip := client.Addr().As16()
	copy(b[32:], ip[:])
	h := sha256.Sum256(b[:])
	return float64(binary.BigEndian.Uint64(h[:])>>11)/(1<<53) < p, nil
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

func containsString(b []byte, lit string) bool { return strings.Contains(view(b), lit) }
