package proto

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
)

const (
	maxBanner  = 255   // RFC 4253, section 4.2, with CR and LF
	maxPacket  = 35000 // RFC 4253, section 6.1
	sshKexInit = 20
)

func isSSH(b []byte) Status { return begins(b, "SSH-") }

// ssh reads the identification (RFC 4253, section 4.2) and the KEXINIT (7.1) after
// it. What follows is the key exchange.
func (f *Flow) ssh(b []byte) {
	if f.stage == 0 {
		f.sshBanner(b)
	}
	if f.stage != 1 || f.lost || len(b) < f.scan+5 {
		return
	}
	r := reader{b: b, at: f.scan}
	size, pad := r.be(4), r.be(1)
	if size < 2+pad || size > maxPacket {
		f.lose()
		return
	}
	payload := r.take(size - 1 - pad)
	if r.short {
		return
	}
	f.stage = 2
	if payload[0] != sshKexInit {
		f.lose()
		return
	}
	f.setLater(SSHHASSH, r.at-len(payload), r.at)
}

func (f *Flow) sshBanner(b []byte) {
	text, next, st := line(b, maxBanner)
	switch {
	case st == Absent:
		f.lose()
		return
	case st == Unknown:
		return
	}
	f.stage, f.scan = 1, next
	f.set(SSHBanner, 0, len(text))
	proto, rest, ok := bytes.Cut(text[4:], []byte("-"))
	if !ok {
		f.lose()
		return
	}
	f.set(SSHProto, 4, 4+len(proto))
	software, _, _ := bytes.Cut(rest, []byte(" "))
	from := 5 + len(proto)
	f.set(SSHSoftware, from, from+len(software))
}

// appendHASSH writes the MD5 of what a KEXINIT offers for key exchange and, from
// client to server, for encryption, MAC and compression
// (https://github.com/salesforce/hassh, BSD-3-Clause).
func appendHASSH(dst, payload []byte) []byte {
	r := reader{b: payload}
	r.take(1 + 16) // type and cookie
	h := md5.New()
	for i := range 8 {
		list := r.sized(4)
		if i == 0 || i == 2 || i == 4 || i == 6 { // the others: host keys, server to client
			if i > 0 {
				h.Write([]byte(";"))
			}
			h.Write(list)
		}
	}
	if r.short {
		return dst // an empty text is no one's fingerprint
	}
	return hex.AppendEncode(dst, h.Sum(nil))
}
