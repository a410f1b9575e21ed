// Package config reads, defaults and checks the configuration. Every mistake is
// reported at once, each with its file, line and column and what to do.
package config

import (
	"net/netip"
	"time"
)

// Config is the whole configuration, with defaults filled in.
type Config struct {
	File     string
	Observe  bool
	Sensor   string
	TUN      TUN
	Routing  Routing
	Routes   []netip.Prefix // claimed prefixes
	Pool     []netip.Prefix // nat.pool
	Decoys   []Decoy
	Default  Default
	Backends []Backend
	Rules    []Rule
	Lists    []List
	// Conditions are names for expressions, for rules and for later conditions.
	Conditions []Condition

	Suricata Suricata
	Memory   Memory
	Limits   Limits
	Timeouts Timeouts
	Events   string // file; "-": standard output
	Log      Log
	Control  string // socket; empty: in StateDir
	StateDir string
	Debug    Debug

	routeAt []Place          // of each of Routes
	at      map[string]Place // of the values of keys that are in no list
}

// TUN is the devices'.
type TUN struct {
	Name    string
	MTU     int // bytes
	Queues  int // 0: one for each CPU
	Offload bool

	BusyPoll time.Duration // before a reader blocks; 0: it blocks at once
	Kernel   string        // auto, off: whether the kernel carries plain spliced flows, if it can
}

// Routing says who sets up routes: manage, check or off.
type Routing struct {
	Setup           string
	Table, Priority int
}

// Match is a decoy's or rule's; what is empty matches anything.
type Match struct {
	Dst, Src []netip.Prefix
	Ports    []Ports
}

// Ports is an inclusive range.
type Ports struct{ First, Last uint16 }

// Decoy is one entry of decoys.
type Decoy struct {
	Name    string
	Match   Match
	Service Service
	Replay  Replay
}

// Service is a decoy's; the fields are those of its type.
type Service struct {
	Place
	Type           string
	Banner         []byte
	Close          bool
	Turns          []Turn
	Otherwise      []byte
	Server         string
	Pages          []Page
	Address        string
	ConnectTimeout time.Duration
	ProxyProtocol  string
}

// Turn is one of a script's.
type Turn struct {
	Place
	Expect         string
	Send           []byte
	Delay          time.Duration
	Expected, Sent Place // where expect and send stand
}

// Page is one of an http service's.
type Page struct {
	Place
	Path    string
	Status  int
	Headers [][2]string
	Body    []byte
}

// Replay is how a switch compares.
type Replay struct {
	Timeout time.Duration
	Compare string
	Quiet   time.Duration
	Except  []string
	Frame   string
}

// Default is done with what no decoy matches: drop or reset.
type Default struct{ TCP, UDP, ICMP string }

// Backend is one real host.
type Backend struct {
	Name     string
	V4, V6   netip.Addr
	Mode     string // keep, client or nat
	Ports    map[uint16]uint16
	Device   string
	MaxFlows int // 0: no limit
}

// Expression is a rule's or a condition's; At is the place of a mistake within it.
type Expression struct {
	Place
	When   string
	places []Place // of each character of When, and of what follows
}

// Rule is one entry of rules.
type Rule struct {
	Expression
	Name    string
	Match   Match
	Action  string
	Backend string
	// Suricata: and one of Suricata's rules that it picks has matched. nil: not asked.
	Suricata *Selector
	On       string // open, data or idle; empty: any
	Tag      Tag
	// Threshold: from a client's so manieth connection on. The zero one: at once.
	Threshold Threshold
	OncePer   time.Duration // 0: always
}

// Tag is what a rule gives to a client; without a name, nothing.
type Tag struct {
	Name string
	For  time.Duration
}

// Threshold is how many connections, and within what time.
type Threshold struct {
	Count int
	In    time.Duration
}

// Memory is what rules remember of other connections.
type Memory struct {
	Clients, Payloads int
	Keep              time.Duration
	File              string // empty: memory in StateDir
}

// Limits bound what peers can grow; sizes in bytes.
type Limits struct {
	Flows, FlowsPerClient, PrefixV4, PrefixV6, HalfOpen int
	Record, DecoyRecord, RecordTotal, Held              int
	Switching                                           int
}

// Timeouts end what stands still.
type Timeouts struct{ Handshake, Answering, Established, Closing, Drain time.Duration }

// Debug is for whoever looks into a running gateway.
type Debug struct{ PPROF bool }

// Log is standard error's.
type Log struct{ Level, Format string }

// Default values of everything that has one.
func defaults() *Config {
	return &Config{
		TUN:     TUN{Name: "sleight", MTU: 1500, Offload: true, BusyPoll: 50 * time.Microsecond, Kernel: "auto"},
		Routing: Routing{Setup: "manage", Table: 5391, Priority: 5390},
		Default: Default{"drop", "drop", "drop"},
		Limits: Limits{
			Flows: 262144, FlowsPerClient: 1024, PrefixV4: 32, PrefixV6: 64, HalfOpen: 65536,
			Record: 64 << 10, DecoyRecord: 1 << 20, RecordTotal: 256 << 20, Held: 256 << 10,
			Switching: 4096, // a Linux host's listen queue: net.core.somaxconn
		},
		Timeouts: Timeouts{10 * time.Second, 2 * time.Minute, 2*time.Hour + 4*time.Minute, 4 * time.Minute, 30 * time.Second},
		Memory:   Memory{Clients: 1 << 16, Payloads: 1 << 20, Keep: 30 * 24 * time.Hour},
		Events:   "-",
		Log:      Log{"info", "text"},
		StateDir: "/run/sleight",
	}
}

func defaultReplay() Replay {
	return Replay{Timeout: 2 * time.Second, Compare: "auto", Quiet: 50 * time.Millisecond}
}
