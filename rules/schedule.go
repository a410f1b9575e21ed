package rules

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/ast"
)

// Schedules. between("22:00", "06:00") becomes ·between with minutes of the day.

// weekdays are the fact weekday's values.
var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// between patches a call with two times of the day.
func (v *visitor) between(node *ast.Node, n *ast.CallNode) {
	if len(n.Arguments) != 2 {
		return
	}
	var minutes [2]int
	before := len(v.errs)
	for i := range minutes {
		v.constant(n, i, func(s string) (err error) { minutes[i], err = minuteOf(s); return err })
	}
	if len(v.errs) == before {
		v.become(node, n, "·between", &ast.IntegerNode{Value: minutes[0]}, &ast.IntegerNode{Value: minutes[1]})
	}
}

// minuteOf reads a time of the day.
func minuteOf(s string) (int, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf(`%q is no time of the day; write one such as "22:00"`, s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// between reports whether it is a time from one minute of the day on and before
// another, be it over midnight.
func (e *env) between(from, to int) bool {
	now := e.now.Hour()*60 + e.now.Minute()
	if from <= to {
		return from <= now && now < to
	}
	return from <= now || now < to
}
