package record

// Mark says that the decoy, once it had read Read bytes of the client's, had
// written up to Written bytes.
type Mark = struct{ Read, Written uint64 }

// Turn is what the client said and what the decoy answered to it.
type Turn struct{ Client, Answer []byte }

// Turns divides a conversation: a turn is closed once the decoy has written any
// of its answer, and open is what the client said after the last answer. A
// server that speaks first makes a first turn without client bytes.
func Turns(said, answered []byte, marks []Mark) (closed []Turn, open []byte) {
	var read, written uint64
	for i := 0; i < len(marks); i++ {
		m := marks[i]
		for i+1 < len(marks) && marks[i+1].Read == m.Read {
			i++
			m.Written = marks[i].Written
		}
		m.Read = min(max(m.Read, read), uint64(len(said)))
		m.Written = min(m.Written, uint64(len(answered)))
		if m.Written <= written {
			continue
		}
		closed = append(closed, Turn{said[read:m.Read], answered[written:m.Written]})
		read, written = m.Read, m.Written
	}
	return closed, said[read:]
}
