package journey

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestVisits: what a packet meets one after the other is one visit, and what it meets again is another.
func TestVisits(t *testing.T) {
	evidence := Evidence{Milestones: map[Milestone]Watch{
		Qdisc:     {Probes: []Probe{{Function, "dev_qdisc_enqueue"}, {Function, "sch_direct_xmit"}}},
		IPReceive: {Probes: []Probe{{Function, "ip_rcv_core"}, {Function, "ip6_rcv_core"}}},
	}}
	for _, test := range []struct {
		name, script string
		milestone    Milestone
		want         string // event or "-", and branch
	}{
		{"none", "0 see a ip_forward", Qdisc, ""},
		{"one after the other", "0 see a dev_qdisc_enqueue\n0 see a sch_direct_xmit", Qdisc, "0/0"},
		{"straight through", "0 see a sch_direct_xmit", Qdisc, "0/0"},
		{"twice straight through", "0 see a sch_direct_xmit\n0 see a sch_direct_xmit", Qdisc, "0/0 1/0"},
		{"twice", "0 see a dev_qdisc_enqueue\n0 see a sch_direct_xmit\n0 see a dev_qdisc_enqueue\n0 see a sch_direct_xmit", Qdisc,
			"0/0 2/0"},
		{"of two skbs", "0 see a dev_qdisc_enqueue\n0 clone a b\n0 see b sch_direct_xmit", Qdisc, "0/0 1/1"},
		{"the return of a function is none", "0 return a sch_direct_xmit", Qdisc, ""},
		{"on to the hook", "0 see a ip_rcv_core\n0 see a ip_forward", Prerouting, "0/0"},
		{"on to the hook, and dropped there", "0 see a ip_rcv_core\n0 drop a nf_hook_slow", Prerouting, "0/0"},
		{"refused", "0 see a ip_rcv_core\n0 see a sk_skb_reason_drop\n0 drop a ip_rcv_core", Prerouting, ""},
		{"refused, in a part of the function", "0 see a ip_rcv_core\n0 drop a ip_rcv_core.cold", Prerouting, ""},
		{"refused the second time", "0 see a ip_rcv_core\n0 see a ip_forward\n0 see a ip_rcv_core\n0 drop a ip_rcv_core", Prerouting, "0/0"},
		{"dropped in another family's", "0 see a ip_rcv_core\n0 drop a ip6_rcv_core", Prerouting, "0/0"},
		{"delivered", "0 see a udp_rcv\n0 enqueue a\n0 release a", SocketDeliver, "-1/0"},
		{"delivered and thrown away", "0 see a udp_rcv\n0 enqueue a\n0 drop a", SocketDeliver, "-1/0"},
		{"only to a packet socket", "0 tap a\n0 untap a", SocketDeliver, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := NewAssembler(0)
			for line := range strings.Lines(test.script) {
				o := observation(t, line)
				o.NetNS, o.Device = &NetNS{Cookie: 1}, &Device{Index: 1, Name: "eth0"}
				if o.Drop != nil {
					o.Drop.Location, o.Drop.Reason = o.Drop.Reason+"+0x12/0x99", "OTHERHOST"
				}
				a.Add(&o)
			}
			var got []string
			for _, v := range a.Seal(evidence).Journeys[0].Visits(test.milestone) {
				got = append(got, fmt.Sprintf("%d/%d", v.Event, v.Branch))
			}
			qt.Check(t, qt.Equals(strings.Join(got, " "), test.want))
		})
	}
}

// TestOtherDevice: the same functions on another device are another visit.
func TestOtherDevice(t *testing.T) {
	a := NewAssembler(0)
	for i, function := range []string{"dev_qdisc_enqueue", "sch_direct_xmit"} {
		o := observation(t, "0 see a "+function)
		o.NetNS, o.Device = &NetNS{Cookie: 1}, &Device{Index: uint32(i)}
		a.Add(&o)
	}
	j := a.Seal(Evidence{Milestones: map[Milestone]Watch{
		Qdisc: {Probes: []Probe{{Function, "dev_qdisc_enqueue"}, {Function, "sch_direct_xmit"}}},
	}}).Journeys[0]
	qt.Check(t, qt.HasLen(j.Visits(Qdisc), 2))
}

// TestInstead: a packet that came to a milestone by one of its ways is found by the name of another.
func TestInstead(t *testing.T) {
	a := NewAssembler(0)
	play(t, a, "0 see a ip_rcv_core\n0 see a ip_output")
	j := a.Seal(Evidence{Milestones: map[Milestone]Watch{
		IPReceive:   {Probes: []Probe{{Function, "ip_rcv_core"}, {Function, "ip6_rcv_core"}}},
		Postrouting: {Probes: []Probe{{Function, "ip_output"}, {Function, "ip_mc_output"}, {Function, "ip6_output"}}},
	}}).Journeys[0]
	for name, want := range map[string]int{
		"ip_rcv": 1, "ip_list_rcv": 1, "ipv6_rcv": 0, "ip6_rcv_core": 0, "ip_mc_output": 1, "ip6_output": 0, "udp_rcv": 0,
	} {
		qt.Check(t, qt.HasLen(j.Instead(name), want), qt.Commentf("%s", name))
	}
	m, ok := MilestoneOf("veth_xmit")
	qt.Check(t, qt.Equals(m, DeviceTransmit))
	qt.Check(t, qt.IsTrue(ok))
	_, ok = MilestoneOf("kfree")
	qt.Check(t, qt.IsFalse(ok))
}
