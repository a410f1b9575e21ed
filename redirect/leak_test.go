package redirect_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"sleight/redirect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(untouched{m}) }

// untouched are all tests, and that none of them made the gateway write to what all
// joined flows share.
type untouched struct{ *testing.M }

func (m untouched) Run() int {
	code := m.M.Run()
	if !redirect.JoinedIsEmpty() {
		fmt.Fprintln(os.Stderr, "FAIL: a joined flow has written to what all of them share")
		code = 1
	}
	return code
}
