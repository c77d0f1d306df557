package bpf

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
)

// typesOf makes BTF of some types.
func typesOf(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder(types, nil)
	qt.Assert(t, qt.IsNil(err))
	raw, err := builder.Marshal(nil, nil)
	qt.Assert(t, qt.IsNil(err))
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	qt.Assert(t, qt.IsNil(err))
	return spec
}

func enum(name string, values map[string]uint64) *btf.Enum {
	e := &btf.Enum{Name: name, Size: 4}
	for name, value := range values {
		e.Values = append(e.Values, btf.EnumValue{Name: name, Value: value})
	}
	return e
}

func TestReasonNames(t *testing.T) {
	const qdisc = 3 << 16
	r := &dropReasons{types: btf.NewCache(), names: make(map[uint32]string), subsystems: map[uint32]string{3: "qdisc"}, read: make(map[string]bool)}
	types := typesOf(t, enum("skb_drop_reason", map[string]uint64{
		"SKB_NOT_DROPPED_YET": 0, "SKB_CONSUMED": 1, "SKB_DROP_REASON_NETFILTER_DROP": 8,
		"SKB_DROP_REASON_FQ_BAND_LIMIT": 40, "SKB_DROP_REASON_MAX": 126, "SKB_DROP_REASON_SUBSYS_MASK": 0xffff0000,
	}), enum("qdisc_drop_reason", map[string]uint64{
		"QDISC_DROP_UNSPEC": 0, "__QDISC_DROP_REASON": qdisc, "QDISC_DROP_OVERLIMIT": qdisc | 2, "QDISC_DROP_MAX": qdisc | 10,
	}))
	qt.Assert(t, qt.IsNil(r.add(types, "skb_drop_reason")))
	qt.Assert(t, qt.IsNil(r.add(types, "qdisc_drop_reason")))
	qt.Assert(t, qt.ErrorIs(r.add(types, "ovs_drop_reason"), btf.ErrNotFound))

	for reason, want := range map[uint32][2]string{
		0: {"NOT_DROPPED_YET"}, 1: {"CONSUMED"}, 8: {"NETFILTER_DROP"},
		40:  {"FQ_BAND_LIMIT"}, // this kernel's name, not a later one's
		126: {"0x7e"}, 0xffff0000: {"0xffff0000"}, 9 << 16: {"0x90000"},
		qdisc: {"0x30000", "qdisc"}, qdisc | 10: {"0x3000a", "qdisc"},
		qdisc | 2: {"QDISC_DROP_OVERLIMIT", "qdisc"},
	} {
		name, subsystem := r.name(reason)
		qt.Check(t, qt.Equals([2]string{name, subsystem}, want))
	}
	qt.Check(t, qt.DeepEquals((&Tracker{decoder: decoder{reasons: r}}).Reasons(), []string{
		"CONSUMED", "FQ_BAND_LIMIT", "NETFILTER_DROP", "QDISC_DROP_OVERLIMIT",
	}))
}

func TestSubsystems(t *testing.T) {
	const prefix = "SKB_DROP_REASON_SUBSYS_"
	found, err := subsystems(typesOf(t, enum("skb_drop_reason_subsys", map[string]uint64{
		prefix + "CORE": 0, prefix + "MAC80211_UNUSABLE": 1, prefix + "OPENVSWITCH": 3, prefix + "NUM": 4,
	})))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(found, map[uint32]string{1: "mac80211_unusable", 3: "openvswitch"}))
	found, err = subsystems(typesOf(t, enum("skb_drop_reason", map[string]uint64{"SKB_CONSUMED": 1}))) // Linux 6.1
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(found, 0))
}
