package config

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// serviceTypes are in the order of the contract.
var serviceTypes = []string{"silent", "banner", "script", "http", "forward", "closed", "filtered"}

// serviceKeys are those of one type of service.
func (d *decoder) serviceKeys(s *Service, kind string) keys {
	ks := map[string]keys{
		"banner": {"banner": d.bytes(&s.Banner), "close": d.boolean(&s.Close)},
		"script": {
			"turns": d.turns(s), "close": d.boolean(&s.Close),
			"otherwise": d.mapping(func() keys { return keys{"send": d.bytes(&s.Otherwise)} }),
		},
		"http": {"server": d.server(&s.Server), "pages": d.pagesKey(s)},
		"forward": {
			"address":         d.hostPort(&s.Address),
			"connect_timeout": d.duration(&s.ConnectTimeout, time.Millisecond, time.Minute),
			"on_fail":         d.onFail(),
			"proxy_protocol":  d.oneOf(&s.ProxyProtocol, "off", "v1", "v2"),
		},
	}[kind]
	if ks == nil {
		ks = keys{}
	}
	ks["type"] = d.oneOf(&s.Type, serviceTypes...)
	return ks
}

func (d *decoder) onFail() key {
	word := "reset"
	return d.oneOf(&word, "reset")
}

// server is who answers unless the configuration says otherwise.
func (d *decoder) server(dst *string) key {
	k := d.needed(dst)
	k.value = "nginx"
	return k
}

// allServiceKeys are those of every type together.
func (d *decoder) allServiceKeys(s *Service) keys {
	all := keys{}
	for _, kind := range serviceTypes {
		for name, k := range d.serviceKeys(s, kind) {
			all[name] = k
		}
	}
	return all
}

func (d *decoder) service(s *Service) key {
	return key{unit: "mapping", sub: func() keys { return d.allServiceKeys(s) }, read: func(what string, n *yaml.Node) {
		s.Place = placeOf(n)
		kind := value(n, "type")
		switch {
		case n.Kind != yaml.MappingNode:
			d.fail(n, "write {type: silent} or another", "%s has to be a mapping of keys to values", what)
			return
		case kind == n:
			d.fail(n, "write type: silent or another", "this service has no type")
			return
		}
		errs := len(d.errs)
		if d.oneOf(&s.Type, serviceTypes...).read("type", kind); len(d.errs) > errs {
			return
		}
		ks := d.serviceKeys(s, s.Type)
		ks["type"] = key{read: func(string, *yaml.Node) {}}
		d.object(n, "a service of type "+s.Type, ks)
		d.says(s, n)
	}}
}

// says refuses a service that is meant to speak and has nothing to say.
func (d *decoder) says(s *Service, n *yaml.Node) {
	empty := func(name string) bool { return value(n, name) == n }
	switch {
	case s.Type == "banner" && (empty("banner") || value(n, "banner").Kind == yaml.ScalarNode && len(s.Banner) == 0):
		d.fail(value(n, "banner"), "write one, or use type: silent", "the banner is empty")
	case s.Type == "script" && len(value(n, "turns").Content) == 0 || s.Type == "script" && empty("turns") && empty("otherwise"):
		d.fail(value(n, "turns"), "write turns: [{expect: …, send: …}], or use type: silent", "the script is empty")
	case s.Type == "forward" && empty("address"):
		d.fail(n, "write one such as address: 127.0.0.1:2222", "a forward service needs an address")
	}
}

func (d *decoder) turns(s *Service) key {
	return key{unit: "list", sub: func() keys { return d.turnKeys(&Turn{}) }, read: func(what string, n *yaml.Node) {
		d.list(n, what, func(n *yaml.Node) {
			t := Turn{Place: placeOf(n)}
			d.object(n, "a turn", d.turnKeys(&t))
			expect, send := value(n, "expect"), value(n, "send")
			if n.Kind == yaml.MappingNode && expect == n && send == n {
				d.fail(n, "write expect, or send, or both", "this turn does nothing")
			}
			t.Expected, t.Sent = placeOf(expect), placeOf(send)
			s.Turns = append(s.Turns, t)
		})
	}}
}

func (d *decoder) turnKeys(t *Turn) keys {
	return keys{"expect": d.pattern(&t.Expect), "send": d.bytes(&t.Send), "delay": d.duration(&t.Delay, 0, time.Minute)}
}

func (d *decoder) pagesKey(s *Service) key {
	return key{unit: "list", sub: func() keys { return d.pageKeys(&Page{Status: 200}) }, read: func(what string, n *yaml.Node) {
		d.list(n, what, func(n *yaml.Node) {
			p := Page{Status: 200, Place: placeOf(n)}
			d.object(n, "a page", d.pageKeys(&p))
			d.page(s, &p, n)
			s.Pages = append(s.Pages, p)
		})
	}}
}

func (d *decoder) page(s *Service, p *Page, n *yaml.Node) {
	if !strings.HasPrefix(p.Path, "/") {
		d.fail(value(n, "path"), "begin it with /", "a page's path is %q", p.Path)
	}
	for _, other := range s.Pages {
		if other.Path == p.Path {
			d.fail(value(n, "path"), "keep one", "there is another page at %s", p.Path)
		}
	}
	if value(n, "body") != n && value(n, "file") != n {
		d.fail(value(n, "file"), "keep one", "a page has a body or a file, not both")
	}
}

func (d *decoder) pageKeys(p *Page) keys {
	return keys{
		"path": d.word(&p.Path), "status": d.number(&p.Status, 200, 599), "body": d.bytes(&p.Body),
		"file":    {unit: "file", read: func(what string, n *yaml.Node) { d.pageFile(p, what, n) }},
		"headers": {unit: "mapping of texts", read: func(what string, n *yaml.Node) { d.headers(p, what, n) }},
	}
}

// pageFile reads a page's body from a file beside the configuration.
func (d *decoder) pageFile(p *Page, what string, n *yaml.Node) {
	name, ok := d.scalar(n, what)
	if !ok {
		return
	}
	b, err := d.read(name)
	switch d.pages += len(b); {
	case err != nil:
		d.fail(n, "name a file that this user can read, beside the configuration or by its whole path", "%s: %v", what, err)
	case d.pages > maxPages:
		d.fail(n, "make them smaller", "%s: the pages' files have more than %s together", what, sizeWords(maxPages))
	default:
		p.Body = b
	}
}

func (d *decoder) headers(p *Page, what string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "write {Content-Type: text/html}", "%s has to be a mapping of names to values", what)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if v, ok := d.scalar(value, what); ok && d.header(name, value) {
			p.Headers = append(p.Headers, [2]string{name.Value, v})
		}
	}
}

// header refuses what would not be one header line.
func (d *decoder) header(name, value *yaml.Node) bool {
	switch {
	case name.Kind != yaml.ScalarNode || name.Value == "" || strings.ContainsAny(name.Value, "\r\n: \t"):
		d.fail(name, "write one such as Content-Type", "%q is not the name of a header", name.Value)
	case strings.EqualFold(name.Value, "Content-Length") || strings.EqualFold(name.Value, "Transfer-Encoding"):
		d.fail(name, "take it out", "the service itself sets %s", name.Value)
	case strings.ContainsAny(value.Value, "\r\n"):
		d.fail(value, "write it in one line", "the header %s has a line break in it", name.Value)
	default:
		return true
	}
	return false
}
