package suricata

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// keywords read what is no buffer.
var keywords map[string]func(p *parser, value string) error

func init() {
	ignore := func(*parser, string) error { return nil }
	keywords = map[string]func(*parser, string) error{
		"msg": (*parser).msg, "sid": (*parser).sid, "gid": (*parser).gid, "rev": (*parser).rev,
		"classtype": (*parser).classtype, "priority": (*parser).priority, "reference": (*parser).reference,
		"metadata": ignore, "target": ignore, "tag": ignore, "rawbytes": ignore, "logto": ignore,
		"flow": (*parser).flow, "flowbits": (*parser).flowbits, "noalert": (*parser).noalert,
		"threshold": (*parser).threshold, "detection_filter": (*parser).detectionFilter,
		"app-layer-protocol": (*parser).appProtocol,

		"content": (*parser).contentOption, "uricontent": (*parser).uricontent, "pcre": (*parser).pcre,
		"nocase":     flag(func(c *within) { c.nocase = true }),
		"startswith": flag(func(c *within) { c.starts = true }),
		"endswith":   flag(func(c *within) { c.ends = true }),
		"offset":     count(0, func(c *within, n int) { c.offset = n }),
		"depth":      count(1, func(c *within, n int) { c.depth = n }),
		"distance":   count(-1<<16, func(c *within, n int) { c.distance, c.relative = n, true }),
		"within":     count(1, func(c *within, n int) { c.within, c.relative = n, true }),

		"fast_pattern": (*parser).fastPattern,
		"dsize":        (*parser).dsize, "bsize": (*parser).bsize, "urilen": (*parser).urilen,
		"isdataat": (*parser).isdataat, "byte_test": (*parser).byteTest, "byte_jump": (*parser).byteJump,
	}
}

// flag makes a keyword that says something of the content before it.
func flag(set func(*within)) func(*parser, string) error {
	return func(p *parser, _ string) error {
		c, err := p.last()
		if err == nil {
			set(c)
		}
		return err
	}
}

// count makes a keyword that gives the content before it a number.
func count(least int, set func(*within, int)) func(*parser, string) error {
	return func(p *parser, value string) error {
		c, err := p.last()
		if err != nil {
			return err
		}
		n, err := number(value, least, 1<<16)
		if err == nil {
			set(c, n)
		}
		return err
	}
}

func (p *parser) msg(value string) error {
	text, _, err := unquote(value)
	p.r.Msg = plain(text)
	return err
}

func (p *parser) sid(value string) (err error) {
	p.r.SID, err = number(value, 1, 1<<32-1)
	return err
}

func (p *parser) gid(value string) (err error) {
	p.r.GID, err = number(value, 1, 1<<32-1)
	return err
}

func (p *parser) rev(value string) (err error) {
	p.r.Rev, err = number(value, 0, 1<<32-1)
	return err
}

// classtype also gives the priority that the class has by default.
func (p *parser) classtype(value string) error {
	p.r.Classtype = value
	if n, ok := classes[value]; ok && !p.urgent {
		p.r.Priority = n
	}
	return nil
}

func (p *parser) priority(value string) (err error) {
	p.urgent = true
	p.r.Priority, err = number(value, 1, 255)
	return err
}

func (p *parser) reference(value string) error {
	if len(p.r.References) < 32 {
		p.r.References = append(p.r.References, strings.ReplaceAll(value, " ", ""))
	}
	return nil
}

// flow takes a rule about what the client says.
func (p *parser) flow(value string) error {
	for word := range strings.SplitSeq(value, ",") {
		switch word = strings.TrimSpace(word); word {
		case "established", "to_server", "from_client", "stateless", "only_stream", "no_stream", "no_frag":
		case "to_client", "from_server":
			return errServer
		default:
			return fmt.Errorf("the word %s", word)
		}
	}
	return nil
}

func (p *parser) noalert(string) error {
	p.r.noAlert = true
	return nil
}

func (p *parser) appProtocol(value string) error {
	name, negated := strings.CutPrefix(value, "!")
	if negated {
		p.r.notApp = name
		return nil
	}
	return p.protocol(name)
}

