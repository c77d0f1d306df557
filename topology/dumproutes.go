package topology

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// addresses adds those that the kernel does not give by itself.
func (d *dumper) addresses() error {
	list, err := d.route.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, l := range d.links {
		for _, a := range list {
			prefix := prefixOf(a.IP, a.Mask)
			if a.LinkIndex != l.Index || l.kind == "" && prefix.Addr().IsLoopback() || fallback[l.Name] {
				continue
			}
			words := []string{"addr", "add", prefix.String()}
			if a.Peer != nil && prefix != prefixOf(a.Peer.IP, a.Peer.Mask) {
				words = append(words[:2], prefix.Addr().String(), "peer", prefixOf(a.Peer.IP, a.Peer.Mask).String())
			}
			if a.Broadcast != nil {
				words = append(words, "broadcast", a.Broadcast.String())
			}
			words = append(words, "dev", l.Name)
			if prefix.Addr().Is6() {
				words = append(words, "nodad")
			} else if a.Scope != unix.RT_SCOPE_UNIVERSE {
				words = append(words, "scope", strconv.Itoa(a.Scope))
			}
			if a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 {
				words = append(words, "noprefixroute")
			}
			d.ip(words...)
		}
	}
	return nil
}

// neighbours adds permanent entries, those that were declared to have failed, proxies, and forwarding entries of bridges and
// tunnels.
func (d *dumper) neighbours() error {
	failed := make(map[netip.Addr]bool)
	for _, n := range d.node.Neighbours {
		if addr, _, _, err := d.plan.nextHop(d.node, n.Addr, n.Device, false); err == nil && n.Failed {
			failed[addr] = true
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := d.route.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		slices.SortFunc(list, byAddress)
		for _, n := range list {
			addr, _ := netip.AddrFromSlice(n.IP)
			switch {
			case n.State&netlink.NUD_PERMANENT != 0:
				d.ip("neigh", "add", addr.Unmap().String(), "lladdr", n.HardwareAddr.String(), "nud", "permanent", "dev", d.name(n.LinkIndex))
			case n.State&netlink.NUD_FAILED != 0 && failed[addr.Unmap()]:
				d.ip("neigh", "add", addr.Unmap().String(), "nud", "failed", "dev", d.name(n.LinkIndex))
			}
		}
		proxies, err := d.route.NeighProxyList(0, family)
		if err != nil {
			return fmt.Errorf("list proxies: %w", err)
		}
		slices.SortFunc(proxies, byAddress)
		for _, n := range proxies {
			d.ip("neigh", "add", "proxy", n.IP.String(), "dev", d.name(n.LinkIndex))
		}
	}
	return d.forwardingEntries()
}

func byAddress(a, b netlink.Neigh) int {
	return cmp.Or(cmp.Compare(a.LinkIndex, b.LinkIndex), bytes.Compare(a.IP, b.IP), bytes.Compare(a.HardwareAddr, b.HardwareAddr))
}

// forwardingEntries adds what was set by hand of where bridges and VXLAN devices send frames.
func (d *dumper) forwardingEntries() error {
	list, err := d.route.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("list forwarding entries: %w", err)
	}
	slices.SortFunc(list, byAddress)
	for _, n := range list {
		if n.State&netlink.NUD_NOARP == 0 && n.State&netlink.NUD_PERMANENT == 0 {
			continue // learnt
		}
		device := d.name(n.LinkIndex)
		i := slices.IndexFunc(d.links, func(l link) bool { return l.Index == n.LinkIndex })
		switch {
		case i < 0:
		case d.links[i].kind == "vxlan" && n.IP != nil:
			if zero := make(net.HardwareAddr, 6); bytes.Equal(n.HardwareAddr, zero) &&
				(bytes.Equal(n.IP.To4(), d.links[i].data[2]) || bytes.Equal(n.IP, d.links[i].data[16])) {
				continue // that of the device's own Remote
			}
			d.run("bridge", "-n", d.node.Name, "fdb", "append", n.HardwareAddr.String(), "dev", device, "dst", n.IP.String(), "self", "permanent")
		case n.MasterIndex != 0 && n.State&netlink.NUD_NOARP != 0:
			words := []string{"bridge", "-n", d.node.Name, "fdb", "replace", n.HardwareAddr.String(), "dev", device, "master", "static"}
			if n.Vlan != 0 {
				words = append(words, "vlan", strconv.Itoa(n.Vlan))
			}
			d.run(words...)
		}
	}
	return nil
}

