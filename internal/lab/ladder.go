package lab

import (
	"errors"
	"iter"
	"net/netip"
	"os"
	"time"

	"sleight/internal/evidence/ladder"
	"sleight/internal/pcap"
)

// drawLadder draws conversation 2 from both captures, and writes the drawing beside
// them as text and as a figure.
func (l *lab) drawLadder() (*ladder.Ladder, error) {
	s := l.switched[0].local
	client, err := openLeg(l.client.File, s, netip.MustParseAddrPort(web))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	backend, err := openLeg(l.backend.File, s, netip.AddrPortFrom(realAddr(), 80))
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	d := ladder.New("Conversation 2 of the lab: a request that a rule matches, on a live connection", client.Captured, &backend.Captured)
	return d, errors.Join(
		client.Err(), backend.Err(),
		os.WriteFile(l.file(ladderText), []byte(d.Text(false)), 0o600),
		os.WriteFile(l.file(ladderFigure), []byte(d.SVG()), 0o600),
	)
}

// The files of the drawing.
const (
	ladderText   = "ladder.txt"
	ladderFigure = "ladder.svg"
)

// leg is one leg of a flow in an open capture.
type leg struct {
	*pcap.Reader
	ladder.Captured
}

func openLeg(file string, client, server netip.AddrPort) (*leg, error) {
	r, err := pcap.Open(file)
	if err != nil {
		return nil, err
	}
	return &leg{r, ladder.Captured{Client: client, Server: server, Packets: packetsOf(r)}}, nil
}

func packetsOf(r *pcap.Reader) iter.Seq2[time.Time, []byte] {
	return func(yield func(time.Time, []byte) bool) {
		for p := range r.All() {
			if !yield(p.Time, p.Data) {
				return
			}
		}
	}
}
