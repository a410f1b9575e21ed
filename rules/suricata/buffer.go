package suricata

import (
	"errors"

	"sleight/rules/proto"
)

// buffer is what a keyword looks in.
type buffer uint8

// The buffers. Those without a comment are fields that the protocols' parsers know.
const (
	payload buffer = iota // the stream
	httpMethod
	httpURI
	httpURIRaw
	httpUserAgent
	httpHost
	httpHostRaw // with the port, as sent
	httpHeader  // without cookies
	httpHeaderRaw
	httpCookie
	httpBody
	httpLine    // request line
	httpVersion // "HTTP/1.1"
	httpNames   // of the header fields, each after CR LF
	httpStart   // request line and header fields
	httpContentType
	httpContentLen
	httpAccept
	httpAcceptLang
	httpAcceptEnc
	httpConnection
	httpReferer
	tlsSNI
	tlsJA3
	tlsJA4
	sshProto
	sshSoftware
	sshHASSH
	smtpData
	fileData   // what of the two the rule's protocol has
	serverSaid // not the client's
	numBuffers
)

// how a buffer comes about.
type how struct {
	proto string
	field proto.Field
	name  string // of the header field that it is
	// kept: its bytes stand in the stream as they are, but for their case and what
	// stands between pieces.
	kept bool
	make func(f *proto.Flow, stream []byte) ([]byte, proto.Status)
}

var buffers = [numBuffers]how{
	payload:         {kept: true},
	httpMethod:      {proto: "http", field: proto.HTTPMethod, kept: true},
	httpURI:         {proto: "http", field: proto.HTTPURI},
	httpURIRaw:      {proto: "http", field: proto.HTTPURIRaw, kept: true},
	httpUserAgent:   {proto: "http", field: proto.HTTPUserAgent, kept: true},
	httpHost:        {proto: "http", field: proto.HTTPHost, kept: true},
	httpHostRaw:     {proto: "http", name: "host", kept: true},
	httpHeader:      {proto: "http", make: withoutCookies, kept: true},
	httpHeaderRaw:   {proto: "http", field: proto.HTTPHeaders, kept: true},
	httpCookie:      {proto: "http", name: "cookie", kept: true},
	httpBody:        {proto: "http", field: proto.HTTPBody},
	httpLine:        {proto: "http", make: requestLine, kept: true},
	httpVersion:     {proto: "http", make: protocolVersion, kept: true},
	httpNames:       {proto: "http", make: headerNames, kept: true},
	httpStart:       {proto: "http", make: requestStart, kept: true},
	httpContentType: {proto: "http", name: "content-type", kept: true},
	httpContentLen:  {proto: "http", name: "content-length", kept: true},
	httpAccept:      {proto: "http", name: "accept", kept: true},
	httpAcceptLang:  {proto: "http", name: "accept-language", kept: true},
	httpAcceptEnc:   {proto: "http", name: "accept-encoding", kept: true},
	httpConnection:  {proto: "http", name: "connection", kept: true},
	httpReferer:     {proto: "http", name: "referer", kept: true},
	tlsSNI:          {proto: "tls", field: proto.TLSSNI},
	tlsJA3:          {proto: "tls", field: proto.TLSJA3},
	tlsJA4:          {proto: "tls", field: proto.TLSJA4},
	sshProto:        {proto: "ssh", field: proto.SSHProto, kept: true},
	sshSoftware:     {proto: "ssh", field: proto.SSHSoftware, kept: true},
	sshHASSH:        {proto: "ssh", field: proto.SSHHASSH},
	smtpData:        {proto: "smtp", field: proto.SMTPData},
}

var errServer = errors.New("it is what a server says")

func (b buffer) usable() error {
	if b == serverSaid {
		return errServer
	}
	return nil
}

// stickies are the keywords after which others look in a buffer.
var stickies = map[string]buffer{
	"pkt_data":    payload,
	"http.method": httpMethod, "http.uri": httpURI, "http.uri.raw": httpURIRaw,
	"http.user_agent": httpUserAgent, "http.host": httpHost, "http.host.raw": httpHostRaw,
	"http.header": httpHeader, "http.header.raw": httpHeaderRaw, "http.cookie": httpCookie,
	"http.request_body": httpBody, "http.request_line": httpLine, "http_request_line": httpLine,
	"http.protocol": httpVersion, "http_protocol": httpVersion,
	"http.header_names": httpNames, "http_header_names": httpNames,
	"http.start": httpStart, "http_start": httpStart,
	"http.content_type": httpContentType, "http_content_type": httpContentType,
	"http.content_len": httpContentLen, "http_content_len": httpContentLen,
	"http.accept": httpAccept, "http_accept": httpAccept,
	"http.accept_lang": httpAcceptLang, "http_accept_lang": httpAcceptLang,
	"http.accept_enc": httpAcceptEnc, "http_accept_enc": httpAcceptEnc,
	"http.connection": httpConnection, "http_connection": httpConnection,
	"http.referer": httpReferer, "http_referer": httpReferer,
	"file.data": fileData, "file_data": fileData,
	"tls.sni": tlsSNI, "tls_sni": tlsSNI,
	"ja3.hash": tlsJA3, "ja3_hash": tlsJA3, "ja4.hash": tlsJA4,
	"ssh.proto": sshProto, "ssh_proto": sshProto, "ssh.software": sshSoftware, "ssh_software": sshSoftware,
	"ssh.hassh": sshHASSH,

	"http.stat_code": serverSaid, "http.stat_msg": serverSaid, "http.response_body": serverSaid,
	"http.response_line": serverSaid, "http_response_line": serverSaid, "http.response_header": serverSaid,
	"http.server": serverSaid, "http.location": serverSaid,
	"tls.cert_subject": serverSaid, "tls_cert_subject": serverSaid, "tls.cert_issuer": serverSaid,
	"tls_cert_issuer": serverSaid, "tls.cert_serial": serverSaid, "tls_cert_serial": serverSaid,
	"tls.cert_fingerprint": serverSaid, "tls_cert_fingerprint": serverSaid, "tls.certs": serverSaid,
	"ja3s.hash": serverSaid, "ja3s.string": serverSaid, "ssh.hassh.server": serverSaid,
}

// modifiers are the keywords that move the content before them into a buffer.
var modifiers = map[string]buffer{
	"http_method": httpMethod, "http_uri": httpURI, "http_raw_uri": httpURIRaw,
	"http_user_agent": httpUserAgent, "http_host": httpHost, "http_raw_host": httpHostRaw,
	"http_header": httpHeader, "http_raw_header": httpHeaderRaw, "http_cookie": httpCookie,
	"http_client_body": httpBody,
	"http_stat_code":   serverSaid, "http_stat_msg": serverSaid, "http_server_body": serverSaid,
}

// pcreBuffers are pcre's flags that name a buffer.
var pcreBuffers = map[byte]buffer{
	'U': httpURI, 'I': httpURIRaw, 'P': httpBody, 'H': httpHeader, 'D': httpHeaderRaw, 'M': httpMethod,
	'C': httpCookie, 'V': httpUserAgent, 'W': httpHost, 'Z': httpHostRaw,
	'Q': serverSaid, 'S': serverSaid, 'Y': serverSaid,
}

// read is the buffer's bytes as far as they have come.
func (b buffer) read(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	h := &buffers[b]
	switch {
	case b == payload:
		return stream, proto.Partial
	case h.make != nil:
		return h.make(f, stream)
	case h.name != "":
		return f.Header(stream, h.name)
	}
	return f.Bytes(stream, h.field)
}
