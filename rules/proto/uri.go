package proto

import "bytes"

// plainURI reports whether normalising changes nothing.
func plainURI(b []byte) bool {
	path, _, _ := bytes.Cut(b, []byte("?"))
	return bytes.IndexByte(b, '%') < 0 && !bytes.Contains(path, []byte("//")) && !bytes.Contains(path, []byte("/."))
}

// appendURI writes a URI as a server reads it: %XX decoded once, in the path also
// repeated slashes as one and the segments . and .. removed (RFC 3986, sections
// 5.2.4 and 6.2.2). "scheme://authority" before the path stays as it is.
func appendURI(dst, raw []byte) []byte {
	path, query, asked := bytes.Cut(raw, []byte("?"))
	if i := bytes.Index(path, []byte("://")); i > 0 && path[0] != '/' {
		n := i + 3
		if j := bytes.IndexByte(path[n:], '/'); j >= 0 {
			n += j
		} else {
			n = len(path)
		}
		dst = append(dst, path[:n]...)
		path = path[n:]
	}
	start := len(dst)
	dst = decode(dst, path)
	dst = dst[:start+tidy(dst[start:])]
	if asked {
		dst = append(dst, '?')
		dst = decode(dst, query)
	}
	return dst
}

// decode appends b with each %XX as the byte; a % without two digits stays.
func decode(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0 {
			c = byte(unhex(b[i+1])<<4 | unhex(b[i+2]))
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// tidy removes empty, . and .. segments in place and returns the new length.
func tidy(p []byte) int {
	if len(p) == 0 || p[0] != '/' {
		return len(p)
	}
	out := 0
	for i := 0; i < len(p); {
		j := i + 1 // p[i] is a slash
		for j < len(p) && p[j] != '/' {
			j++
		}
		seg := p[i:j]
		switch {
		case len(seg) == 1 && j < len(p), string(seg) == "/." && j < len(p):
		case string(seg) == "/.":
			out += copy(p[out:], "/")
		case string(seg) == "/..":
			for out > 0 {
				if out--; p[out] == '/' {
					break
				}
			}
			if j == len(p) {
				out += copy(p[out:], "/")
			}
		default:
			out += copy(p[out:], seg)
		}
		i = j
	}
	return out
}
