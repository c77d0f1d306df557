package harness

import (
	"regexp"
	"slices"

	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/topology"
)

// describe notes what names there are in a node, so that those which a test has wrong can be told from those where nothing
// happened.
func (l *Lab) describe(n *topology.Node, evidence *journey.Evidence) error {
	devices, err := l.running.Devices(n)
	if err != nil {
		return err
	}
	cookie := n.NetNSCookie()
	for _, d := range devices {
		evidence.Devices[cookie] = append(evidence.Devices[cookie], d.Name)
	}
	chains := []string{}
	for _, ruleset := range l.running.Rulesets(n) {
		for _, match := range chainLine.FindAllStringSubmatch(ruleset.Text, -1) {
			if !slices.Contains(chains, match[1]) {
				chains = append(chains, match[1])
			}
		}
	}
	evidence.Chains[cookie] = chains
	return nil
}

// chainLine begins a chain in what nft lists.
var chainLine = regexp.MustCompile(`(?m)^\s*chain (\S+) \{`)

// sockets are the cookies of those by which the test sends.
func (l *Lab) sockets() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var cookies []uint64
	for _, s := range l.sent {
		if s, ok := s.(interface{ SocketCookie() uint64 }); ok {
			cookies = append(cookies, s.SocketCookie())
		}
	}
	return cookies
}
