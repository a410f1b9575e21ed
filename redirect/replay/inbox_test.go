package replay

import (
	"bytes"
	"testing"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Bytes ahead of a hole are bounded, and so are the pieces that they come in;
// what was kept and is taken makes room again.
func TestAheadIsBounded(t *testing.T) {
	var b inbox
	b.init(0xffffff00)
	kept := func() (n int) {
		for _, p := range b.ahead {
			n += len(p.data)
		}
		if n != b.kept {
			t.Fatalf("%d bytes kept, %d counted", n, b.kept)
		}
		return n
	}
	chunk := bytes.Repeat([]byte("x"), 1000)
	for i := range 400 {
		b.add(b.first+1+tcb.Seq(1000*i), chunk, false)
	}
	if n := kept(); n != maxAhead/1000*1000 {
		t.Errorf("%d bytes kept, the bound is %d", n, maxAhead)
	}
	b.add(b.first, []byte("!"), false)
	if n := kept(); n != 0 || len(b.bytes) != 1+maxAhead/1000*1000 {
		t.Errorf("%d bytes kept, %d in order", n, len(b.bytes))
	}
	b.init(1000)
	for i := range maxAhead {
		b.add(tcb.Seq(1001+2*i), []byte("x"), false)
	}
	if len(b.ahead) != maxAhead/64 {
		t.Errorf("%d pieces, want %d", len(b.ahead), maxAhead/64)
	}
}

// A piece of which everything was there before changes nothing, wherever it ends.
func TestOldPieces(t *testing.T) {
	var b inbox
	b.init(1000)
	b.add(1000, []byte("abcdef"), false)
	b.add(1000, []byte("abc"), false)
	b.add(1000, []byte("abc"), true) // a FIN in the middle of what is there
	b.add(1003, []byte("DEFg"), false)
	if string(b.bytes) != "abcdefg" || b.fin {
		t.Errorf("%q, FIN %v", b.bytes, b.fin)
	}
	b.add(1007, nil, true)
	b.add(1008, []byte("later"), false)
	if string(b.bytes) != "abcdefg" || !b.fin || b.next() != 1008 {
		t.Errorf("%q, FIN %v, next %d", b.bytes, b.fin, b.next())
	}
}

// RFC 2018, section 4; a FIN alone is no block.
func TestBlocksOfTheInbox(t *testing.T) {
	var b inbox
	b.init(1000)
	for i := range 6 {
		b.add(tcb.Seq(1010+10*i), []byte("xy"), false)
	}
	b.add(2000, nil, true)
	var o wire.Options
	b.blocks(&o)
	if o.NumSACK != wire.MaxBlocks || o.SACK[0] != (wire.Block{Start: 1060, End: 1062}) || o.SACK[3] != (wire.Block{Start: 1030, End: 1032}) {
		t.Errorf("%v", o.Blocks())
	}
}
