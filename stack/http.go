package stack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// httpServer is a small static web server in the manner of nginx or Apache.
type httpServer struct {
	style *httpStyle
	name  string // the Server header
	pages map[string]*Page
}

func compileHTTP(s Service) (func(*Peer), error) {
	h := &httpServer{name: s.Server, pages: make(map[string]*Page)}
	if h.name == "" {
		h.name = "nginx"
	}
	h.style = styleOf(h.name)
	var errs []error
	if strings.ContainsAny(h.name, "\r\n") {
		errs = append(errs, errors.New("server: has a line break"))
	}
	for i := range s.Pages {
		p := &s.Pages[i]
		if err := checkPage(p); err != nil {
			errs = append(errs, fmt.Errorf("pages[%d]: %w", i, err))
		}
		if h.pages[p.Path] != nil {
			errs = append(errs, fmt.Errorf("pages[%d]: path %s comes twice", i, p.Path))
		}
		h.pages[p.Path] = p
	}
	return h.play, errors.Join(errs...)
}

func checkPage(p *Page) error {
	var errs []error
	if !strings.HasPrefix(p.Path, "/") {
		errs = append(errs, fmt.Errorf("path %q: must begin with /", p.Path))
	}
	if p.Status != 0 && (p.Status < 200 || p.Status > 599) {
		errs = append(errs, fmt.Errorf("status %d: must be 200 to 599", p.Status))
	}
	for _, h := range p.Headers {
		if h[0] == "" || strings.ContainsAny(h[0], "\r\n: ") || strings.ContainsAny(h[1], "\r\n") {
			errs = append(errs, fmt.Errorf("header %q: not a header", h[0]))
		}
		if strings.EqualFold(h[0], "Content-Length") || strings.EqualFold(h[0], "Transfer-Encoding") {
			errs = append(errs, fmt.Errorf("header %s: the service sets it", h[0]))
		}
	}
	return errors.Join(errs...)
}

// play answers requests, in order, until the client or a mistake ends it.
func (h *httpServer) play(p *Peer) {
	r := &requestReader{r: bufio.NewReaderSize(p, maxLine), limits: &h.style.limits}
	r.goOn = func() error { return h.answer(p, []byte("HTTP/1.1 100 Continue\r\n\r\n"), nil, false) }
	for {
		req, status := r.next()
		if status == statusGone {
			return
		}
		resp := h.respond(p, req, status)
		head, body := h.style.head(h, req, resp), resp.body
		switch {
		case req.method == "HEAD":
			body = nil
		case req.old:
			head = nil // HTTP/0.9 has no headers
		}
		if h.answer(p, head, body, resp.close) != nil || resp.close {
			return
		}
	}
}

// answer writes one whole response, and ends the stream if it is the last.
func (h *httpServer) answer(p *Peer, head, body []byte, last bool) error {
	p.Begin()
	defer p.End()
	if err := p.Write(head, body); err != nil {
		return err
	}
	if last {
		p.Close()
	}
	return nil
}

// response is what is said to one request.
type response struct {
	status  int
	kind    string // Content-Type
	headers [][2]string
	body    []byte
	close   bool
}

// respond decides on the answer. status, if it is not 0, is what is wrong with
// the request.
func (h *httpServer) respond(p *Peer, req *request, status int) *response {
	resp := &response{close: status != 0 || !req.keepAlive}
	if status != 0 {
		return h.fail(p, req, resp, status)
	}
	page := h.pages[cleanPath(req.target)]
	switch {
	case !h.style.allows(req.method, page != nil):
		resp.headers = h.style.allow
		return h.fail(p, req, resp, http.StatusMethodNotAllowed)
	case page == nil:
		return h.fail(p, req, resp, http.StatusNotFound)
	}
	return h.show(p, req, resp, page)
}

func (h *httpServer) show(p *Peer, req *request, resp *response, page *Page) *response {
	resp.status, resp.kind, resp.body = page.Status, "text/html", page.Body
	if resp.status == 0 {
		resp.status = http.StatusOK
	}
	if len(page.Body) == 0 && resp.status >= 300 && resp.status != http.StatusNotModified {
		resp = h.fail(p, req, resp, resp.status)
	}
	for _, kv := range page.Headers {
		if strings.EqualFold(kv[0], "Content-Type") {
			resp.kind = kv[1]
			continue
		}
		resp.headers = append(resp.headers, kv)
	}
	return resp
}

// fail makes the server's own page for a status.
func (h *httpServer) fail(p *Peer, req *request, resp *response, status int) *response {
	resp.status, resp.kind = status, h.style.errorKind
	resp.body = h.style.errorPage(h, req, status, p.Dialled().Port())
	return resp
}

// cleanPath is the path of a request's target as a server looks it up.
func cleanPath(target string) string {
	if i := strings.Index(target, "://"); i > 0 {
		rest := target[i+3:]
		if target = "/"; strings.Contains(rest, "/") {
			target = rest[strings.Index(rest, "/"):]
		}
	}
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	if s, err := url.PathUnescape(target); err == nil {
		target = s
	}
	clean := path.Clean("/" + target)
	if strings.HasSuffix(target, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// now is a Date header's value.
func now() string { return time.Now().UTC().Format(http.TimeFormat) }

// statusGone: the client has ended or the flow is over; nothing is answered.
const statusGone = -1

func gone(err error) int {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errOver) {
		return statusGone
	}
	return http.StatusBadRequest
}