// routes adds those of all tables that do not follow from addresses: first those without a next hop, since others need them.
func (d *dumper) routes() error {
	var all []netlink.Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := d.route.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, route := range list {
			if route.Protocol != unix.RTPROT_KERNEL && route.Flags&unix.RTM_F_CLONED == 0 {
				all = append(all, route)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b netlink.Route) int {
		return cmp.Compare(len(a.Gw)+len(a.MultiPath), len(b.Gw)+len(b.MultiPath))
	})
	for _, route := range all {
		if route.Encap != nil || route.MPLSDst != nil {
			d.cannot("a route of %s: %s", d.node, route)
			continue
		}
		d.ip(d.routeWords(route)...)
	}
	return nil
}

// routeWords is the command that adds a route.
func (d *dumper) routeWords(r netlink.Route) []string {
	var words []string
	if r.Family == unix.AF_INET6 {
		words = append(words, "-6")
	}
	words = append(words, "route", "add")
	for name, kind := range routeTypes {
		if kind == r.Type && name != "" {
			words = append(words, string(name))
		}
	}
	words = append(words, r.Dst.String())
	if r.Tos != 0 {
		words = append(words, "tos", strconv.Itoa(r.Tos))
	}
	if r.Table != unix.RT_TABLE_MAIN {
		words = append(words, "table", strconv.Itoa(r.Table))
	}
	if r.Protocol != unix.RTPROT_BOOT {
		words = append(words, "proto", strconv.Itoa(int(r.Protocol)))
	}
	if r.Scope != unix.RT_SCOPE_UNIVERSE && r.Family == unix.AF_INET {
		words = append(words, "scope", strconv.Itoa(int(r.Scope)))
	}
	if r.Src != nil {
		words = append(words, "src", r.Src.String())
	}
	// An IPv6 route that sends nothing anywhere is shown with the loopback, which cannot be asked for.
	nowhere := r.Family == unix.AF_INET6 && r.Type != unix.RTN_UNICAST && r.Type != unix.RTN_LOCAL
	if len(r.MultiPath) == 0 && !nowhere {
		words = append(words, d.hopWords(r.LinkIndex, r.Gw, r.Via, r.Flags)...)
	}
	// 1024 is what IPv6 has by itself.
	if r.Priority != 0 && (r.Family != unix.AF_INET6 || r.Priority != 1024) {
		words = append(words, "metric", strconv.Itoa(r.Priority))
	}
	for _, metric := range []struct {
		name  string
		value int
	}{
		{"mtu", r.MTU}, {"window", r.Window}, {"advmss", r.AdvMSS}, {"hoplimit", r.Hoplimit}, {"initcwnd", r.InitCwnd},
		{"initrwnd", r.InitRwnd}, {"quickack", r.QuickACK}, {"cwnd", r.Cwnd}, {"ssthresh", r.Ssthresh}, {"reordering", r.Reordering},
	} {
		if metric.value == 0 {
			continue
		}
		words = append(words, metric.name)
		if metric.name == "mtu" && r.MTULock {
			words = append(words, "lock")
		}
		words = append(words, strconv.Itoa(metric.value))
	}
	if r.Congctl != "" {
		words = append(words, "congctl", r.Congctl)
	}
	for _, hop := range r.MultiPath {
		words = append(append(words, "nexthop"), d.hopWords(hop.LinkIndex, hop.Gw, hop.Via, hop.Flags)...)
		words = append(words, "weight", strconv.Itoa(hop.Hops+1))
	}
	return words
}

