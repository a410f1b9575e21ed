package stack

// banner speaks first and then listens.
type banner struct {
	text  []byte
	close bool
}

func (s *banner) play(p *Peer) {
	p.Begin()
	err := p.Write(s.text)
	if err == nil && s.close {
		p.Close()
	}
	p.End()
}
