package journey

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// sight is an event that shows a packet without a link header, in hex.
func sight(t *testing.T, proto uint16, text string) *Event {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	qt.Assert(t, qt.IsNil(err))
	return &Event{Packet: &Packet{Proto: proto, Len: uint32(len(data)), Data: data}}
}

const udp4 = "4500 0020 0009 4000 4011 1234 0a000001 0a000002 0001 0002 000c abcd 61626364"

func field(t *testing.T, name string) Field {
	t.Helper()
	i := slices.IndexFunc(Fields(), func(f Field) bool { return f.Name == name })
	qt.Assert(t, qt.IsTrue(i >= 0), qt.Commentf("%s", name))
	return Fields()[i]
}

// TestFieldRead: every field of the table, where it is and where it is not.
func TestFieldRead(t *testing.T) {
	v4 := sight(t, 0x0800, "45b9"+udp4[4:])
	v4.Packet.VLAN = &VLAN{0x8100, 0x6005}
	v4.Meta = &Meta{Mark: 7, Priority: 6}
	v4.Conntrack = &Conntrack{State: "NEW", Mark: 9, Zone: 3}
	v6 := sight(t, 0x86dd, "6b90 0000 0008 3a 40"+ipv6Prefix+"8000 0000 0005 0006")
	framed := sight(t, 0x0800, "020000000002 020000000001 8100 2064 0800"+udp4)
	framed.Packet.Network = 18
	unfinished := sight(t, 0, "0000")
	for _, test := range []struct{ name, v4, v6, framed string }{
		{"src", "10.0.0.1", "fd00::1", "10.0.0.1"},
		{"dst", "10.0.0.2", "fd00::2", "10.0.0.2"},
		{"src port", "1", "", "1"},
		{"dst port", "2", "", "2"},
		{"proto", "17", "58", "17"},
		{"ttl", "64", "64", "64"},
		{"tos", "0xb9", "0xb9", "0x0"},
		{"dscp", "46", "46", "0"},
		{"ecn", "1", "1", "0"},
		{"id", "9", "", "9"},
		{"len", "32", "", "32"},
		{"vlan", "5", "", "100"},
		{"src mac", "", "", "02:00:00:00:00:01"},
		{"dst mac", "", "", "02:00:00:00:00:02"},
		{"mark", "0x7", "", ""},
		{"priority", "6", "", ""},
		{"ct mark", "0x9", "", ""},
		{"ct zone", "3", "", ""},
		{"ct state", "NEW", "", ""},
	} {
		for i, e := range []*Event{v4, v6, framed, unfinished, {}} {
			want := []string{test.v4, test.v6, test.framed, "", ""}[i]
			got, ok := field(t, test.name).Read(e)
			if !ok {
				got = ""
			}
			qt.Check(t, qt.Equals(got, want), qt.Commentf("%s of %d", test.name, i))
		}
	}
	qt.Check(t, qt.HasLen(Fields(), 19))
}

func TestFieldCanonical(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"ttl", "0x40", "64"}, {"mark", "16", "0x10"}, {"src", "fd00:0::1", "fd00::1"}, {"ct state", "new", "NEW"},
		{"src mac", "02-00-00-00-00-0A", "02:00:00:00:00:0a"},
	} {
		got, err := field(t, test.name).Canonical(test.value)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(got, test.want))
	}
	for _, test := range []struct{ name, value, want string }{
		{"ttl", "256", `"256" is no ttl: that is a number from 0 to 255`},
		{"dscp", "64", `"64" is no dscp: that is a number from 0 to 63`},
		{"mark", "-1", `"-1" is no mark: that is a number from 0 to 4294967295`},
		{"src", "fw", `"fw" is no address: .*`},
		{"dst mac", "10.0.0.1", `"10.0.0.1" is no address of a link: .*`},
	} {
		_, err := field(t, test.name).Canonical(test.value)
		qt.Check(t, qt.ErrorMatches(err, test.want))
	}
}

