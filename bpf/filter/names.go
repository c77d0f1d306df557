package filter

import (
	"bufio"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Names of ports and protocols are looked up in the files that everybody else uses for it; what is not there, in a table. A
// filter is compiled where it is used, and a VM's initramfs has no such files.
const (
	servicesFile  = "/etc/services"
	protocolsFile = "/etc/protocols"
)

// resolve is what a name means.
func (q qualifiers) resolve(t token) (node, error) {
	switch q.class {
	case "port":
		port, transports, err := q.service(t, t.text)
		if err != nil {
			return nil, err
		}
		return q.ports(port, port, transports), nil
	case "portrange":
		return q.portRange(t)
	case "proto":
		return q.protocolNumber(t)
	}
	if q.link() == "ether" {
		return nil, refuse(t.span, "names of hosts are not looked up: write an address, as in 02:00:00:00:00:01")
	}
	return nil, refuse(t.span, "names of hosts and nets are not looked up: write an address")
}

func (q qualifiers) protocolNumber(t token) (node, error) {
	table := builtinProtocols
	switch q.within() {
	case "ether":
		table = typeNames
	case "iso":
		table = osiNames
	case "isis":
		return nil, refuse(t.span, "types of IS-IS have no names here: write a number, or l1, lsp, csnp and the like")
	default:
		if number, ok := protocolInFile(t.text); ok {
			return numberNode{t.span, q.within(), number}, nil
		}
	}
	number, ok := table[t.text]
	if !ok {
		return nil, refuse(t.span, "there is no protocol %s%s", t.shown(), suggestion(t.text, maps.Keys(table)))
	}
	return numberNode{t.span, q.within(), number}, nil
}

// service finds a port by its name, and the protocols in which it is looked for.
func (q qualifiers) service(t token, text string) (uint16, []uint32, error) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return uint16(n), q.transports(), nil
	}
	s, ok := serviceInFile(text)
	if !ok {
		if s, ok = builtinServices[text]; !ok {
			return 0, nil, refuse(t.span, "there is no port called %q%s", text, rangeHint(text))
		}
	}
	// As for libpcap: without a protocol, a name that two use for different ports is the first one's.
	switch {
	case q.proto == "tcp" && s.tcp != 0, q.proto == "" && s.tcp != 0 && s.tcp != s.udp:
		return s.tcp, []uint32{ipTCP}, nil
	case q.proto == "udp" && s.udp != 0, q.proto == "" && s.tcp == 0:
		return s.udp, []uint32{ipUDP}, nil
	case s.tcp == s.udp:
		return s.tcp, q.transports(), nil
	}
	return 0, nil, refuse(q.to(t.span), "port %s is none of %s", text, q.proto)
}

// rangeHint explains a range where one port is expected.
func rangeHint(text string) string {
	first, last, ok := strings.Cut(text, "-")
	if _, err := strconv.ParseUint(first, 10, 16); ok && err == nil && last != "" {
		return ": write portrange for several"
	}
	return suggestion(text, maps.Keys(builtinServices))
}

func (q qualifiers) portRange(t token) (node, error) {
	first, last, ok := strings.Cut(t.text, "-")
	if !ok {
		return nil, refuse(t.span, "expected two ports, as in 6000-6008, found %s", t.shown())
	}
	low, transports, err := q.service(t, first)
	if err != nil {
		return nil, err
	}
	high, others, err := q.service(t, last)
	if err != nil {
		return nil, err
	}
	if len(transports) != len(others) || transports[0] != others[0] {
		transports = q.transports()
	}
	return q.ports(low, high, transports), nil
}

// service is a port's number by protocol; 0 if the protocol has none of the name.
type service struct{ tcp, udp uint16 }

func serviceInFile(text string) (s service, ok bool) {
	eachLine(servicesFile, func(names []string, value string) {
		port, proto, _ := strings.Cut(value, "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || !slices.Contains(names, text) {
			return
		}
		switch {
		case proto == "tcp" && s.tcp == 0:
			s.tcp, ok = uint16(n), true
		case proto == "udp" && s.udp == 0:
			s.udp, ok = uint16(n), true
		}
	})
	return s, ok
}

func protocolInFile(text string) (number uint32, ok bool) {
	eachLine(protocolsFile, func(names []string, value string) {
		n, err := strconv.ParseUint(value, 10, 8)
		if err == nil && !ok && slices.Contains(names, text) {
			number, ok = uint32(n), true
		}
	})
	return number, ok
}

// eachLine reads a file whose lines are a name, a value, other names, and a comment after "#". A file that is not there has no
// lines.
func eachLine(path string, each func(names []string, value string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if fields := strings.Fields(text); len(fields) >= 2 {
			each(append(fields[:1:1], fields[2:]...), fields[1])
		}
	}
}

// builtinServices are the ports that a test of networks may name (IANA's registry of service names).
var builtinServices = map[string]service{
	"ftp-data": {20, 0}, "ftp": {21, 0}, "ssh": {22, 0}, "telnet": {23, 0}, "smtp": {25, 0}, "domain": {53, 53},
	"bootps": {0, 67}, "bootpc": {0, 68}, "tftp": {0, 69}, "http": {80, 0}, "www": {80, 0}, "kerberos": {88, 88},
	"pop3": {110, 0}, "sunrpc": {111, 111}, "ntp": {0, 123}, "netbios-ns": {0, 137}, "netbios-dgm": {0, 138},
	"netbios-ssn": {139, 0}, "imap2": {143, 0}, "snmp": {161, 161}, "snmp-trap": {162, 162}, "bgp": {179, 0},
	"ldap": {389, 389}, "https": {443, 443}, "microsoft-ds": {445, 445}, "isakmp": {0, 500}, "syslog": {0, 514},
	"dhcpv6-client": {0, 546}, "dhcpv6-server": {0, 547}, "ldaps": {636, 636}, "imaps": {993, 0}, "openvpn": {1194, 1194},
	"nfs": {2049, 2049}, "mysql": {3306, 0}, "postgresql": {5432, 0}, "ipsec-nat-t": {0, 4500}, "sip": {5060, 5060},
	"mdns": {0, 5353}, "vxlan": {0, 4789}, "geneve": {0, 6081}, "http-alt": {8080, 8080},
}

// builtinProtocols are the names of /etc/protocols that may follow "proto".
var builtinProtocols = map[string]uint32{
	"hopopt": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "igp": 9, "udp": 17, "dccp": 33, "ipv6": 41, "ipv6-route": 43,
	"ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
	"eigrp": 88, "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "udplite": 136,
	"mpls-in-ip": 137,
}