// classes are the priorities of Suricata's classes.
var classes = map[string]int{
	"not-suspicious": 3, "unknown": 3, "bad-unknown": 2, "attempted-recon": 2, "successful-recon-limited": 2,
	"successful-recon-largescale": 2, "attempted-dos": 2, "successful-dos": 2, "attempted-user": 1,
	"unsuccessful-user": 1, "successful-user": 1, "attempted-admin": 1, "successful-admin": 1,
	"rpc-portmap-decode": 2, "shellcode-detect": 1, "string-detect": 3, "suspicious-filename-detect": 2,
	"suspicious-login": 2, "system-call-detect": 2, "tcp-connection": 4, "trojan-activity": 1,
	"unusual-client-port-connection": 2, "network-scan": 3, "denial-of-service": 2, "non-standard-protocol": 2,
	"protocol-command-decode": 3, "web-application-activity": 2, "web-application-attack": 1,
	"misc-activity": 3, "misc-attack": 2, "icmp-event": 3, "inappropriate-content": 1, "policy-violation": 1,
	"default-login-attempt": 2, "targeted-activity": 1, "exploit-kit": 1, "external-ip-check": 2,
	"domain-c2": 1, "pup-activity": 2, "credential-theft": 1, "social-engineering": 2, "coin-mining": 2,
	"command-and-control": 1,
}

// contentOption reads `content:"…"`.
func (p *parser) contentOption(value string) error {
	text, negated, err := unquote(value)
	if err != nil {
		return err
	}
	b, err := contentBytes(text)
	if err != nil {
		return err
	}
	p.add(matcher{kind: isContent, negated: negated, text: b})
	return nil
}

func (p *parser) uricontent(value string) error {
	if err := p.contentOption(value); err != nil {
		return err
	}
	p.chain[len(p.chain)-1].in = httpURI
	return nil
}

// maxContent bounds a content, in bytes.
const maxContent = 4 << 10

// contentBytes reads a text with bytes in hexadecimal between bars.
func contentBytes(text string) (out []byte, err error) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			if i++; i == len(text) {
				return nil, errors.New("a backslash at its end")
			}
			out = append(out, text[i])
		case '|':
			n := strings.IndexByte(text[i+1:], '|')
			if n < 0 {
				return nil, errors.New("a bar is not closed")
			}
			if out, err = appendHex(out, text[i+1:i+1+n]); err != nil {
				return nil, err
			}
			i += n + 1
		default:
			out = append(out, c)
		}
	}
	if len(out) == 0 || len(out) > maxContent {
		return nil, fmt.Errorf("it has %d bytes, not 1 to %d", len(out), maxContent)
	}
	return out, nil
}

func appendHex(dst []byte, text string) ([]byte, error) {
	digits := strings.ReplaceAll(text, " ", "")
	if len(digits)%2 != 0 {
		return nil, fmt.Errorf("|%s| is not in pairs of hexadecimal digits", text)
	}
	for i := 0; i < len(digits); i += 2 {
		b, err := strconv.ParseUint(digits[i:i+2], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("|%s| is not in pairs of hexadecimal digits", text)
		}
		dst = append(dst, byte(b))
	}
	return dst, nil
}

// fastPattern marks the content by which the rule is found; "only" and a part of it
// are about how to find it, and change nothing of what matches.
func (p *parser) fastPattern(string) error {
	c, err := p.last()
	if err == nil {
		c.fast = true
	}
	return err
}

func (p *parser) dsize(value string) (err error) {
	p.r.sized = true
	p.r.size, err = bounds(value)
	return err
}

func (p *parser) bsize(value string) error {
	if p.current == payload {
		return errors.New("there is no buffer before it")
	}
	s, err := bounds(value)
	p.add(matcher{kind: isSize, size: s})
	return err
}

func (p *parser) urilen(value string) error {
	b := httpURI
	text, which, _ := strings.Cut(value, ",")
	if strings.TrimSpace(which) == "raw" {
		b = httpURIRaw
	}
	s, err := bounds(text)
	p.chain = append(p.chain, &within{matcher{kind: isSize, size: s}, b})
	return err
}

func (p *parser) isdataat(value string) error {
	m := matcher{kind: isDataAt}
	value, m.negated = strings.CutPrefix(value, "!")
	text, words, _ := strings.Cut(value, ",")
	for word := range strings.SplitSeq(words, ",") {
		switch word = strings.TrimSpace(word); word {
		case "relative":
			m.relative = true
		case "rawbytes", "":
		default:
			return fmt.Errorf("the word %s", word)
		}
	}
	n, err := number(text, 0, 1<<16)
	m.offset = n
	p.add(m)
	return err
}
