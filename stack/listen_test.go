package stack

import "testing"

// heard waits until the flow's service has read n bytes and rests.
func (b *bench) heard(g *Gate, n uint64) {
	b.t.Helper()
	eventually(b.t, "it is heard, and nobody runs any more", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.read == n && b.decoy.Stats().Goroutines == 0
	})
}

// A silent client costs no goroutine, whatever the service said before; what it says
// in the end is read all the same, and its FIN answered.
func TestASilentClientCostsNoGoroutine(t *testing.T) {
	for i, tt := range []struct {
		name    string
		service Service
		says    string
	}{
		{"silent", Service{Kind: Silent}, ""},
		{"banner", Service{Kind: Banner, Banner: []byte("220 ready\r\n")}, "220 ready\r\n"},
		{"script that is at its end", Service{Kind: Script, Turns: []Turn{{Send: []byte("bye")}}, Close: true}, "bye"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			g, src, dst := b.expect(tt.service, uint16(4600+2*i), nil)
			c := b.connect(src, dst)
			want(t, c, tt.says)
			b.heard(g, 0)
			say(t, c, "anybody?")
			b.heard(g, 8)
			say(t, c, "no?")
			b.heard(g, 11)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantEOF(t, c)
			eventually(t, "the service has closed as well", g.Closed)
			g.Forget()
			b.wantBase()
		})
	}
}

// A listener keeps the gate's rules: at the cut it says no more, not even its FIN.
func TestAListenerClosesOnlyOnceReleased(t *testing.T) {
	b := newBench(t)
	g, src, dst := b.expect(Service{Kind: Silent}, 4610, nil)
	c := b.connect(src, dst)
	b.heard(g, 0)
	freeze(g)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is heard", func() bool { return b.decoy.Stats().Goroutines == 1 })
	wantSilence(t, c)
	if g.Closed() {
		t.Error("closed at a frozen gate")
	}
	g.Release()
	eventually(t, "it closes", g.Closed)
	g.Forget()
	b.wantBase()
}