// hopWords are those for a next hop.
func (d *dumper) hopWords(index int, gateway net.IP, via netlink.Destination, flags int) []string {
	var words []string
	if gateway != nil {
		words = append(words, "via", gateway.String())
	}
	if v, ok := via.(*netlink.Via); ok {
		words = append(words, "via", "inet6", v.Addr.String())
	}
	if device := d.name(index); device != "" {
		words = append(words, "dev", device)
	}
	if flags&unix.RTNH_F_ONLINK != 0 {
		words = append(words, "onlink")
	}
	return words
}

// rules adds policy rules, apart from those that the kernel makes.
func (d *dumper) rules() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := d.route.RuleList(family)
		if err != nil {
			return fmt.Errorf("list policy rules: %w", err)
		}
		types, err := d.ruleTypes(family)
		if err != nil || len(types) != len(list) {
			return fmt.Errorf("list policy rules: %w", cmp.Or(err, errors.New("they changed meanwhile")))
		}
		for i, rule := range list {
			if rule.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			rule.Type = types[i]
			var words []string
			if family == unix.AF_INET6 {
				words = append(words, "-6")
			}
			d.ip(append(append(words, "rule", "add", "pref", strconv.Itoa(rule.Priority)), ruleWords(rule)...)...)
		}
	}
	return nil
}

// ruleTypes are what the rules of a family do, which the netlink library does not tell.
func (d *dumper) ruleTypes(family int) (types []uint8, err error) {
	err = d.ns.Do(func() error {
		request := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfInfomsg(family))
		answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		for _, answer := range answers {
			types = append(types, nl.DeserializeRtMsg(answer).Type)
		}
		return err
	})
	return types, err
}

// ruleWords are the selectors of a rule, and what it does.
func ruleWords(r netlink.Rule) []string {
	var words []string
	add := func(wanted bool, more ...string) {
		if wanted {
			words = append(words, more...)
		}
	}
	add(r.Invert, "not")
	if r.Src != nil {
		words = append(words, "from", r.Src.String())
	}
	if r.Dst != nil {
		words = append(words, "to", r.Dst.String())
	}
	add(r.IifName != "", "iif", r.IifName)
	add(r.OifName != "", "oif", r.OifName)
	add(r.Tos != 0, "tos", strconv.Itoa(int(r.Tos)))
	if r.Mark != 0 || r.Mask != nil && *r.Mask != 0 {
		mark := fmt.Sprintf("%#x", r.Mark)
		if r.Mask != nil && *r.Mask != 0xffffffff {
			mark += fmt.Sprintf("/%#x", *r.Mask)
		}
		words = append(words, "fwmark", mark)
	}
	add(r.IPProto != 0, "ipproto", strconv.Itoa(r.IPProto))
	if r.Sport != nil {
		words = append(words, "sport", fmt.Sprintf("%d-%d", r.Sport.Start, r.Sport.End))
	}
	if r.Dport != nil {
		words = append(words, "dport", fmt.Sprintf("%d-%d", r.Dport.Start, r.Dport.End))
	}
	if r.UIDRange != nil {
		words = append(words, "uidrange", fmt.Sprintf("%d-%d", r.UIDRange.Start, r.UIDRange.End))
	}
	add(r.SuppressPrefixlen >= 0, "suppress_prefixlength", strconv.Itoa(r.SuppressPrefixlen))
	for name, kind := range ruleTypes {
		add(name != "" && kind == r.Type, string(name))
	}
	add(r.Goto > 0, "goto", strconv.Itoa(r.Goto))
	add(r.Type == ruleTypes[""] && r.Table > 0, "lookup", strconv.Itoa(r.Table))
	return words
}
