// Package spelling finds the known word that a mistyped one was meant to be.
package spelling

// far is the distance from which two words are no longer near.
const far = 3

// Nearest is the known word that differs in the fewest letters, at most two; of
// equals the first in the alphabet, and empty where there is none.
func Nearest(word string, known []string) (best string) {
	least := far
	for _, k := range known {
		if d := distance(word, k); d < least || d == least && d < far && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
