package redirect

import (
	"testing"
	"unsafe"
)

// A joined flow is an entry and a leg. Each fills a size of Go's allocator, of which the
// next are 288 and 224: whoever adds a field finds it a place aside, or says here what
// it is worth.
func TestAJoinedFlowIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n > 256 {
		t.Errorf("an entry is %d bytes", n)
	}
	if n := unsafe.Sizeof(leg{}); n > 208 {
		t.Errorf("a leg is %d bytes", n)
	}
}
