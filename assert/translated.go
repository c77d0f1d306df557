package assert

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeSNATedTo succeeds if network address translation gave the packet this source. To is an address ("10.0.0.1"), an address
// with a port ("10.0.0.1:40000", "[fd00::1]:40000"), a netip.Addr or a netip.AddrPort, or a node, which stands for its primary
// address. That a rule says so is not enough: the packet must have been seen with its new header. Options: At, On.
func BeSNATedTo(to any, options ...Option) types.GomegaMatcher {
	return translation("BeSNATedTo", "source", to, options, func(c *journey.Conntrack, h journey.Header) (old, now netip.AddrPort) {
		now = netip.AddrPortFrom(h.Src, h.SrcPort)
		if c.Reversed() {
			return endpoint(c, c.Reply.Src, c.Reply.SrcPort), now
		}
		return endpoint(c, c.Orig.Src, c.Orig.SrcPort), now
	})
}

// BeDNATedTo succeeds if network address translation gave the packet this destination; see [BeSNATedTo].
func BeDNATedTo(to any, options ...Option) types.GomegaMatcher {
	return translation("BeDNATedTo", "destination", to, options, func(c *journey.Conntrack, h journey.Header) (old, now netip.AddrPort) {
		now = netip.AddrPortFrom(h.Dst, h.DstPort)
		if c.Reversed() {
			return endpoint(c, c.Reply.Dst, c.Reply.DstPort), now
		}
		return endpoint(c, c.Orig.Dst, c.Orig.DstPort), now
	})
}

// endpoint leaves out what is no port: a tuple of ICMP has other things there.
func endpoint(c *journey.Conntrack, a netip.Addr, port uint16) netip.AddrPort {
	if c.Proto == 1 || c.Proto == 58 {
		port = 0
	}
	return netip.AddrPortFrom(a, port)
}

// translation compares an end of a packet as its connection began with what the packet says now.
func translation(name, end string, to any, options []Option, ends func(*journey.Conntrack, journey.Header) (old, now netip.AddrPort),
) types.GomegaMatcher {
	want, err := parse(name, options, "At", "On")
	target, text, wrong := targetOf(to)
	if err == nil && wrong != nil {
		err = fmt.Errorf("%s: %w", name, wrong)
	}
	// rewritten returns the end that NAT gave a packet.
	rewritten := func(e *journey.Event) (now netip.AddrPort, ok bool) {
		if e.Conntrack == nil || e.Packet == nil {
			return now, false
		}
		h, isIP := e.Packet.Header()
		// A tunnel's outer header is none that this connection's packets have.
		if !isIP || h.Proto != e.Conntrack.Proto {
			return now, false
		}
		old, now := ends(e.Conntrack, h)
		if now.Port() == 0 { // ICMP, or a fragment that has no ports
			old = netip.AddrPortFrom(old.Addr(), 0)
		}
		return now, old.IsValid() && old != now
	}
	return &eventMatcher{
		name: name, verb: fmt.Sprintf("have its %s translated to %s", end, text), want: want, state: true, before: true,
		misuse: err,
		shows: func(j *journey.Journey, event int) (bool, error) {
			now, ok := rewritten(&j.Events[event])
			return ok && now.Addr() == target.Addr() && (target.Port() == 0 || now.Port() == target.Port()), nil
		},
		instead: func(j *journey.Journey, want *expectation) (but string, hops []int) {
			for i := range j.Events {
				if now, ok := rewritten(&j.Events[i]); ok && want.on(&j.Events[i]) {
					return fmt.Sprintf("it was translated to %s", now), []int{i}
				}
			}
			return fmt.Sprintf("its %s was not translated%s", end, want.words()), lastHops(j, j.Deciding())
		},
	}
}

// targetOf reads what an address is to be translated to. A port of zero is any.
func targetOf(to any) (target netip.AddrPort, text string, err error) {
	switch to := to.(type) {
	case netip.Addr:
		return netip.AddrPortFrom(to, 0), to.String(), nil
	case netip.AddrPort:
		return to, to.String(), nil
	case string:
		if a, err := netip.ParseAddr(to); err == nil {
			return netip.AddrPortFrom(a, 0), to, nil
		}
		if p, err := netip.ParseAddrPort(to); err == nil {
			return p, to, nil
		}
		return target, "", fmt.Errorf("%q is no address: write it as in 10.0.0.1, 10.0.0.1:40000 or [fd00::1]:40000", to)
	case interface {
		Addr() netip.Addr
		String() string
	}:
		if !to.Addr().IsValid() {
			return target, "", fmt.Errorf("%s has no IPv4 address", to)
		}
		return netip.AddrPortFrom(to.Addr(), 0), fmt.Sprintf("%s (%s)", to.Addr(), to), nil
	}
	return target, "", errors.New("it needs an address, as text, as a netip.Addr or netip.AddrPort, or a node")
}
