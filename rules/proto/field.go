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

	TelnetLogin    // the first line that was typed, without commands (IAC)
	TelnetPassword // the second
	TelnetLine     // the newest

	SMBVersion    // number: 1, or 2 (SMB 3 is a dialect of it)
	SMBCommand    // number, of the message: 0x72 negotiates in SMB 1
	SMBSubcommand // number: the first setup word of a SMB 1 transaction
	SMBDialects   // "NT LM 0.12,SMB 2.002"; of SMB 2: "2.0.2,3.1.1"
	SMBShare      // of the newest tree connect: "\10.0.0.1\IPC$"

	RDPCookie    // the name in mstshash=
	RDPProtocols // number: requestedProtocols

	RedisCommand // in capitals
	RedisLine    // the command and its arguments, with a space between

	MySQLUser
	MySQLDatabase
	MySQLQuery // of the message
	MySQLTLS   // flag: TLS is asked for

	PostgreSQLUser
	PostgreSQLDatabase
	PostgreSQLApplication
	PostgreSQLQuery // of the message
	PostgreSQLTLS   // flag: TLS was asked for

	MongoDBCommand // "isMaster"
	MongoDBDatabase
	MongoDBTarget // the collection, where the command is for one

	SMTPHelo    // the name in HELO or EHLO
	SMTPFrom    // the newest sender, with its brackets
	SMTPTo      // the newest recipient
	SMTPCommand // in capitals, of the message
	SMTPLine    // the whole line
	SMTPData    // of the mail, so far

	FTPUser
	FTPPassword
	FTPCommand // in capitals, of the message
	FTPLine    // the whole line

	MQTTVersion // number: 3, 4 (3.1.1) or 5
	MQTTClientID
	MQTTUser
	MQTTPassword
	MQTTPacket // number: the packet's type
	MQTTTopic  // that the packet publishes, or subscribes to first

	SIPMethod
	SIPURI
	SIPUserAgent
	SIPFrom
	SIPTo
	SIPHeaders

	numFields
)

// Kind is a field's type.
type Kind uint8

// The kinds: bytes, whole numbers, and what is 1 or 0.
const (
	Bytes Kind = iota
	Int
	Flag
)

// Info describes a field.
type Info struct {
	Protocol Protocol
	Name     string // within the protocol: "uri"
	Kind     Kind
	// Verbatim: the bytes are the stream's own, so what they contain the stream
	// contains.
	Verbatim bool
	// Late: the client says it only after it has answered what its server chose, a
	// challenge or a number of a session. A server that chose otherwise cannot take
	// the connection over any more (docs/protocols.md).
	Late bool

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

	TelnetLogin:    {Protocol: Telnet, Name: "login", flow: true},
	TelnetPassword: {Protocol: Telnet, Name: "password", flow: true},
	TelnetLine:     {Protocol: Telnet, Name: "line"},

	SMBVersion:    {Protocol: SMB, Name: "version", Kind: Int, flow: true},
	SMBCommand:    {Protocol: SMB, Name: "command", Kind: Int},
	SMBSubcommand: {Protocol: SMB, Name: "subcommand", Late: true, Kind: Int},
	SMBDialects:   {Protocol: SMB, Name: "dialects", flow: true},
	SMBShare:      {Protocol: SMB, Name: "share", Late: true, flow: true},

	RDPCookie:    {Protocol: RDP, Name: "cookie", Verbatim: true},
	RDPProtocols: {Protocol: RDP, Name: "protocols", Kind: Int},

	RedisCommand: {Protocol: Redis, Name: "command"},
	RedisLine:    {Protocol: Redis, Name: "line"},

	MySQLUser:     {Protocol: MySQL, Name: "user", Late: true, Verbatim: true, flow: true},
	MySQLDatabase: {Protocol: MySQL, Name: "database", Late: true, Verbatim: true, flow: true},
	MySQLQuery:    {Protocol: MySQL, Name: "query", Late: true, Verbatim: true},
	MySQLTLS:      {Protocol: MySQL, Name: "tls", Late: true, Kind: Flag, flow: true},

	PostgreSQLUser:        {Protocol: PostgreSQL, Name: "user", Verbatim: true, flow: true},
	PostgreSQLDatabase:    {Protocol: PostgreSQL, Name: "database", Verbatim: true, flow: true},
	PostgreSQLApplication: {Protocol: PostgreSQL, Name: "application", Verbatim: true, flow: true},
	PostgreSQLQuery:       {Protocol: PostgreSQL, Name: "query", Late: true, Verbatim: true},
	PostgreSQLTLS:         {Protocol: PostgreSQL, Name: "tls", Kind: Flag, flow: true},

	MongoDBCommand:  {Protocol: MongoDB, Name: "command", Verbatim: true},
	MongoDBDatabase: {Protocol: MongoDB, Name: "database", Verbatim: true},
	MongoDBTarget:   {Protocol: MongoDB, Name: "collection", Verbatim: true},

	SMTPHelo:    {Protocol: SMTP, Name: "helo", Verbatim: true, flow: true},
	SMTPFrom:    {Protocol: SMTP, Name: "from", Verbatim: true, flow: true},
	SMTPTo:      {Protocol: SMTP, Name: "to", Verbatim: true, flow: true},
	SMTPCommand: {Protocol: SMTP, Name: "command"},
	SMTPLine:    {Protocol: SMTP, Name: "line", Verbatim: true},
	SMTPData:    {Protocol: SMTP, Name: "data", Verbatim: true},

	FTPUser:     {Protocol: FTP, Name: "user", Verbatim: true, flow: true},
	FTPPassword: {Protocol: FTP, Name: "password", Verbatim: true, flow: true},
	FTPCommand:  {Protocol: FTP, Name: "command"},
	FTPLine:     {Protocol: FTP, Name: "line", Verbatim: true},

	MQTTVersion:  {Protocol: MQTT, Name: "version", Kind: Int, flow: true},
	MQTTClientID: {Protocol: MQTT, Name: "client_id", Verbatim: true, flow: true},
	MQTTUser:     {Protocol: MQTT, Name: "user", Verbatim: true, flow: true},
	MQTTPassword: {Protocol: MQTT, Name: "password", Verbatim: true, flow: true},
	MQTTPacket:   {Protocol: MQTT, Name: "packet", Kind: Int},
	MQTTTopic:    {Protocol: MQTT, Name: "topic", Verbatim: true},

	SIPMethod:    {Protocol: SIP, Name: "method", Verbatim: true},
	SIPURI:       {Protocol: SIP, Name: "uri", Verbatim: true},
	SIPUserAgent: {Protocol: SIP, Name: "user_agent", Verbatim: true},
	SIPFrom:      {Protocol: SIP, Name: "from", Verbatim: true},
	SIPTo:        {Protocol: SIP, Name: "to", Verbatim: true},
	SIPHeaders:   {Protocol: SIP, Name: "headers", Verbatim: true},
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
