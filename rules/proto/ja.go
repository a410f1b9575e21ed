package proto

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// fingerprint computes JA3 or JA4 from the ClientHello. It is computed once.
func (f *Flow) fingerprint(stream []byte, field Field) {
	v := f.slot(field)
	b := stream
	if v.in == inOwn {
		b = f.own
	}
	var h clientHelloFields
	if v.to > len(b) || !h.parse(b[v.from:v.to]) {
		v.status = Absent
		return
	}
	from := len(f.own)
	if field == TLSJA3 {
		sum := md5.Sum(h.appendJA3(nil))
		f.own = hex.AppendEncode(f.own, sum[:])
	} else {
		f.own = h.appendJA4(f.own)
	}
	f.setOwn(field, from)
}

// appendJA3 writes what JA3 takes the MD5 of: version, ciphers, extensions, groups
// and point formats in decimal, without GREASE
// (https://github.com/salesforce/ja3, BSD-3-Clause).
func (h *clientHelloFields) appendJA3(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(h.version), 10)
	dst = appendDecimal(append(dst, ','), pairs(h.ciphers))
	dst = appendDecimal(append(dst, ','), h.types())
	dst = appendDecimal(append(dst, ','), pairs(h.groups))
	dst = append(dst, ',')
	for i, p := range h.points {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = strconv.AppendInt(dst, int64(p), 10)
	}
	return dst
}

func appendDecimal(dst []byte, vs []int) []byte {
	for i, v := range vs {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = strconv.AppendInt(dst, int64(v), 10)
	}
	return dst
}

// pairs are the numbers of two bytes each, without GREASE.
func pairs(b []byte) (vs []int) {
	for i := 0; i+1 < len(b); i += 2 {
		if v := u16(b[i:]); !grease(v) {
			vs = append(vs, v)
		}
	}
	return vs
}

// types are the extensions' types in order, without GREASE.
func (h *clientHelloFields) types() (vs []int) {
	for r := (reader{b: h.extensions}); !r.empty(); {
		v := r.be(2)
		r.sized(2)
		if !r.short && !grease(v) {
			vs = append(vs, v)
		}
	}
	return vs
}

// appendJA4 writes JA4, the TLS client's fingerprint and not its sisters
// (https://github.com/FoxIO-LLC/ja4, technical_details/JA4.md; BSD-3-Clause).
func (h *clientHelloFields) appendJA4(dst []byte) []byte {
	ciphers, types := pairs(h.ciphers), h.types()
	dst = append(dst, 't')
	dst = append(dst, ja4Version(h.highest())...)
	if h.hasSNI {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	dst = appendTwo(dst, len(ciphers))
	dst = appendTwo(dst, len(types))
	dst = h.appendALPN(dst)
	dst = append(dst, '_')
	slices.Sort(ciphers)
	dst = appendHash(dst, appendHex4(nil, ciphers))
	dst = append(dst, '_')
	types = slices.DeleteFunc(types, func(t int) bool { return t == extSNI || t == extALPN })
	slices.Sort(types)
	text := appendHex4(nil, types)
	if sigs := pairs(h.signatures); len(sigs) > 0 && len(types) > 0 {
		text = appendHex4(append(text, '_'), sigs)
	}
	return appendHash(dst, text)
}

func ja4Version(v int) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

func appendTwo(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendALPN writes the first and the last character of the first protocol; of the
// bytes' hexadecimal digits where one of them is not alphanumeric.
func (h *clientHelloFields) appendALPN(dst []byte) []byte {
	var name []byte
	h.protocols(func(n []byte) {
		if name == nil {
			name = n
		}
	})
	if len(name) == 0 {
		return append(dst, "00"...)
	}
	a, z := name[0], name[len(name)-1]
	if !alphanumeric(a) || !alphanumeric(z) {
		const digits = "0123456789abcdef"
		a, z = digits[a>>4], digits[z&15]
	}
	return append(dst, a, z)
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func appendHex4(dst []byte, vs []int) []byte {
	for i, v := range vs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = hex.AppendEncode(dst, []byte{byte(v >> 8), byte(v)})
	}
	return dst
}

// appendHash writes the first 12 digits of a text's SHA-256; zeros for no text.
func appendHash(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(dst, sum[:6])
}
