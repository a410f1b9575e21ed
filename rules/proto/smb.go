package proto

import "bytes"

// isSMB knows a message on port 445 by its magic (MS-CIFS, section 2.2.3.1;
// MS-SMB2, section 2.2.1), and on port 139 a session request (RFC 1002, section
// 4.3.2).
func isSMB(b []byte) Status {
	return either(alike(b, 0, any, any, any, 0xff, 'S', 'M', 'B'),
		alike(b, 0, any, any, any, 0xfe, 'S', 'M', 'B'), alike(b, 0x81, 0, 0, 68))
}

// Commands.
const (
	smbNegotiate   = 0x72
	smbTransaction = 0x25
	smbTrans2      = 0x32
	smbNTTransact  = 0xa0
	smbTreeConnect = 0x75

	smb2Negotiate   = 0
	smb2TreeConnect = 3
)

// smb reads one message of the transport (RFC 1002, section 4.3.1: a type and a
// length).
func (f *Flow) smb(b []byte) {
	r := reader{b: b, at: f.at}
	typ := r.be(1)
	size := r.be(3)
	if r.short {
		return
	}
	if typ != 0 { // keep-alives and session requests
		f.smbEnd(b, r.at+size)
		return
	}
	m := b[r.at:min(len(b), r.at+size)]
	whole := len(m) == size
	switch {
	case len(m) < 16 && !whole:
		return
	case bytes.HasPrefix(m, []byte("\xffSMB")) && size >= 33:
		f.setInt(SMBVersion, 1)
		f.setInt(SMBCommand, int(m[4]))
		if whole {
			f.smb1(m)
		}
	case bytes.HasPrefix(m, []byte("\xfeSMB")) && size >= 64:
		f.setInt(SMBVersion, 2)
		f.setInt(SMBCommand, int(m[12])|int(m[13])<<8)
		if whole {
			f.smb2(m)
		}
	case bytes.HasPrefix(m, []byte("\xfdSMB")): // encrypted
	default:
		f.lose()
		return
	}
	f.smbEnd(b, r.at+size)
}

func (f *Flow) smbEnd(b []byte, end int) {
	if len(b) >= end {
		f.end = end
		for _, field := range [...]Field{SMBCommand, SMBSubcommand} {
			if v := f.slot(field); v.status == Unknown {
				v.status = Absent
			}
		}
	}
}

// smb1 reads a whole SMB message (MS-CIFS, section 2.2.3).
func (f *Flow) smb1(m []byte) {
	unicode := m[11]&0x80 != 0 // Flags2, SMB_FLAGS2_UNICODE
	r := reader{b: m, at: 32}
	words := reader{b: r.take(2 * r.be(1))}
	data := reader{b: r.take(r.le(2))}
	if r.short {
		data = reader{b: r.rest()}
	}
	switch m[4] {
	case smbNegotiate:
		f.smbDialects(data.b)
	case smbTransaction, smbTrans2:
		// Thirteen words and a half come before the setup's count (section
		// 2.2.4.46.1).
		words.take(26)
		if n := words.be(1); n > 0 && words.be(1) == 0 {
			if sub := words.le(2); !words.short {
				f.setInt(SMBSubcommand, sub)
			}
		}
	case smbNTTransact:
		words.take(36)
		if sub := words.le(2); !words.short {
			f.setInt(SMBSubcommand, sub)
		}
	case smbTreeConnect:
		words.take(6)
		password := words.le(2)
		data.take(password)
		if unicode && (35+len(words.b)+password)%2 != 0 { // aligned from the header on
			data.take(1)
		}
		f.smbShare(data.rest(), unicode)
	}
}

// smbDialects joins the names of a negotiation (section 2.2.4.52.1): each after a
// byte 2, ended by a zero.
func (f *Flow) smbDialects(b []byte) {
	b = bytes.Trim(b, "\x02\x00")
	if len(b) == 0 || f.slot(SMBDialects).status == Known {
		return
	}
	b = b[:min(len(b), maxKept/2)]
	f.keep(SMBDialects, bytes.ReplaceAll(b, []byte("\x00\x02"), []byte(",")))
}

var smb2Dialects = map[int]string{0x202: "2.0.2", 0x210: "2.1", 0x2ff: "2.?", 0x300: "3.0", 0x302: "3.0.2", 0x311: "3.1.1"}

// smb2 reads a whole SMB 2 message (MS-SMB2, sections 2.2.3 and 2.2.9).
func (f *Flow) smb2(m []byte) {
	r := reader{b: m, at: 64}
	r.take(2) // size of the structure
	switch int(m[12]) | int(m[13])<<8 {
	case smb2Negotiate:
		n := r.le(2)
		r.take(32)
		f.smb2Dialects(&r, min(n, 16))
	case smb2TreeConnect:
		r.take(2)
		at, size := r.le(2), r.le(2)
		r = reader{b: m}
		r.take(at)
		f.smbShare(r.take(size), true)
	}
}

func (f *Flow) smb2Dialects(r *reader, n int) {
	var text []byte
	for range n {
		name := smb2Dialects[r.le(2)]
		if name != "" && len(text) > 0 {
			text = append(text, ',')
		}
		text = append(text, name...)
	}
	if f.slot(SMBDialects).status != Known {
		f.keep(SMBDialects, text)
	}
}

// smbShare keeps a path up to its zero. Of UTF-16 what is not ASCII becomes "?".
func (f *Flow) smbShare(b []byte, unicode bool) {
	b = b[:min(len(b), maxKept/4)]
	var text []byte
	for step := 1; len(b) >= step && b[0] != 0; b = b[step:] {
		c := b[0]
		if unicode {
			if step = 2; len(b) < 2 {
				break
			}
			if b[1] != 0 {
				c = '?'
			}
		}
		text = append(text, c)
	}
	// The newest share takes the room of the one before.
	if v := f.slot(SMBShare); v.status == Known {
		f.kept = f.kept[:v.from]
	}
	f.keep(SMBShare, text)
}
