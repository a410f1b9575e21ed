package redirect

// steering is the queue by which a peer's segments come, and by which those to it
// are written: the kernel steers a connection to the queue that last wrote for it,
// and two queues would overtake each other.
type steering struct{ queue, last uint8 }

func steeredTo(queue int) steering { return steering{uint8(queue), uint8(queue)} }

// came takes a segment of the peer's. One that comes by another queue may be the
// kernel's answer from within a write, before it has noted by which queue that was;
// the second in a row is not, as when the kernel has forgotten a quiet connection.
func (s *steering) came(queue int) {
	if uint8(queue) == s.last {
		s.queue = s.last
	}
	s.last = uint8(queue)
}
