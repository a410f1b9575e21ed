package proto

import "bytes"

// inline are commands by which a Redis client is known that does not speak RESP.
// GET is not among them: a web browser says it too.
var inline = []string{
	"PING", "INFO", "CONFIG", "AUTH", "SELECT", "KEYS", "FLUSHALL", "FLUSHDB", "SLAVEOF", "REPLICAOF",
	"MODULE", "EVAL", "CLIENT", "COMMAND", "SET", "SAVE", "BGSAVE", "ECHO", "DBSIZE", "MONITOR", "HELLO",
}

func isRedis(b []byte) Status {
	if b[0] != '*' {
		return oneOf(b, inline...)
	}
	for _, c := range b[1:min(len(b), 8)] {
		switch {
		case c == '\r' && len(b) > 2:
			return Known
		case c < '0' || c > '9' || b[1] == '0':
			return Absent
		}
	}
	if len(b) >= 8 {
		return Absent
	}
	return Unknown
}

// Stages of a Redis command in RESP.
const (
	redisBegin uint8 = iota
	redisSize        // at the line with an argument's length
	redisText        // need bytes of an argument, and its end of line, are to come
)

// redis reads one command (RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/).
// In slot RedisLine n counts the arguments to come.
func (f *Flow) redis(b []byte) {
	for f.end == 0 && !f.lost {
		if f.stage == redisText {
			if len(b) < f.scan+f.need+2 {
				return
			}
			f.redisArgument(b[f.scan : f.scan+f.need])
			continue
		}
		if f.stage == redisBegin && f.at < len(b) && b[f.at] != '*' && b[f.at] != '\r' && b[f.at] != '\n' {
			f.redisInline(b)
			return
		}
		text, n, st := line(b[f.scan:], 32)
		switch {
		case st == Unknown:
			return
		case st == Absent:
			f.lose()
			return
		}
		f.scan += n
		f.redisNumber(text)
	}
}

// redisNumber takes a line with a number: of arguments, or of bytes.
func (f *Flow) redisNumber(text []byte) {
	if f.stage == redisBegin && len(text) == 0 {
		f.at = f.scan
		return
	}
	n, ok := 0, len(text) > 0
	if ok {
		n, ok = decimal(text[1:])
	}
	v := f.slot(RedisLine)
	switch {
	case ok && f.stage == redisBegin && text[0] == '*' && n > 0:
		f.stage, v.n = redisSize, n
	case ok && f.stage == redisSize && text[0] == '$':
		f.stage, f.need = redisText, n
	default:
		f.lose()
	}
}

func (f *Flow) redisArgument(text []byte) {
	v := f.slot(RedisLine)
	if len(f.own) == 0 {
		f.own = append(f.own, bytes.ToUpper(text)...)
		f.setOwn(RedisCommand, 0)
		v.from = len(f.own)
	}
	if v.to > 0 {
		f.own = append(f.own, ' ')
	}
	f.own = append(f.own, text...)
	v.to = len(f.own)
	f.scan += len(text) + 2
	f.stage = redisSize
	if v.n--; v.n == 0 {
		v.status, v.in = Known, inOwn
		f.end = f.scan
	}
}

func (f *Flow) redisInline(b []byte) {
	if from, to, ok := f.textLine(b); ok {
		f.command(b, from, to, RedisCommand, RedisLine)
	}
}
