package filter

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	end      kind = iota
	word          // of the language: tcp, port, and
	operator      // one or two characters: ( >= +
	number        // 80, 0x50, 0120, or the name of one: tcp-syn
	name          // of a port, a protocol, a host
	address4      // of IPv4, two to four numbers with dots
	address6
	hardware // an Ethernet address
)

type token struct {
	kind
	span
	text  string // without the backslash of an escaped name
	value uint32 // of a number
}

// is tells whether the token is a word or an operator with one of the texts.
func (t token) is(texts ...string) bool {
	if t.kind != word && t.kind != operator {
		return false
	}
	for _, text := range texts {
		if t.text == text {
			return true
		}
	}
	return false
}

// shown is how a refusal names the token.
func (t token) shown() string {
	if t.kind == end {
		return "the end"
	}
	return strconv.Quote(t.text)
}

// The forms that tokens have. The longest that fits counts; among equals, the first.
var forms = []struct {
	kind
	*regexp.Regexp
}{
	{hardware, form(`([[:xdigit:]]{1,2}:){5}[[:xdigit:]]{1,2}|([[:xdigit:]]{1,2}-){5}[[:xdigit:]]{1,2}|` +
		`([[:xdigit:]]{1,2}\.){5}[[:xdigit:]]{1,2}|([[:xdigit:]]{4}\.){2}[[:xdigit:]]{4}|[[:xdigit:]]{12}`)},
	{number, form(`[0-9]+|0[xX][[:xdigit:]]+`)},
	{address4, form(`[0-9]+(\.[0-9]+){1,3}`)},
	{name, form(`[[:alnum:]]([-_.[:alnum:]]*[.[:alnum:]])?`)},
	{operator, form(`[-+*/%:!<>()&|^=\[\]]|>=|<=|!=|==|<<|>>|&&|\|\|`)},
}

var (
	escaped   = form(`\\[^ !()\n\t]+`)
	noAddress = form(`[[:xdigit:]]{1,4}:+([[:xdigit:]]{1,4}:+)+[[:xdigit:]]*`)
	colons    = form(`[[:xdigit:]:]*:[[:xdigit:]:]*(\.[0-9]+){0,3}`)
)

func form(pattern string) *regexp.Regexp {
	r := regexp.MustCompile(`\A(` + pattern + `)`)
	r.Longest()
	return r
}

// lex takes an expression apart.
func lex(expression string) ([]token, error) {
	var tokens []token
	for at := 0; ; {
		at += len(expression[at:]) - len(strings.TrimLeft(expression[at:], " \t\r\n"))
		if at == len(expression) {
			return append(tokens, token{kind: end, span: span{at, at}}), nil
		}
		t, err := lexOne(expression[at:], at)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		at = t.end
	}
}

func lexOne(rest string, at int) (token, error) {
	if text := escaped.FindString(rest); text != "" {
		return token{kind: name, span: span{at, at + len(text)}, text: text[1:]}, nil
	}
	t := token{text: longestAddress6(rest), kind: address6}
	for _, f := range forms {
		if text := f.FindString(rest); len(text) > len(t.text) {
			t.kind, t.text = f.kind, text
		}
	}
	t.span = span{at, at + len(t.text)}
	if text := noAddress.FindString(rest); len(text) > len(t.text) {
		return t, refuse(span{at, at + len(text)}, "%q is no address: Ethernet's have six parts, and IPv6's eight or \"::\"", text)
	}
	switch t.kind {
	case name:
		if value, ok := namedNumbers[t.text]; ok {
			t.kind, t.value = number, value
		} else if words[t.text] {
			t.kind = word
		}
	case number:
		value, err := strconv.ParseUint(t.text, 0, 32)
		if err != nil {
			return t, refuse(t.span, "%s is no number of 32 bits (0x begins a hexadecimal one, 0 an octal one)", t.text)
		}
		t.value = uint32(value)
	case address6:
		if t.text == "" {
			letter, size := utf8.DecodeRuneInString(rest)
			return t, refuse(span{at, at + size}, "%q has no meaning here", letter)
		}
	}
	return t, nil
}

// longestAddress6 returns the longest beginning that is an IPv6 address.
func longestAddress6(text string) string {
	text = colons.FindString(text)
	for ; len(text) >= len("::"); text = text[:len(text)-1] {
		if a, err := netip.ParseAddr(text); err == nil && a.Is6() {
			return text
		}
	}
	return ""
}

// words are those of the language that are no protocols, with those that are refused by name.
var words = map[string]bool{}

func init() {
	for _, w := range strings.Fields(`
		src dst host net mask port portrange proto protochain gateway
		less greater byte broadcast multicast and or not len length inbound outbound ifindex
		vlan mpls pppoed pppoes geneve llc`) {
		words[w] = true
	}
	for w := range protocols {
		words[w] = true
	}
	for w := range elsewhere {
		words[w] = true
	}
}

// namedNumbers stand for offsets of fields, and for values of fields.
var namedNumbers = map[string]uint32{
	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13,
	"icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130,
	"icmp6-multicastlistenerreportv1": 131, "icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
	"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
	"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144,
	"icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
	"icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149, "icmp6-multicastrouteradvert": 151,
	"icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,

	"tcpflags": 13,
	"tcp-fin":  0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20,
	"tcp-ece": 0x40, "tcp-cwr": 0x80,
}
