package crowd

import "testing"

func TestFlowsStandWhereTheyShould(t *testing.T) {
	for _, switched := range []bool{true, false} {
		f, err := Measure(2000, switched)
		if err != nil {
			t.Fatalf("switched %v: %v", switched, err)
		}
		if f.Heap <= 0 {
			t.Errorf("switched %v: %+v", switched, f)
		}
		t.Logf("switched %v: %+v", switched, f)
	}
}
