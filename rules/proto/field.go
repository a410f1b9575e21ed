package proto

// Field is one fact of a protocol.
type Field uint8

// The fields. Those of one protocol stand together.
const (
	NoField Field = iota

	HTTPMethod    // of the request, as all HTTP fields but the last
	HTTPURI       // path with %XX decoded, . and .. and // removed; query decoded
	HTTPURIRaw    // as it was sent
	HTTPVersion   // "1.1"; absent in HTTP/0.9
	HTTPHost      // of the Host field: lower case, without the port
	HTTPUserAgent // of the User-Agent field
	HTTPHeaders   // all header fields as sent, from after the request line to before the empty line
	HTTPBody      // so far; without the chunks' sizes. Partial until it is whole
	HTTPRequests  // number: requests on this connection so far, this one included

	TLSSNI      // the server's name, as sent
	TLSALPN     // "h2,http/1.1"
	TLSVersion  // highest that is offered: "1.3"
	TLSVersions // all that are offered: "1.3,1.2"
	TLSJA3      // 32 hexadecimal digits
	TLSJA4      // "t13d1516h2_8daaf6152771_e5627efa2ab1"

	SSHBanner   // the client's identification line, without its end
	SSHProto    // "2.0"
	SSHSoftware // "OpenSSH_9.2p1"
	SSHHASSH    // 32 hexadecimal digits

	numFields
)

// Kind is a field's type.
type Kind uint8

// The kinds: bytes, and whole numbers.
const (
	Bytes Kind = iota
	Int
)

// Info describes a field.
type Info struct {
	Protocol Protocol
	Name     string // within the protocol: "uri"
	Kind     Kind
	// Verbatim: the bytes are the stream's own, so what they contain the stream
	// contains.
	Verbatim bool

	flow bool // of the connection, not of one message
}

var fields = [numFields]Info{
	HTTPMethod:    {Protocol: HTTP, Name: "method", Verbatim: true},
	HTTPURI:       {Protocol: HTTP, Name: "uri"},
	HTTPURIRaw:    {Protocol: HTTP, Name: "uri_raw", Verbatim: true},
	HTTPVersion:   {Protocol: HTTP, Name: "version", Verbatim: true},
	HTTPHost:      {Protocol: HTTP, Name: "host"},
	HTTPUserAgent: {Protocol: HTTP, Name: "user_agent", Verbatim: true},
	HTTPHeaders:   {Protocol: HTTP, Name: "headers", Verbatim: true},
	HTTPBody:      {Protocol: HTTP, Name: "body"},
	HTTPRequests:  {Protocol: HTTP, Name: "requests", Kind: Int, flow: true},

	TLSSNI:      {Protocol: TLS, Name: "sni"},
	TLSALPN:     {Protocol: TLS, Name: "alpn"},
	TLSVersion:  {Protocol: TLS, Name: "version"},
	TLSVersions: {Protocol: TLS, Name: "versions"},
	TLSJA3:      {Protocol: TLS, Name: "ja3"},
	TLSJA4:      {Protocol: TLS, Name: "ja4"},

	SSHBanner:   {Protocol: SSH, Name: "banner", Verbatim: true},
	SSHProto:    {Protocol: SSH, Name: "proto", Verbatim: true},
	SSHSoftware: {Protocol: SSH, Name: "software", Verbatim: true},
	SSHHASSH:    {Protocol: SSH, Name: "hassh"},
}

// first is each protocol's first field.
var first = firsts()

func firsts() (at [numProtocols]Field) {
	for i := numFields - 1; i > NoField; i-- {
		at[fields[i].Protocol] = i
	}
	return at
}

// Info describes the field.
func (f Field) Info() Info { return fields[f] }

// String is the field's name in rules: "http.uri".
func (f Field) String() string { return fields[f].Protocol.String() + "." + fields[f].Name }

// Lookup finds a field by its protocol's and its own name.
func Lookup(protocol, name string) (Field, bool) {
	for i := NoField + 1; i < numFields; i++ {
		if fields[i].Name == name && fields[i].Protocol.String() == protocol {
			return i, true
		}
	}
	return NoField, false
}

// Names lists the names of a protocol's fields; nil: there is no such protocol.
func Names(protocol string) (names []string) {
	for i := NoField + 1; i < numFields; i++ {
		if fields[i].Protocol.String() == protocol {
			names = append(names, fields[i].Name)
		}
	}
	return names
}

// Named reports whether there is a protocol of this name.
func Named(protocol string) bool {
	for i := None + 1; i < numProtocols; i++ {
		if protocolNames[i] == protocol {
			return true
		}
	}
	return false
}
