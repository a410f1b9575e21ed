package proto

import (
	"fmt"
	"strings"
	"testing"
)

// utf16 writes ASCII as UTF-16LE.
func utf16(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		out.WriteByte(c)
		out.WriteByte(0)
	}
	return out.String()
}

func le(v, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return string(b)
}

// smb1 builds a message with words and bytes.
func smb1(command byte, unicode bool, words, data string) string {
	flags2 := "\x01\x48"
	if unicode {
		flags2 = "\x01\xc8"
	}
	m := "\xffSMB" + string([]byte{command}) + "\x00\x00\x00\x00\x18" + flags2 + strings.Repeat("\x00", 20) +
		string([]byte{byte(len(words) / 2)}) + words + le(len(data), 2) + data
	return "\x00" + be(len(m), 3) + m
}

func smb2(command int, body string) string {
	m := "\xfeSMB\x40\x00\x00\x00\x00\x00\x00\x00" + le(command, 2) + strings.Repeat("\x00", 50) + body
	return "\x00" + be(len(m), 3) + m
}

// bsonDoc builds a document of texts and one number.
func bsonDoc(pairs ...string) string {
	d := ""
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "1" {
			d += "\x10" + pairs[i] + "\x00" + le(1, 4)
			continue
		}
		d += "\x02" + pairs[i] + "\x00" + le(len(pairs[i+1])+1, 4) + pairs[i+1] + "\x00"
	}
	return le(len(d)+5, 4) + d + "\x00"
}

func mongo(op int, body string) string {
	return le(len(body)+16, 4) + le(7, 4) + le(0, 4) + le(op, 4) + body
}

func mysqlPacket(seq byte, p string) string { return le(len(p), 3) + string([]byte{seq}) + p }

func mysqlLogin(caps int, rest string) string {
	return mysqlPacket(1, le(caps, 4)+le(1<<24, 4)+"\x21"+strings.Repeat("\x00", 23)+rest)
}

func pgStartup(pairs ...string) string {
	p := be(196608, 4) + strings.Join(pairs, "\x00") + "\x00\x00"
	return be(len(p)+4, 4) + p
}

func pg(typ, body string) string { return typ + sized4(body) }

func sized4(s string) string { return be(len(s)+4, 4) + s }

func mqttPacket(head byte, body string) string {
	return string([]byte{head, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}) + body
}

