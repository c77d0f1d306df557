package topology

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// link is a device with what the netlink library does not tell of it: the options of its kind as the kernel gives them.
type link struct {
	netlink.LinkAttrs
	kind string
	data options
	// port are those that a device has as the port of another one (IFLA_INFO_SLAVE_DATA).
	port options
}

// options are attributes by their numbers.
type options map[uint16][]byte

// allLinks are the devices of the node.
func (rn *runningNode) allLinks() ([]link, error) {
	list, err := rn.route.LinkList()
	if err != nil {
		return nil, err
	}
	data, ports, err := rn.linkData()
	if err != nil {
		return nil, err
	}
	var links []link
	for _, each := range list {
		l := link{*each.Attrs(), each.Type(), data[each.Attrs().Index], ports[each.Attrs().Index]}
		if l.RawFlags&unix.IFF_LOOPBACK != 0 {
			l.kind = ""
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b link) int { return cmp.Compare(a.Index, b.Index) })
	return links, nil
}

// linkData are the options of all devices, and of those that are ports, by the devices' indices.
func (rn *runningNode) linkData() (data, ports map[int]options, err error) {
	var answers [][]byte
	err = rn.ns.Do(func() (err error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		answers, err = request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		return err
	})
	data, ports = make(map[int]options), make(map[int]options)
	for _, answer := range answers {
		index := int(nl.DeserializeIfInfomsg(answer).Index)
		var info options
		top, err := readOptions(answer[unix.SizeofIfInfomsg:])
		if err == nil {
			info, err = readOptions(top[unix.IFLA_LINKINFO])
		}
		if err == nil {
			data[index], err = readOptions(info[nl.IFLA_INFO_DATA])
		}
		if err == nil {
			ports[index], err = readOptions(info[nl.IFLA_INFO_SLAVE_DATA])
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return data, ports, err
}

func readOptions(data []byte) (options, error) {
	list, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil, err
	}
	all := make(options)
	for _, attribute := range list {
		all[attribute.Attr.Type&^unix.NLA_F_NESTED] = attribute.Value
	}
	return all, nil
}

// cables adds the veth pairs that begin at the node.
func (d *dumper) cables() error {
	for _, l := range d.links {
		if l.kind != "veth" {
			continue
		}
		far, peer, err := d.peer(l)
		if err != nil {
			return err
		}
		switch {
		case far == nil:
			d.cannot("the veth device %s of %s, whose other end is in no node", l.Name, d.node)
		case d.before(far) || far == d && l.Index < peer.Index:
			d.ip("link", "add", l.Name, "address", d.own(l).String(), "type", "veth", "peer", "name", peer.Name,
				"address", far.own(peer).String(), "netns", far.node.Name)
		}
	}
	return nil
}

// own is a device's own Ethernet address, which is not the one that it uses if it is the port of a bond
// (IFLA_BOND_SLAVE_PERM_HWADDR).
func (d *dumper) own(l link) net.HardwareAddr {
	if own := l.port[4]; d.byIndex(l.MasterIndex).kind == "bond" && len(own) == 6 {
		return own
	}
	return l.HardwareAddr
}

// before reports whether the node comes before another one.
func (d *dumper) before(other *dumper) bool {
	return slices.Index(d.all, d) < slices.Index(d.all, other)
}

// peer finds the other end of a veth pair; a nil node if it is in none.
func (d *dumper) peer(l link) (*dumper, link, error) {
	for _, far := range d.all {
		id, err := d.route.GetNetNsIdByFd(int(far.ns.Handle()))
		if err != nil {
			return nil, link{}, fmt.Errorf("look for the other end of %s: %w", l.Name, err)
		}
		// A device of the same namespace is told without its number.
		if same := far == d; same != (l.NetNsID < 0) || !same && id != l.NetNsID {
			continue
		}
		for _, other := range far.links {
			if other.Index == l.ParentIndex {
				return far, other, nil
			}
		}
	}
	return nil, link{}, nil
}

// devices adds those that are no cables, in the order in which they were made.
func (d *dumper) devices() error {
	for _, l := range d.links {
		if l.kind == "veth" || l.kind == "" || fallback[l.Name] {
			continue
		}
		options, ok := kindOptions[l.kind]
		if !ok {
			d.cannot("the device %s of %s, of kind %s", l.Name, d.node, cmp.Or(l.kind, "unknown"))
			continue
		}
		words := []string{"link", "add", l.Name}
		if l.ParentIndex != 0 && l.NetNsID < 0 {
			words = append(words, "link", d.name(l.ParentIndex))
		}
		if len(l.HardwareAddr) == 6 && !d.inherits(l) {
			words = append(words, "address", l.HardwareAddr.String())
		}
		words = append(words, "type", l.kind)
		for _, o := range options {
			value, ok := l.data[o.attribute]
			if !ok {
				continue
			}
			more, err := o.words(value)
			if err != nil {
				return fmt.Errorf("read the options of %s: %w", l.Name, err)
			}
			words = append(words, more...)
		}
		// A tunnel that takes everything from packets has no number, though the kernel tells one.
		if i := slices.Index(words, "id"); i > 0 && slices.Contains(words, "external") {
			words = slices.Delete(words, i, i+2)
		}
		d.ip(words...)
	}
	return nil
}

// fallback are the devices that modules of tunnels put into every namespace.
var fallback = map[string]bool{"gre0": true, "gretap0": true, "erspan0": true, "tunl0": true, "sit0": true, "ip6tnl0": true,
	"ip6gre0": true, "ip_vti0": true, "ip6_vti0": true}

// inherits reports whether a device has its Ethernet address from others.
func (d *dumper) inherits(l link) bool {
	if l.kind == "ipvlan" {
		return true
	}
	return l.kind == "bridge" && slices.ContainsFunc(d.links, func(port link) bool {
		return port.MasterIndex == l.Index && bytes.Equal(port.HardwareAddr, l.HardwareAddr)
	})
}

// properties adds what devices have in common.
func (d *dumper) properties() error {
	for _, l := range d.links {
		if fallback[l.Name] {
			continue
		}
		set := func(words ...string) { d.ip(append([]string{"link", "set", l.Name}, words...)...) }
		if l.MTU != 0 && l.MTU != usualMTU(l) {
			set("mtu", strconv.Itoa(l.MTU))
		}
		if l.TxQLen != 1000 && (l.kind == "veth" || l.TxQLen != 0) && l.kind != "" {
			set("txqueuelen", strconv.Itoa(l.TxQLen))
		}
		if master := d.name(l.MasterIndex); master != "" {
			set("master", master)
		}
		if err := d.features(l); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// features adds those of a device that it is wanted to have otherwise than a new one: of a cable all, of others those that were
// declared.
func (d *dumper) features(l link) error {
	var now map[string]bool
	err := d.ns.Do(func() (err error) { now, err = wantedFeatures(l.Name); return err })
	if err != nil {
		return err
	}
	usual := d.usual
	if l.kind != "veth" {
		usual = make(map[string]bool)
		for feature, on := range d.declared(l.Name).Features {
			usual[feature] = !on // so that it is mentioned
		}
	}
	for _, feature := range slices.Sorted(maps.Keys(usual)) {
		if on, known := now[feature]; known && on != usual[feature] {
			d.run(d.inside("ethtool", "-K", l.Name, feature, map[bool]string{true: "on", false: "off"}[on])...)
		}
	}
	return nil
}

// declared is what was declared about a device.
func (d *dumper) declared(name string) Device {
	for device, declared := range d.node.all() {
		if device == name {
			return declared
		}
	}
	return Device{}
}

// usualMTU is what a new device has that a script need not mention.
func usualMTU(l link) int {
	switch l.kind {
	case "":
		return 65536
	case "veth", "bridge", "dummy", "bond":
		return 1500
	}
	return 0
}

// up brings devices up that are.
func (d *dumper) up() error {
	for _, l := range d.links {
		if l.RawFlags&unix.IFF_UP != 0 {
			d.ip("link", "set", l.Name, "up")
		}
	}
	return nil
}
