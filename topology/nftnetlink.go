package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// nftSocket asks the kernel about a namespace's nftables without a process. It may be used from any goroutine, one at a
// time.
type nftSocket struct {
	handle *nl.SocketHandle
}

func openNFTSocket(ns *netns.NS) (*nftSocket, error) {
	var socket *nl.NetlinkSocket
	err := ns.Do(func() (err error) {
		// Without multicast groups Subscribe only opens a socket, one that stays open between requests.
		socket, err = nl.Subscribe(unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return &nftSocket{handle: &nl.SocketHandle{Socket: socket}}, nil
}

func (s *nftSocket) close() { s.handle.Close() }

// request sends a message to the nftables subsystem and returns the answers.
func (s *nftSocket) request(message, answer, flags int) ([][]byte, error) {
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	request := nl.NewNetlinkRequest(subsystem|message, flags)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: s.handle}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	return request.Execute(unix.NETLINK_NETFILTER, uint16(subsystem|answer))
}

// generation reads the number that the kernel raises with every change of the namespace's rulesets.
func (s *nftSocket) generation() (uint32, error) {
	answers, err := s.request(unix.NFT_MSG_GETGEN, unix.NFT_MSG_NEWGEN, 0)
	if err != nil {
		return 0, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	for _, answer := range answers {
		attributes, err := attributes(answer)
		if err != nil {
			return 0, fmt.Errorf("read the ruleset's generation: %w", err)
		}
		if id := attributes[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errors.New("read the ruleset's generation: the kernel's answer holds none")
}

// kernelRule is a rule as the kernel knows it.
type kernelRule struct {
	family, table, chain string
	handle               uint64
	comment              string
}

// rules lists all rules, in order. If it fails with nl.ErrDumpInterrupted the ruleset was being changed.
func (s *nftSocket) rules() ([]kernelRule, error) {
	answers, err := s.request(unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, unix.NLM_F_DUMP)
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	rules := make([]kernelRule, 0, len(answers))
	for _, answer := range answers {
		attributes, err := attributes(answer)
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		rule := kernelRule{
			family:  familyName(answer[0]),
			table:   unix.ByteSliceToString(attributes[unix.NFTA_RULE_TABLE]),
			chain:   unix.ByteSliceToString(attributes[unix.NFTA_RULE_CHAIN]),
			comment: commentIn(attributes[unix.NFTA_RULE_USERDATA]),
		}
		if handle := attributes[unix.NFTA_RULE_HANDLE]; len(handle) == 8 {
			rule.handle = binary.BigEndian.Uint64(handle)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// attributes splits an answer, which begins with a struct nfgenmsg, by attribute type.
func attributes(answer []byte) (map[uint16][]byte, error) {
	if len(answer) < nl.SizeofNfgenmsg {
		return nil, fmt.Errorf("the kernel's answer is too short: %d bytes", len(answer))
	}
	list, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
	if err != nil {
		return nil, fmt.Errorf("the kernel's answer: %w", err)
	}
	result := make(map[uint16][]byte, len(list))
	for _, attribute := range list {
		result[attribute.Attr.Type&^unix.NLA_F_NESTED] = attribute.Value
	}
	return result, nil
}

// commentIn finds the comment in a rule's user data: type, length and value, one byte for each of the first two, as
// libnftnl's udata.c writes them; type 0 is the comment, a C string.
func commentIn(data []byte) string {
	const typeComment = 0
	for len(data) >= 2 {
		kind, length := data[0], int(data[1])
		data = data[2:]
		if length > len(data) {
			break
		}
		if kind == typeComment {
			return unix.ByteSliceToString(data[:length])
		}
		data = data[length:]
	}
	return ""
}

// familyName is nft's word for a family.
func familyName(family byte) string {
	switch family {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_ARP:
		return "arp"
	case unix.NFPROTO_NETDEV:
		return "netdev"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	}
	return fmt.Sprintf("family %d", family)
}

// anonymousChain reports whether a chain has no name of its own: those in a rule's braces get one from the kernel
// (nf_tables_addchain, net/netfilter/nf_tables_api.c).
func anonymousChain(name string) bool { return strings.HasPrefix(name, "__chain") }
