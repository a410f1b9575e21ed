package suricata

import (
	"fmt"
	"strings"
)

// bufferNames are the buffers in the words of a rule.
var bufferNames = [numBuffers]string{
	payload: "the stream", httpMethod: "http.method", httpURI: "http.uri", httpURIRaw: "http.uri.raw",
	httpUserAgent: "http.user_agent", httpHost: "http.host", httpHostRaw: "http.host.raw", httpHeader: "http.header",
	httpHeaderRaw: "http.header.raw", httpCookie: "http.cookie", httpBody: "http.request_body", httpLine: "http.request_line",
	httpVersion: "http.protocol", httpNames: "http.header_names", httpStart: "http.start", httpContentType: "http.content_type",
	httpContentLen: "http.content_len", httpAccept: "http.accept", httpAcceptLang: "http.accept_lang",
	httpAcceptEnc: "http.accept_enc", httpConnection: "http.connection", httpReferer: "http.referer", tlsSNI: "tls.sni",
	tlsJA3: "ja3.hash", tlsJA4: "ja4.hash", sshProto: "ssh.proto", sshSoftware: "ssh.software", sshHASSH: "ssh.hassh",
	smtpData: "file.data",
}

// Explain says what the rule needs, a line each. It is meant for rules of a Set.
func (r *Rule) Explain() (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if r.fast.text != nil {
		say("prefilter: looked at once %q has occurred, in any case", r.fast.text)
	} else {
		say("prefilter: none; it is looked at in every connection that its addresses and ports fit")
	}
	if r.app != "" {
		say("protocol: %s has to be recognised", r.app)
	}
	if r.notApp != "" {
		say("protocol: any but %s", r.notApp)
	}
	for i := range r.parts {
		say("conditions on %s: %d", bufferNames[r.parts[i].in], len(r.parts[i].ms))
	}
	if r.sized {
		say("length of the message: more than %d and less than %d bytes", r.size.over, r.size.under)
	}
	if r.anchored {
		say("counted from: each message's beginning")
	}
	for _, b := range r.bits {
		say("flowbits: %s %s", b.op.word(), strings.Join(b.names, " or "))
	}
	if r.counts() {
		say("speaks: by count, %d in %d s", r.limit.count, r.limit.seconds)
	}
	if r.noAlert {
		say("speaks: never; it sets bits for others")
	}
	return lines
}

// word is the operation's name in a rule.
func (op bitOp) word() string {
	for w, o := range bitOps {
		if o == op {
			return w
		}
	}
	return ""
}
