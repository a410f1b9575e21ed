package stack

import (
	"bytes"
	"fmt"
	"html"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// httpStyle is how one kind of server looks: the order of its headers, its
// words, its pages.
type httpStyle struct {
	limits    httpLimits
	reasons   map[int]string // where they differ from the RFC's
	errorKind string         // Content-Type of its own pages
	allow     [][2]string    // headers of a 405
	allows    func(method string, exists bool) bool
	head      func(h *httpServer, req *request, resp *response) []byte
	errorPage func(h *httpServer, req *request, status int, port uint16) []byte
}

var nginxStyle = &httpStyle{
	limits: httpLimits{headers: 32 << 10, fields: 1 << 10, body: 1 << 20},
	reasons: map[int]string{
		302: "Moved Temporarily", 405: "Not Allowed", 408: "Request Time-out",
		413: "Request Entity Too Large", 414: "Request-URI Too Large",
		503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
	},
	errorKind: "text/html",
	allows:    nginxAllows,
	head:      nginxHead,
	errorPage: nginxErrorPage,
}

var apacheStyle = &httpStyle{
	limits: httpLimits{headers: 64 << 10, fields: 100, body: 1 << 30},
	reasons: map[int]string{
		413: "Request Entity Too Large", 414: "Request-URI Too Long",
	},
	errorKind: "text/html; charset=iso-8859-1",
	allow:     [][2]string{{"Allow", "GET,POST,OPTIONS,HEAD"}},
	allows:    apacheAllows,
	head:      apacheHead,
	errorPage: apacheErrorPage,
}

// styleOf chooses by the Server header; what is not Apache looks like nginx.
func styleOf(server string) *httpStyle {
	if strings.HasPrefix(strings.ToLower(server), "apache") {
		return apacheStyle
	}
	return nginxStyle
}

func (s *httpStyle) reason(status int) string {
	if r := s.reasons[status]; r != "" {
		return r
	}
	return http.StatusText(status)
}

// bodyless: RFC 9110, sections 15.3.5 and 15.4.5.
func bodyless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// nginxAllows: the static module knows GET, HEAD and POST, and refuses a POST
// only once it has found the file.
func nginxAllows(method string, exists bool) bool {
	return method == "GET" || method == "HEAD" || method == "POST" && !exists
}

func nginxHead(h *httpServer, req *request, resp *response) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", resp.status, h.style.reason(resp.status))
	fmt.Fprintf(&b, "Server: %s\r\nDate: %s\r\n", h.name, now())
	if !bodyless(resp.status) {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", resp.kind, len(resp.body))
	}
	connection := "keep-alive"
	if resp.close {
		connection = "close"
	}
	fmt.Fprintf(&b, "Connection: %s\r\n", connection)
	writeHeaders(&b, resp.headers)
	b.WriteString("\r\n")
	return b.Bytes()
}

func nginxErrorPage(h *httpServer, _ *request, status int, _ uint16) []byte {
	title := fmt.Sprintf("%d %s", status, h.style.reason(status))
	return fmt.Appendf(nil, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n"+
		"<center><h1>%s</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n",
		title, title, html.EscapeString(h.name))
}

// apacheAllows: the default handler answers a POST as a GET.
func apacheAllows(method string, _ bool) bool {
	return method == "GET" || method == "HEAD" || method == "POST"
}

func apacheHead(h *httpServer, req *request, resp *response) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", resp.status, h.style.reason(resp.status))
	fmt.Fprintf(&b, "Date: %s\r\nServer: %s\r\n", now(), h.name)
	writeHeaders(&b, resp.headers)
	if !bodyless(resp.status) {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(resp.body))
	}
	switch {
	case resp.close:
		b.WriteString("Connection: close\r\n")
	case req.asked:
		b.WriteString("Keep-Alive: timeout=5, max=100\r\nConnection: Keep-Alive\r\n")
	}
	if !bodyless(resp.status) {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", resp.kind)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// apacheWords are the sentences of Apache's own pages.
var apacheWords = map[int]string{
	400: "Your browser sent a request that this server could not understand.<br />\n",
	403: "You don't have permission to access this resource.",
	404: "The requested URL was not found on this server.",
	405: "The requested method %s is not allowed for this URL.",
	413: "The requested resource does not allow request data with %s requests, or the amount of data provided in\nthe request exceeds the capacity limit.\n",
	414: "The requested URL's length exceeds the capacity\nlimit for this server.<br />\n",
	500: "The server encountered an internal error or\nmisconfiguration and was unable to complete\nyour request.",
	501: "%s not supported for current URL.<br />\n",
}

func apacheErrorPage(h *httpServer, req *request, status int, port uint16) []byte {
	words := apacheWords[status]
	if strings.Contains(words, "%s") {
		words = fmt.Sprintf(words, html.EscapeString(req.method))
	}
	reason := h.style.reason(status)
	return fmt.Appendf(nil, "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n"+
		"<html><head>\n<title>%d %s</title>\n</head><body>\n<h1>%s</h1>\n<p>%s</p>\n"+
		"<hr>\n<address>%s Server at %s Port %d</address>\n</body></html>\n",
		status, reason, reason, words, html.EscapeString(h.name), apacheHost(req.host), port)
}

// apacheHost is the name that Apache calls itself: the Host header's.
func apacheHost(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			host = name
		}
	}
	if host == "" {
		host = "localhost"
	}
	return html.EscapeString(strings.ToLower(host))
}

func writeHeaders(b *bytes.Buffer, headers [][2]string) {
	for _, kv := range headers {
		fmt.Fprintf(b, "%s: %s\r\n", kv[0], kv[1])
	}
}
