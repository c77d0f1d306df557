package nearest

import (
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestNames(t *testing.T) {
	functions := []string{"ip_rcv", "ip_forward", "ip_local_deliver", "ip_local_deliver_finish", "icmp_rcv", "udp_rcv"}
	for _, tc := range []struct {
		name string
		want []string
	}{
		{"ip_fowrard", []string{"ip_forward"}},
		{"ip_local_delivr", []string{"ip_local_deliver"}},
		{"ip_local", []string{"ip_local_deliver", "ip_local_deliver_finish"}},
		{"ip_rcv", []string{"ip_rcv", "icmp_rcv", "udp_rcv"}},
		{"completely_different", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			qt.Assert(t, qt.DeepEquals(Names(tc.name, slices.Values(functions)), tc.want))
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		qt.Check(t, qt.Equals(distance(tc.a, tc.b), tc.want), qt.Commentf("%q %q", tc.a, tc.b))
	}
}
