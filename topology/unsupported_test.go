package topology

import (
	"errors"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestKindsThatAreMissing: whatever a kernel has, a device of each kind either comes up as that, or the error is typed and
// names the kind and the module that brings it; then nothing is left. Which of the two it is differs by machine, and is logged.
func TestKindsThatAreMissing(t *testing.T) {
	need(t)
	far := IP("172.16.42.2")
	for _, test := range []struct {
		kind         Kind
		name, module string
	}{
		{Dummy{}, "dummy", "dummy"},
		{Bridge{}, "bridge", "bridge"},
		{VLAN{On: "eth0", ID: 7}, "vlan", "8021q"},
		{MACVLAN{On: "eth0"}, "macvlan", "macvlan"},
		{IPVLAN{On: "eth0"}, "ipvlan", "ipvlan"},
		{VRF{Table: 10, Ports: []string{"eth1"}}, "vrf", "vrf"},
		{Bond{Ports: []string{"eth1"}}, "bond", "bonding"},
		{VXLAN{ID: 7, Remote: far}, "vxlan", "vxlan"},
		{Geneve{ID: 7, Remote: far}, "geneve", "geneve"},
		{GRE{Remote: far}, "gre", "ip_gre"},
		{GRE{Remote: IP("fd42:0:0:42::2")}, "ip6gre", "ip6_gre"},
		{GRETAP{Remote: far}, "gretap", "ip_gre"},
		{GRETAP{Remote: IP("fd42:0:0:42::2")}, "ip6gretap", "ip6_gre"},
		{IPIP{Remote: far}, "ipip", "ipip"},
		{SIT{Remote: far}, "sit", "sit"},
		{IP6Tunnel{Remote: IP("fd42:0:0:42::2")}, "ip6tnl", "ip6_tunnel"},
		{WireGuard{}, "wireguard", "wireguard"},
		{XFRM{Remote: far, ID: 1}, "xfrm", "xfrm_interface"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := fds(t)
			var n Network
			a, b := n.Add(Node{Name: "a", Devices: []Device{{Name: "d0", Kind: test.kind}}}), n.Add(Node{Name: "b"})
			n.Connect(a, b)
			n.Connect(a, b)
			r, err := Up(t.Context(), &n)
			if err == nil {
				device, err := r.Device(a, "d0")
				qt.Check(t, qt.IsNil(err))
				qt.Check(t, qt.Equals(device.Kind, test.name))
				qt.Check(t, qt.IsNil(r.Close()))
				return
			}
			missing := (*UnsupportedError)(nil)
			qt.Assert(t, qt.IsTrue(errors.As(err, &missing)), qt.Commentf("%v", err))
			t.Log(err)
			qt.Check(t, qt.Equals(missing.Feature, "devices of type "+test.name))
			qt.Check(t, qt.Equals(missing.Module, test.module))
			qt.Check(t, qt.Equals(err.Error(), "bring up network: node a: create d0: this kernel has no devices of type "+test.name+" (module "+test.module+"): "+
				missing.Err.Error()))
			qt.Check(t, qt.Equals(a.NetNSCookie(), 0))
			qt.Check(t, qt.DeepEquals(fds(t), before))
		})
	}
}