// others are conversations, as their clients lead them, and what they come to.
var others = []struct{ name, proto, stream, want string }{
	{
		"Mirai logs in", "telnet", "\xff\xfb\x01\xff\xfb\x03\xff\xfc\x27root\r\x00xc3511\r\x00enable\r\nshell\r\n",
		`login="root" password="xc3511" line="shell"`,
	},
	{
		"options within a line", "telnet", "\xff\xfa\x18\x00xterm\xff\xf0ro\xff\xf1o\xff\xfb\x01t\r\nad\xff\xffmin\n",
		`login="root" password="ad\xffmin" line="ad\xffmin"`,
	},
	{
		"SMB 1 and 2 are negotiated", "smb",
		smb1(smbNegotiate, false, "", "\x02PC NETWORK PROGRAM 1.0\x00\x02NT LM 0.12\x00\x02SMB 2.002\x00"),
		`version=1 command=114 dialects="PC NETWORK PROGRAM 1.0,NT LM 0.12,SMB 2.002"`,
	},
	{
		"a tree of SMB 1", "smb",
		smb1(smbTreeConnect, true, "\xff\x00\x00\x00\x08\x00\x01\x00", "\x00"+utf16(`\\192.0.2.1\IPC$`)+"\x00\x00?????\x00"),
		`version=1 command=117 share="\\\\192.0.2.1\\IPC$"`,
	},
	{
		"a tree in OEM characters", "smb",
		smb1(smbTreeConnect, false, "\xff\x00\x00\x00\x08\x00\x01\x00", "\x00\\\\A\\C$\x00?????\x00"),
		`version=1 command=117 share="\\\\A\\C$"`,
	},
	{
		"MS17-010 is looked for: PeekNamedPipe", "smb",
		smb1(smbTransaction, true, strings.Repeat("\x00", 26)+"\x02\x00\x23\x00\x00\x00", "\x00"),
		`version=1 command=37 subcommand=35`,
	},
	{
		"DoublePulsar is asked: TRANS2_SESSION_SETUP", "smb",
		smb1(smbTrans2, true, strings.Repeat("\x00", 26)+"\x01\x00\x0e\x00", "\x00"),
		`version=1 command=50 subcommand=14`,
	},
	{
		"SMB 3 is negotiated, and a tree connected", "smb",
		smb2(smb2Negotiate, "\x24\x00\x03\x00"+strings.Repeat("\x00", 32)+"\x02\x02\x02\x03\x11\x03") +
			smb2(smb2TreeConnect, "\x09\x00\x00\x00"+le(72, 2)+le(16, 2)+utf16(`\\b\tmp`)+"\x00\x00"),
		`version=2 command=3 dialects="2.0.2,3.0.2,3.1.1" share="\\\\b\\tmp"`,
	},
	{
		"a session request on port 139", "smb",
		"\x81\x00\x00\x44" + strings.Repeat("\x20", 68) + smb1(smbNegotiate, false, "", "\x02NT LM 0.12\x00"),
		`version=1 command=114 dialects="NT LM 0.12"`,
	},
	{
		"rdp", "rdp", "\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00Cookie: mstshash=hello\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
		`cookie="hello" protocols=3`,
	},
	{"rdp, nothing asked for", "rdp", "\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x00\x00", ``},
	{
		"redis-cli", "redis", "*1\r\n$4\r\nPING\r\n*4\r\n$6\r\nconfig\r\n$3\r\nSET\r\n$3\r\ndir\r\n$11\r\n/root/.ssh/\r\n",
		`command="CONFIG" line="config SET dir /root/.ssh/"`,
	},
	{"Redis, by hand", "redis", "ping\r\n\r\nslaveof 192.0.2.1 6379\r\n", `command="SLAVEOF" line="slaveof 192.0.2.1 6379"`},
	{"an empty argument", "redis", "*2\r\n$4\r\nAUTH\r\n$0\r\n\r\n", `command="AUTH" line="AUTH "`},
	{"not Redis any more", "redis", "*1\r\n$4\r\nPING\r\n*-1\r\n", ``},
	{
		"mysql", "mysql",
		mysqlLogin(mysqlProto41|mysqlSecure|mysqlWithDB|1, "root\x00\x14"+strings.Repeat("h", 20)+"shop\x00mysql_native_password\x00") +
			mysqlPacket(0, "\x03select @@version"),
		`user="root" database="shop" query="select @@version" tls=0`,
	},
	{"MySQL with TLS", "mysql", mysqlPacket(1, le(mysqlProto41|mysqlTLS|1, 4)+le(1<<24, 4)+"\x21"+strings.Repeat("\x00", 23)), `tls=1`},
	{
		"psql", "postgresql", be(8, 4) + be(pgTLS, 4) + pgStartup("user", "joe", "database", "shop", "application_name", "psql", "client_encoding", "UTF8") +
			pg("Q", "select 1\x00"),
		`user="joe" database="shop" application="psql" query="select 1" tls=1`,
	},
	{"PostgreSQL, in plain", "postgresql", pgStartup("user", "postgres"), `user="postgres" tls=0`},
	{
		"mongosh", "mongodb", mongo(mongoQuery, le(0, 4)+"admin.$cmd\x00"+le(0, 4)+le(1, 4)+bsonDoc("isMaster", "1", "comment", "x")),
		`command="isMaster" database="admin"`,
	},
	{
		"mongosh, later", "mongodb", mongo(mongoMsg, le(0, 4)+"\x00"+bsonDoc("find", "users", "limit", "1", "$db", "shop")),
		`command="find" database="shop" collection="users"`,
	},
	{
		"a mail", "smtp", "EHLO mail.example.org\r\nMAIL FROM: <a@example.org>\r\nrcpt to:<b@example.net>\r\nDATA\r\nSubject: () { :;}\r\n\r\n..\r\n",
		`helo="mail.example.org" from="<a@example.org>" to="<b@example.net>" data="Subject: () { :;}\r\n\r\n..\r\n"…`,
	},
	{
		"after the mail", "smtp", "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:a\r\nDATA\r\nS: t\r\n.\r\nQUIT\r\n",
		`helo="x" from="<>" to="a" command="QUIT" line="QUIT"`,
	},
	{
		"a mail to no one hides no command", "smtp", "HELO x\r\nDATA\r\nBDAT 99\r\nSTARTTLS\r\nRCPT TO:a\r\n",
		`helo="x" to="a" command="RCPT" line="RCPT TO:a"`,
	},
	{
		"a mail in chunks", "smtp", "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:a\r\nBDAT 12 LAST\r\nRCPT TO:<b>\nRSET\r\n",
		`helo="x" from="<>" to="a" command="RSET" line="RSET"`,
	},
	{"TLS was agreed to", "smtp", "HELO x\r\nSTARTTLS\r\n\x16\x03\x01\x00\x0a\n\n", `helo="x"`},
	{"TLS was refused", "ftp", "AUTH TLS\r\nUSER x:)\r\n", `user="x:)" command="USER" line="USER x:)"`},
	{
		"ftp", "ftp", "USER anonymous\r\nPASS a@b\r\nsite exec /bin/sh\r\n",
		`user="anonymous" password="a@b" command="SITE" line="site exec /bin/sh"`,
	},
	{
		"mosquitto_pub", "mqtt", mqttPacket(0x10, sized(2, "MQTT")+"\x04\xc2\x00\x3c"+sized(2, "mosq-1")+sized(2, "u")+sized(2, "p")) +
			mqttPacket(0x30, sized(2, "home/door")+"open"),
		`version=4 client_id="mosq-1" user="u" password="p" packet=3 topic="home/door"`,
	},
	{
		"MQTT 5 with properties", "mqtt", mqttPacket(0x10, sized(2, "MQTT")+"\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x0a"+sized(2, "c")) +
			mqttPacket(0x82, "\x00\x01\x00"+sized(2, "$SYS/#")+"\x00"),
		`version=5 client_id="c" packet=8 topic="$SYS/#"`,
	},
	{
		"sipvicious", "sip", "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 1.1.1.1\r\nf: \"sipvicious\"<sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n",
		`method="OPTIONS" uri="sip:100@192.0.2.1" user_agent="friendly-scanner" from="\"sipvicious\"<sip:100@1.1.1.1>;tag=1" to="<sip:100@1.1.1.1>" headers="Via: SIP/2.0/TCP 1.1.1.1\r\nf: \"sipvicious\"<sip:100@1.1.1.1>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n"`,
	},
}

func TestConversations(t *testing.T) {
	for i, c := range others {
		t.Run(fmt.Sprint(i, " ", c.name), func(t *testing.T) { wantFields(t, c.stream, c.proto, c.want) })
	}
}
