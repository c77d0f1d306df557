package journey

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// facts are what both this package and tcpdump say of a packet: how it is said here, and how tcpdump says it.
var facts = []struct{ ours, tcpdump string }{
	{`((?:[0-9a-f]{2}:){5}[0-9a-f]{2} > (?:[0-9a-f]{2}:){5}[0-9a-f]{2}) (?:ethertype|802)`, `$1`},
	{`((?:\d+\.){3}\S+ > (?:\d+\.){3}\S+) tos`, `$1`},
	{`(\S+::\S+ > \S+::\S+) ttl \d+ label \S+ len \d+ proto [UI]`, `$1`},
	{`tos (0x[0-9a-f]+)(?: \S+)? ttl`, `tos $1`},
	{`ttl (\d+) id (\d+) off (\d+)`, `ttl $1, id $2, offset $3`},
	{`off \d+ (\[DF\])`, `flags $1`},
	{`off \d+ (?:\[\S+\] )?len (\d+)`, `length $1`},
	{`ttl (\d+) label`, `hlim $1`},
	{`label (0x[0-9a-f]+)`, `flowlabel $1`},
	{`label 0x[0-9a-f]+ len (\d+)`, `payload length: $1`},
	{`len \d+ (?:opts \S+ )?proto \S+ (\(\d+\)) \S`, `$1`},
	{`frag id 99 off (\d+)`, `frag (0x00000063:$1`},
	{`flags (\[\S+\]) seq (\d+)`, `Flags $1, cksum`},
	{`flags \S+ seq (\d+)`, `seq $1`},
	{`\back (\d+) win`, `ack $1`},
	{`win (\d+)`, `win $1`},
	{`options (\[mss [^]]*\])`, `options $1`},
	{`sack (\d+:\d+)`, `sack 1 {$1}`},
	{`proto UDP \(17\) len ([1-9]\d*)\z`, `length $1`},
	{` vlan (\d+) p (\d+)`, `vlan $1, p $2`},
	{`who-has (\S+) (?:\(\S+\) )?tell (\S+)`, `who-has $1`},
	{`tell (\S+)`, `tell $1`},
	{`reply (\S+) is-at (\S+)`, `Reply $1 is-at $2`},
	{`EchoRequest id (\d+) seq (\d+)`, `echo request, id $1, seq $2`},
	{`(?:TooBig|Needed\)) mtu (\d+)`, `mtu $1`},
	{`gateway (\S+)`, `to host $1`},
	{`who-has (\S+), source link-address (\S+)`, `neighbor solicitation, length 32, who has $1`},
	{`source link-address (\S+)`, `source link-address option (1), length 8 (1): $1`},
	{`target link-address (\S+)`, `destination link-address option (2), length 8 (1): $1`},
	{`prefix (\S+)`, `prefix info option (3), length 32 (4): $1`},
	{`lifetime (\d+s)`, `router lifetime $1`},
	{`to exclude (\S+) sources 0`, `[gaddr $1 to_ex { }]`},
	{`vxlan vni (\d+)`, `vni $1`},
	{`geneve vni (\d+)`, `vni 0x$1`},
	{`class (0x[0-9a-f]+) type (0x[0-9a-f]+) (\S{8})`, `type $2(C)`},
	{`GRE \(47\) key (0x\S+) seq (\d+)`, `key=$1, seq $2`},
	{`ESP \(50\) spi 0x(\d+) seq (\d+)`, `ESP(spi=0x0000$1,seq=0x$2)`},
	{`esp spi 0x(\d+) seq (\d+)`, `ESP(spi=0x0000$1,seq=0x$2)`},
	{`AH \(51\) spi 0x(\d+) seq (\d+)`, `AH(length=4(24-bytes),spi=0x0000$1,seq=0x$2,`},
	{`mpls label (\d+) tc (\d+) ttl (\d+)`, `(label $1, tc $2, `},
	{`Init tag \S+ rwnd (\d+) out (\d+) in (\d+) tsn (\d+)`, `[rwnd: $1] [OS: $2] [MIS: $3] [init TSN: $4]`},
	{`Data tsn (\d+) stream (\d+) seq (\d+)`, `[TSN: $1] [SID: $2] [SSEQ $3]`},
}

// TestAgainstTcpdump: what is said of a packet is what tcpdump says.
func TestAgainstTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("tcpdump is not installed")
	}
	used := map[string]bool{}
	for _, f := range frames(t) {
		t.Run(f.name, func(t *testing.T) {
			said := readBy(t, tcpdump, f.packet.Data)
			ours := strings.Join(f.packet.Lines(), "\n")
			if f.packet.VLAN != nil { // tcpdump sees the bytes alone
				ours, _, _ = strings.Cut(ours, " vlan_accel")
			}
			if f.packet.Proto == uint16(layers.EthernetTypeIPv6) { // what is quoted there it does not read
				ours, _, _ = strings.Cut(ours, "about")
			}
			for _, fact := range facts {
				pattern := regexp.MustCompile("(?m)" + fact.ours)
				for _, found := range pattern.FindAllStringSubmatchIndex(ours, -1) {
					used[fact.ours] = true
					want := string(pattern.ExpandString(nil, fact.tcpdump, ours, found))
					qt.Check(t, qt.StringContains(said, want), qt.Commentf("%s", ours))
				}
			}
		})
	}
	for _, fact := range facts {
		qt.Check(t, qt.IsTrue(used[fact.ours]), qt.Commentf("no packet has %s", fact.ours))
	}
}

// readBy gives a frame to tcpdump and returns what it says.
func readBy(tb testing.TB, tcpdump string, data []byte) string {
	tb.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	qt.Assert(tb, qt.IsNil(w.WriteFileHeader(65535, layers.LinkTypeEthernet)))
	qt.Assert(tb, qt.IsNil(w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(data), Length: len(data)}, data)))
	cmd := exec.Command(tcpdump, "-nn", "-t", "-e", "-vvv", "-S", "-r", "-")
	cmd.Stdin = &file
	out, err := cmd.Output()
	qt.Assert(tb, qt.IsNil(err))
	return string(out)
}
