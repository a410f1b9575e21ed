package proto

// Packet types (MQTT 5.0, section 2.1.2).
const (
	mqttConnect   = 1
	mqttPublish   = 3
	mqttSubscribe = 8
)

// isMQTT knows a CONNECT by the protocol's name (MQTT 3.1.1, section 3.1.2.1;
// "MQIsdp" in 3.1) after a remaining length of one to three bytes.
func isMQTT(b []byte) Status {
	if b[0] != mqttConnect<<4 {
		return Absent
	}
	_, n, ok := mqttLength(b[1:])
	switch {
	case ok && n == 0:
		return Unknown
	case !ok || n > 3:
		return Absent
	}
	b = b[1+n:]
	return either(begins(b, "\x00\x04MQTT"), begins(b, "\x00\x06MQIsdp"))
}

// mqttLength reads a variable length of n bytes (section 1.5.5); n is 0 while it
// is not whole.
func mqttLength(b []byte) (v, n int, ok bool) {
	for i, c := range b {
		if i == 4 {
			return 0, 0, false
		}
		v |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1, true
		}
	}
	return 0, 0, len(b) < 4
}

// mqtt reads one packet.
func (f *Flow) mqtt(b []byte) {
	head := b[f.at:]
	if len(head) < 2 {
		return
	}
	size, n, ok := mqttLength(head[1:])
	switch {
	case !ok:
		f.lose()
		return
	case n == 0:
		return
	}
	typ := int(head[0] >> 4)
	f.setInt(MQTTPacket, typ)
	from := f.at + 1 + n
	if len(b) < from+size {
		return
	}
	f.end = from + size
	r := reader{b: b[from:f.end]}
	switch typ {
	case mqttConnect:
		f.mqttConnect(&r, from)
	case mqttPublish:
		f.mqttText(MQTTTopic, &r, from)
	case mqttSubscribe:
		r.take(2) // packet identifier
		f.mqttProperties(&r)
		f.mqttText(MQTTTopic, &r, from)
	}
	f.rest()
}

// mqttText says that a field is r's next text, which has a length of two bytes.
func (f *Flow) mqttText(field Field, r *reader, from int) {
	text := r.sized(2)
	if !r.short {
		f.set(field, from+r.at-len(text), from+r.at)
	}
}

// mqttProperties passes over what only MQTT 5 has.
func (f *Flow) mqttProperties(r *reader) {
	if f.slot(MQTTVersion).n < 5 {
		return
	}
	size, n, ok := mqttLength(r.rest())
	if !ok || n == 0 {
		r.short = true
		return
	}
	r.take(n + size)
}

// mqttConnect reads a CONNECT's payload (MQTT 5.0, section 3.1).
func (f *Flow) mqttConnect(r *reader, from int) {
	r.sized(2)
	f.setInt(MQTTVersion, r.be(1)&0x7f)
	flags := r.be(1)
	r.take(2) // keep alive
	f.mqttProperties(r)
	f.mqttText(MQTTClientID, r, from)
	if flags&0x04 != 0 { // will
		f.mqttProperties(r)
		r.sized(2)
		r.sized(2)
	}
	if flags&0x80 != 0 {
		f.mqttText(MQTTUser, r, from)
	}
	if flags&0x40 != 0 {
		f.mqttText(MQTTPassword, r, from)
	}
}
