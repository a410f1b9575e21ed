package frame

// MQTT frames control packets (MQTT 5.0, section 2.1).
type MQTT struct{}

// Answers counts whole packets.
func (MQTT) Answers(_, b []byte, limit int) (n, size int) {
	for n < limit {
		end, ok := packet(b[size:])
		if !ok {
			return n, size
		}
		size += end
		n++
	}
	return n, size
}

// packet measures one packet: a byte, and a length of one to four bytes (section
// 1.5.5).
func packet(b []byte) (size int, ok bool) {
	length := 0
	for i := 1; i < len(b) && i <= 4; i++ {
		length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			size = i + 1 + length
			return size, size <= len(b)
		}
	}
	return 0, false
}
