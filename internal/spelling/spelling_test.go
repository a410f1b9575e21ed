package spelling

import "testing"

func TestNearestIsAtMostTwoLettersAway(t *testing.T) {
	known := []string{"rules", "routes", "routing", "tun"}
	for word, want := range map[string]string{
		"rulez": "rules", "rules": "rules", "route": "routes", "rotuing": "routing",
		"turn": "tun", "backends": "", "": "", "roules": "routes",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(tt.a, tt.b); got != tt.want || distance(tt.b, tt.a) != got {
			t.Errorf("%q, %q: %d, want %d both ways", tt.a, tt.b, got, tt.want)
		}
	}
}
