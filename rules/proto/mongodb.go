package proto

import "bytes"

// Operations (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/).
const (
	mongoQuery = 2004
	mongoMsg   = 2013
	maxMongo   = 48_000_000 // MongoDB's own bound of a message
)

// isMongoDB knows a message by its operation.
func isMongoDB(b []byte) Status {
	return either(
		alike(b, any, any, any, any, any, any, any, any, 0, 0, 0, 0, mongoQuery&0xff, mongoQuery>>8, 0, 0),
		alike(b, any, any, any, any, any, any, any, any, 0, 0, 0, 0, mongoMsg&0xff, mongoMsg>>8, 0, 0))
}

// mongodb reads one message: length, two numbers and operation.
func (f *Flow) mongodb(b []byte) {
	r := reader{b: b, at: f.at}
	size := r.le(4)
	if !r.short && (size < 16 || size > maxMongo) {
		f.lose()
		return
	}
	m := reader{b: r.take(size - 4)}
	if r.short {
		return
	}
	f.end = r.at
	from := f.end - len(m.b)
	m.take(8)
	op := m.le(4)
	m.take(4) // flags
	switch op {
	case mongoQuery:
		at := m.at
		name := cstring(&m)
		if i := bytes.IndexByte(name, '.'); i >= 0 {
			f.set(MongoDBDatabase, from+at, from+at+i)
		}
		m.take(8)
		f.bson(&m, from)
	case mongoMsg:
		if m.be(1) == 0 { // a section with one document
			f.bson(&m, from)
		}
	}
	f.rest()
}

// bson notes of a document the first element, which is the command, and "$db"
// (https://bsonspec.org/spec.html). r reads what lies at from in the stream.
func (f *Flow) bson(r *reader, from int) {
	r.take(4)
	for i := 0; i < 64 && !r.empty(); i++ {
		typ := r.be(1)
		if typ == 0 || r.short {
			return
		}
		at := r.at
		name := cstring(r)
		if i == 0 && len(name) > 0 {
			f.set(MongoDBCommand, from+at, from+at+len(name))
		}
		at = r.at
		if !bsonValue(r, typ) {
			return
		}
		if typ != 2 || r.short {
			continue
		}
		switch text := r.at - 1; {
		case i == 0:
			f.set(MongoDBTarget, from+at+4, from+max(at+4, text))
		case string(name) == "$db":
			f.set(MongoDBDatabase, from+at+4, from+max(at+4, text))
		}
	}
}

// bsonValue takes a value; false: its size is not known here.
func bsonValue(r *reader, typ int) bool {
	switch typ {
	case 1, 9, 17, 18: // double, time, timestamp, int64
		r.take(8)
	case 2, 13, 14: // texts
		r.take(r.le(4))
	case 3, 4: // document, array
		r.take(r.le(4) - 4)
	case 5: // binary
		r.take(r.le(4) + 1)
	case 7: // object id
		r.take(12)
	case 8: // boolean
		r.take(1)
	case 10: // null
	case 16: // int32
		r.take(4)
	case 19: // decimal
		r.take(16)
	default:
		return false
	}
	return true
}