// TestChanges: one byte at a time, and what the kernel changes without meaning anything by it.
func TestChanges(t *testing.T) {
	const v6 = "6000 0000 000c 11 40" + ipv6Prefix + "0001 0002 000c abcd 61626364"
	tcp := "4500 002c 0009 4000 4006 1234 0a000001 0a000002 0001 0002 00000001 00000000 5002 ffff abcd 0000 61626364"
	for _, test := range []struct {
		name     string
		proto    uint16
		from, to string
		want     string
	}{
		{"nothing", 0x0800, udp4, udp4, ""},
		{"a router", 0x0800, udp4, strings.Replace(udp4, "4011 1234", "3f11 1334", 1), ""},
		{"a checksum left to the device", 0x0800, udp4, strings.Replace(udp4, "abcd", "0123", 1), ""},
		{"that of TCP", 0x0800, tcp, strings.Replace(tcp, "abcd", "0123", 1), ""},
		{"a length not written yet", 0x0800, strings.Replace(udp4, "0020", "0000", 1), udp4, ""},
		{"less captured", 0x0800, udp4, udp4[:len(udp4)-4], ""},
		{"hop limit", 0x86dd, v6, strings.Replace(v6, "11 40", "11 3f", 1), ""},
		{"source", 0x0800, udp4, strings.Replace(udp4, "0a000001", "0a000009", 1), "src from 10.0.0.1 to 10.0.0.9"},
		{"ports", 0x0800, udp4, strings.Replace(udp4, "0001 0002", "0003 0004", 1), "src port from 1 to 3, dst port from 2 to 4"},
		{"dscp", 0x0800, udp4, "45b8" + udp4[4:], "tos from 0x0 to 0xb8"},
		{"class", 0x86dd, v6, "6b80" + v6[4:], "tos from 0x0 to 0xb8"},
		{"flags", 0x0800, udp4, strings.Replace(udp4, "4000", "0000", 1), "byte 6, counted from the network header on, from 0x40 to 0x00"},
		{"flow label", 0x86dd, v6, "6000 0001" + v6[9:], "byte 3, counted from the network header on, from 0x00 to 0x01"},
		{"payload", 0x0800, udp4, strings.Replace(udp4, "61626364", "61626365", 1), "byte 31, counted from the network header on, from 0x64 to 0x65"},
		{"sequence", 0x0800, tcp, strings.Replace(tcp, "00000001", "00000002", 1), "byte 27, counted from the network header on, from 0x01 to 0x02"},
		{"a tunnel", 0x0800, udp4, "4500 0034 0009 4000 4004 1234 0a000001 0a000002" + udp4, "the tunnels around it from none to ipip"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changes, ok := sight(t, test.proto, test.from).Changes(sight(t, test.proto, test.to))
			qt.Assert(t, qt.IsTrue(ok))
			var words []string
			for _, c := range changes {
				words = append(words, c.String())
			}
			qt.Check(t, qt.Equals(strings.Join(words, ", "), test.want))
		})
	}
	changes, ok := sight(t, 0x0800, udp4).Changes(sight(t, 0x8847, "00001140"+udp4))
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(changes[0].String(), "ethertype from IPv4 (0x0800) to MPLS (0x8847)"))
	_, ok = sight(t, 0x0800, udp4).Changes(&Event{})
	qt.Check(t, qt.IsFalse(ok))
	// The link header and its tags are none of it.
	framed := sight(t, 0x0800, "020000000002 020000000001 8100 2064 0800"+udp4)
	framed.Packet.Network = 18
	changes, ok = sight(t, 0x0800, udp4).Changes(framed)
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.HasLen(changes, 0))
}

func TestTunnels(t *testing.T) {
	outer := func(proto, rest string) string {
		return "4500 0000 0009 4000 40" + proto + " 1234 0a000001 0a000002" + rest
	}
	eth := "020000000002 020000000001 0800"
	for _, test := range []struct{ name, packet, want string }{
		{"none", udp4, ""},
		{"ipip", outer("04", udp4), "ipip"},
		{"sit", outer("29", "6000 0000 0008 3a 40"+ipv6Prefix+"8000 0000 0005 0006"), "sit"},
		{"gre", outer("2f", "0000 0800"+udp4), "gre"},
		{"gretap with an unknown inside", outer("2f", "0000 1234"), "gre"},
		{"vxlan", outer("11", "0001 12b5 0000 0000 08000000 00002a00"+eth+udp4), "vxlan"},
		{"that port, but no vxlan", outer("11", "0001 12b5 0000 0000 00000000 00002a00"+eth+udp4), ""},
		{"geneve", outer("11", "0001 17c1 0000 0000 00006558 00002a00"+eth+udp4), "geneve"},
		{"esp", outer("32", "00000001 00000002 deadbeef"), "esp"},
		{"esp in udp", outer("11", "1194 1194 0000 0000 00000001 00000002 deadbeef"), "esp"},
		{"ah", outer("33", "1104 0000 00000001 00000002 00000000 00000000 00000000 0001 0002 000c abcd 61626364"), "ah"},
		{"gre in ipip", outer("04", outer("2f", "0000 0800"+udp4)), "ipip gre"},
		{"an error about one", outer("01", "0301 0000 00000000"+outer("2f", "0000 0800"+udp4)), ""},
	} {
		got := sight(t, 0x0800, test.packet).Packet.Tunnels()
		qt.Check(t, qt.Equals(strings.Join(got, " "), test.want), qt.Commentf("%s", test.name))
	}
}

// FuzzFields: any bytes are read without a panic, what is read is canonical, and a packet differs from itself in nothing.
func FuzzFields(f *testing.F) {
	for _, text := range []string{udp4, "6b90 0000 0008 3a 40" + ipv6Prefix + "8000 0000 0005 0006", "020000000002 020000000001 8100 2064 0800" + udp4} {
		data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		qt.Assert(f, qt.IsNil(err))
		f.Add(uint16(0x0800), 0, data, data)
		f.Add(uint16(0x86dd), 18, data, data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, proto uint16, network int, data, other []byte) {
		e := &Event{Packet: &Packet{Proto: proto, Network: network, Data: data}}
		for _, field := range Fields() {
			if value, ok := field.Read(e); ok {
				canonical, err := field.Canonical(value)
				qt.Assert(t, qt.IsNil(err))
				qt.Assert(t, qt.Equals(canonical, value))
			}
		}
		changes, _ := e.Changes(e)
		qt.Assert(t, qt.HasLen(changes, 0))
		e.Changes(&Event{Packet: &Packet{Proto: proto, Network: network, Data: other}})
	})
}
