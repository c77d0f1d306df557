package packet

import (
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestDescriptionsAreOneLine(t *testing.T) {
	to, six := ip("172.16.42.2"), ip("fd42:0:0:42::2")
	for _, test := range []struct {
		packet Packet
		want   string
	}{
		{UDP{To: to, DstPort: 8080, Payload: []byte("hey")}, "UDP ? > 172.16.42.2.8080 len 3"},
		{UDP{To: six, DstPort: 8080, SrcPort: 4000, Src: ip("fd00::1")}, "UDP fd00::1.4000 > fd42:0:0:42::2.8080 len 0"},
		{UDP{SrcPort: 4000}, "UDP ?.4000 > ? len 0"},
		{TCP{To: to, DstPort: 80, Flags: SYN | ACK}, "TCP SYN|ACK ? > 172.16.42.2.80 len 0"},
		{Echo{To: to, Payload: []byte("abc")}, "echo request ? > 172.16.42.2 len 3"},
		{IPPacket{To: to, Proto: 132}, "IP proto 132 ? > 172.16.42.2 len 0"},
		{ARP{Device: "eth0", To: to}, "ARP on eth0: who has 172.16.42.2, tell ?"},
		{ARP{Device: "eth0", To: to, Src: ip("172.16.42.1"), Reply: true}, "ARP on eth0: 172.16.42.1 is at ?"},
		{Frame{Device: "eth0", To: station{IP: to}, Layers: []gopacket.SerializableLayer{
			&layers.Dot1Q{VLANIdentifier: 7}, &layers.IPv4{DstIP: to.Addr().AsSlice()}, &layers.TCP{SrcPort: 1, DstPort: 2}, gopacket.Payload("hey"),
		}, Spoil: func(data []byte) []byte { return data }},
			"frame on eth0 to 172.16.42.2: VLAN 7, IPv4 ? > 172.16.42.2, TCP 1 > 2, 3 bytes, spoilt"},
		{Frame{Device: "eth0", Data: captured(t, layers.LinkTypeEthernet, "hey")},
			"frame on eth0: 02:09:09:09:09:01 > 02:09:09:09:09:02 type 0x0800, IPv4 10.0.0.1 > 10.0.0.2, UDP 4000 > 7, 3 bytes"},
		{Frame{Device: "eth0", Data: captured(t, layers.LinkTypeEthernet, "hey")[:20]},
			"frame on eth0: 02:09:09:09:09:01 > 02:09:09:09:09:02 type 0x0800, IPv4 ? > ?, what cannot be read"},
		{Frame{Device: "eth0"}, "frame on eth0: what cannot be read"},
	} {
		qt.Check(t, qt.Equals(fmt.Sprint(test.packet), test.want))
	}
}
