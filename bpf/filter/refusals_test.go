package filter

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// refusedExpressions are wrong in all the ways that the texts are for.
var refusedExpressions = []string{
	// Words and names.
	"tcpp", "TCP", "tcp prot 80", "udp and", "and udp", "tcp udp", "tcp port 80 443", "not", "()", "(tcp", "tcp)",
	"((tcp) or udp",
	"port", "tcp port", "host", "80", "tcp or 80", "10.0.0.1", "tcp and 10.0.0.1", "fd00::1", "02:00:00:00:00:01", "example.org",
	"src", "src or dst", "host and port 80", "port 80 or (tcp and 443)", "port (80 or tcp)", "tcp;", "port 80 || | 443", "$ff",
	"tcp and ünder", "port 80 or 443 + 1",
	// Addresses.
	"host example.org", "net loopback", "ether host router", "host 10.0.0.256", "host 10.0.0.1/8", "net 10.0.0.1/8",
	"net 10.0.0.0/33",
	"net 10.1.2.3 mask 255.255.0.0", "net 10 mask 255", "net 10.0.0.0 mask tcp", "net fd00::1/16", "net fd00::/129",
	"host fd00::/16",
	"ip host fd00::1", "ip6 host 10.0.0.1", "ether host 10.0.0.1", "tcp host 10.0.0.1", "host 02:00:00:00:00:01",
	"ether host 02:00:00:00:00", "host 1:2:3:4:5", "host fd00:1:2", "port 10.0.0.1", "ether net 10", "host 80-90",
	// Ports and protocols.
	"port htpp", "port 65536", "port 80-90", "portrange http", "portrange 1-2-3", "portrange 80-nobody",
	"tcp port vxlan", "ip port 80", "icmp port 80", "arp port 80", "ip proto tcp", "ip proto nothing", "ip proto 256",
	"ether proto 65536", "ether proto ipp", "iso proto 300", "isis proto lsp", "tcp proto 6", "src proto 6", "ip protochain 6",
	"gateway 10.0.0.1", "gateway router and port 80", "arp broadcast", "ip6 broadcast", "tcp multicast", "ether", "ether tcp",
	// Numbers.
	"len", "len >", "len > tcp", "less", "less tcp", "len-5 > 10", "len > 5-3", "ip[0", "ip[0] =", "ip[0] & 1", "ip[0:3] = 1",
	"ip[0:] = 1", "ip[] = 1", "ip[-1] = 1", "ip[0xffffffff] = 0", "ah[0] = 1", "vlan[0] = 1", "ip[0] / 0 = 1",
	"ip[0] % (1 - 1) = 1",
	"ip[0] << 32 = 1", "ip[08] = 1", "ip[4294967296] = 1", "len = 99999999999", "tcp[tcpflag] = 2", "tcp[13] & tcp-sin != 0",
	"1 + (tcp) = 2", "ip[0] > 1 > 2", "(ip[0]) tcp",
	// Tags, labels, tunnels.
	"vlan 4096", "vlan (5", "vlan (tcp)", "mpls 1048576", "pppoes 65536", "geneve 16777216", "mpls and vlan", "mpls and arp",
	"mpls and ether proto 0x806", "mpls and arp[0] = 1", "pppoes and vlan 5", "pppoes and ether host 02:00:00:00:00:01",
	"pppoes and broadcast", "pppoes and llc", "geneve and geneve and geneve", "llc wrong",
	// What a packet does not tell.
	"inbound", "outbound", "ifindex 2", "byte 0 = 1", "wlan addr1 02:00:00:00:00:01", "type mgt", "on eth0", "reason match",
	"lane",
	"vpi 5", "oam", "opc 5", "radio[0] = 1", "host 10.0.0.1 and on eth0",
	// Long ones.
	strings.Repeat("tcp port 80 or ", 20) + "tcp prt 80" + strings.Repeat(" or tcp port 80", 20),
	strings.Repeat("(", 300) + "tcp" + strings.Repeat(")", 300),
	"tcp\n\tand udpp port 80\n",
	"ip[8] - (ip[9] - (ip[1] - (ip[0] - (ip[2] - (ip[3] - (ip[4] - (ip[5] - (ip[6] - (ip[7] - (ip[8] - (ip[9] - (ip[10] - (ip[11] - " +
		"(ip[12] - (ip[13] - (ip[14] - ip[15])))))))))))))))) > 0",
}

// refusedPrograms are not what tcpdump -ddd prints.
var refusedPrograms = []string{
	"2\n6 0 0 0\n", "1\n6 0 0\n", "1\n6 0 0 0 0\n", "1\n6 0 0 x\n", "1\n6 0 256 0\n", "1\n300 0 0 0\n", "1\n255 0 0 0\n",
	"1\n40 0 0 12\n",
	"2\n21 0 1 5\n6 0 0 0\n", "2\n5 0 0 4294967295\n6 0 0 0\n", "2\n52 0 0 0\n6 0 0 0\n", "2\n100 0 0 32\n6 0 0 0\n",
	"2\n40 0 0 4294963204\n6 0 0 0\n", "2\n2 0 0 16\n6 0 0 0\n", "2\n48 0 0 4293918720\n6 0 0 0\n", "0\n", "", "tcp",
	"1,14 0 0 0",
}

// TestRefusals keeps the texts that users read.
func TestRefusals(t *testing.T) {
	var b strings.Builder
	write := func(expression string, err error) {
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", expression, err)
			return
		}
		qt.Check(t, qt.Equals(e.Expression, expression))
		b.WriteString(err.Error() + "\n\n")
	}
	for _, e := range refusedExpressions {
		_, err := CompilePacket(e)
		write(e, err)
	}
	b.WriteString("# Programs of tcpdump -ddd\n\n")
	for _, text := range refusedPrograms {
		_, err := CompileClassic(text, Ethernet)
		write(text, err)
	}
	golden.Check(t, "refusals.txt", b.String())
}
