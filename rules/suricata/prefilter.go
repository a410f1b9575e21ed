package suricata

import (
	"bytes"
	"slices"
)

// The text by which a rule is found. Nothing else of a rule is looked at before its
// text has occurred, so it should be rare: rare among the rules themselves, which
// are full of what is common, and not part of what every request has.

// maxText is how much of a content is looked for, in bytes: longer ones make the
// automaton larger and are hardly rarer.
const maxText = 8

// everyday is what harmless clients say.
const everyday = "get / http/1.1\r\nhost: www.example.com:8080\r\nuser-agent: mozilla/5.0 (windows nt 10.0; win64; x64) " +
	"applewebkit/537.36 (khtml, like gecko) chrome/120.0.0.0 safari/537.36 edg/120.0 mozilla/4.0 (compatible; msie 7.0; " +
	"windows nt 5.1)\r\naccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n" +
	"accept-language: en-us,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\nconnection: keep-alive\r\n" +
	"upgrade-insecure-requests: 1\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n" +
	"cookie: phpsessid=\r\nreferer: http://https://\r\ncache-control: no-cache\r\npragma: no-cache\r\nif-modified-since: " +
	"post /index.php?id=1&user=admin&password=.html.js.css.png.jpg http/1.0\r\n\r\nhead /favicon.ico /robots.txt /api/v1/ " +
	"ssh-2.0-openssh_9.2p1 debian\r\n\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x16\x03\x01\x02\x00\x01\x00"

// everydayWeight is how many rules a piece of everyday counts as.
const everydayWeight = 200

// fast is how a rule is found.
type fast struct {
	text   []byte // lower case; nil: it has none, and is always a candidate
	pieces []piece
}

// piece is a run of bytes that the stream has where the rule holds.
type piece struct {
	text   []byte
	wanted bool // fast_pattern
}

// pieces are a rule's candidates for its text.
func (r *Rule) pieces() (ps []piece) {
	for i := range r.parts {
		p := &r.parts[i]
		for j := range p.ms {
			m := &p.ms[j]
			if m.kind != isContent || m.negated {
				continue
			}
			text := lower(m.text)
			if buffers[p.in].make == nil {
				ps = append(ps, piece{text, m.fast})
				continue
			}
			for _, t := range runs(text) {
				ps = append(ps, piece{t, m.fast})
			}
		}
	}
	return ps
}

// runs are the parts of a text between spaces and ends of lines.
func runs(text []byte) (rs [][]byte) {
	for len(text) > 0 {
		n := bytes.IndexAny(text, " \r\n")
		if n < 0 {
			return append(rs, text)
		}
		rs, text = append(rs, text[:n]), text[n+1:]
	}
	return rs
}

// grams counts runs of three bytes.
type grams map[[3]byte]int

func (g grams) add(text []byte, weight int) {
	for i := 0; i+3 <= len(text); i++ {
		g[[3]byte(text[i:])] += weight
	}
}

// rarity is high for what is rare.
func (g grams) rarity(text []byte) (sum float64) {
	for i := 0; i+3 <= len(text); i++ {
		sum += 1 / float64(1+g[[3]byte(text[i:])])
	}
	return sum
}

// prefilter gives each rule its text, and makes one automaton of all of them. of is
// the rules that have a text, by the text's index.
func prefilter(rules []*Rule) (a *automaton, of [][]int, always []int) {
	g := grams{}
	g.add([]byte(everyday), everydayWeight)
	for _, r := range rules {
		r.fast.pieces = r.pieces()
		for _, p := range r.fast.pieces {
			g.add(p.text, 1)
		}
	}
	byText := map[string][]int{}
	for i, r := range rules {
		r.fast.text = g.choose(r.fast.pieces)
		r.fast.pieces = nil
		if r.fast.text == nil {
			always = append(always, i)
			continue
		}
		byText[string(r.fast.text)] = append(byText[string(r.fast.text)], i)
	}
	texts := make([][]byte, 0, len(byText))
	for t := range byText {
		texts = append(texts, []byte(t))
	}
	slices.SortFunc(texts, bytes.Compare)
	for _, t := range texts {
		of = append(of, byText[string(t)])
	}
	return newAutomaton(texts), of, always
}

// choose takes the rarest run of at most maxText bytes. What the rule's author wants
// is preferred, unless it is hardly a filter.
func (g grams) choose(ps []piece) (best []byte) {
	least := -1.0
	for _, p := range ps {
		for i := 0; i == 0 || i+maxText <= len(p.text); i++ {
			w := p.text[i:min(len(p.text), i+maxText)]
			score := g.rarity(w)
			if p.wanted {
				score *= 4
			}
			if len(w) >= gram && score > least {
				best, least = w, score
			}
		}
	}
	return best
}
