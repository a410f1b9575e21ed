package memory

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// The file is a magic with the format's number, a CRC-32 (Castagnoli) of what follows,
// and that: a snapshot as encoding/gob writes it.
const (
	magic   = "sleight memory 1\n"
	maxFile = 1 << 30 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is what a file is that is no memory.
var ErrDamaged = errors.New("the file is damaged")

// snapshot is a memory in a file.
type snapshot struct {
	Secret  uint64
	Clients []savedClient // who was here last comes last
	Old     []uint64      // of what was said
	Young   []uint64
	Born    stamp
}

type savedClient struct {
	Client                netip.Addr
	First, Last, Switched stamp
	Conns, Packets        []uint64
	ConnsWhole            stamp
	PacketsWhole          stamp
	Tags                  []savedTag
	Counts                []savedCount
}

type savedTag struct {
	Name  string
	Until stamp
}

type savedCount struct {
	What  uint64
	Until stamp
	N     uint32
}

// Save writes the memory to a file, whole or not at all, if it has changed since the
// last time. One goroutine at a time may call it. It locks a part of the memory at a
// time, so that flows wait for no more than that.
func (m *Memory) Save(file string) error {
	n := m.writes.Load()
	if n == m.saved {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write(make([]byte, 4))
	if err := gob.NewEncoder(&b).Encode(m.snapshot()); err != nil {
		return fmt.Errorf("write the memory: %w", err)
	}
	out := b.Bytes()
	binary.BigEndian.PutUint32(out[len(magic):], crc32.Checksum(out[len(magic)+4:], castagnoli))
	if err := replace(file, out); err != nil {
		return fmt.Errorf("write the memory: %w", err)
	}
	m.saved = n
	return nil
}

// replace puts a new file in the place of an old one.
func replace(file string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".new*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Load fills an empty memory from a file. Without a file it stays empty.
func (m *Memory) Load(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the memory: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("read the memory: %w", err)
	}
	if err := m.decode(b); err != nil {
		return fmt.Errorf("read the memory %s: %w", file, err)
	}
	return nil
}

func (m *Memory) decode(b []byte) error {
	body, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok || len(b) > maxFile || len(body) < 4 || binary.BigEndian.Uint32(body) != crc32.Checksum(body[4:], castagnoli) {
		return ErrDamaged
	}
	var s snapshot
	if err := gob.NewDecoder(bytes.NewReader(body[4:])).Decode(&s); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m.restore(&s)
	return nil
}

func (m *Memory) snapshot() *snapshot {
	out := &snapshot{Secret: m.Secret(), Born: math.MaxInt64}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for c := s.ring.newer; c != &s.ring; c = c.newer {
			out.Clients = append(out.Clients, c.saved())
		}
		s.mu.Unlock()
	}
	for i := range m.said {
		s := &m.said[i]
		s.mu.Lock()
		out.Old = appendKeys(out.Old, s.old)
		out.Young = appendKeys(out.Young, s.young)
		if s.young != nil {
			out.Born = min(out.Born, s.born)
		}
		s.mu.Unlock()
	}
	slices.SortStableFunc(out.Clients, func(a, b savedClient) int { return int(a.Last - b.Last) })
	return out
}

func appendKeys(to []uint64, from map[uint64]struct{}) []uint64 {
	for h := range from {
		to = append(to, h)
	}
	return to
}

func (c *client) saved() savedClient {
	s := savedClient{
		Client: netip.AddrFrom16(c.key), First: c.first, Last: c.last, Switched: c.switched,
		Conns: words(c.conns.groups), ConnsWhole: c.conns.whole,
		Packets: words(c.packets.groups), PacketsWhole: c.packets.whole,
	}
	for _, t := range c.tags {
		s.Tags = append(s.Tags, savedTag{t.name, t.until})
	}
	for _, w := range c.counts {
		s.Counts = append(s.Counts, savedCount{w.what, w.until, w.n})
	}
	return s
}

func words(groups []group) []uint64 {
	out := make([]uint64, len(groups))
	for i, g := range groups {
		out[i] = uint64(g)
	}
	return out
}

// restore takes what a file had within the bounds of this memory.
func (m *Memory) restore(s *snapshot) {
	m.secret.Store(s.Secret)
	for i := range s.Clients {
		from := &s.Clients[i]
		if !from.Client.IsValid() {
			continue
		}
		m.note(from.Last, from.Client, func(c *client) { c.restore(from) })
	}
	for _, h := range s.Old {
		m.learn(s.Born, h)
	}
	for _, h := range s.Young {
		m.learn(s.Born, h)
	}
	m.saved = m.writes.Load()
	for i := range m.forgotten {
		m.forgotten[i].Store(0)
	}
}

func (c *client) restore(from *savedClient) {
	c.first, c.last, c.switched = from.First, from.Last, from.Switched
	c.conns = history{groupsOf(from.Conns), from.ConnsWhole}
	c.packets = history{groupsOf(from.Packets), from.PacketsWhole}
	c.tags, c.counts = nil, nil
	for _, t := range from.Tags[:min(len(from.Tags), maxTags)] {
		c.tags = append(c.tags, tag{t.Name, t.Until})
	}
	for _, w := range from.Counts[:min(len(from.Counts), maxCounts)] {
		c.counts = append(c.counts, count{w.What, w.Until, w.N})
	}
}

func groupsOf(words []uint64) []group {
	words = words[:min(len(words), maxGroups)]
	out := make([]group, 0, len(words))
	for _, w := range words {
		if g := group(w); g.size() < 16 {
			out = append(out, g)
		}
	}
	return out
}
