package bed_test

import "bytes"

func containsLine(out []byte, word string) bool {
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}
