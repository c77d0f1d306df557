package topology

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// portFlags are what a bridge does at a port, as the bridge command names it (IFLA_BRPORT_*), and what it is by itself.
var portFlags = []struct {
	attribute uint16
	name      string
	usual     byte
}{
	{4, "hairpin", 0}, {5, "guard", 0}, {6, "root_block", 0}, {7, "fastleave", 0}, {8, "learning", 1}, {9, "flood", 1},
	{27, "mcast_flood", 1}, {33, "isolated", 0},
}

// ports adds what bridges do at their ports.
func (d *dumper) ports() error {
	vlans, err := d.route.BridgeVlanList()
	if err != nil {
		return fmt.Errorf("list VLANs of ports: %w", err)
	}
	bridge := func(words ...string) { d.run(append([]string{"bridge", "-n", d.node.Name}, words...)...) }
	for _, l := range d.links {
		if master := d.byIndex(l.MasterIndex); master.kind == "bridge" {
			for _, f := range portFlags {
				if value := l.port[f.attribute]; len(value) == 1 && value[0] != f.usual {
					bridge("link", "set", "dev", l.Name, f.name, map[byte]string{0: "off", 1: "on"}[value[0]])
				}
			}
			// A port that is down is disabled, whatever else is wanted.
			if state := l.port[iflaBRPortState]; len(state) == 1 && state[0] != portStates[Forwarding] &&
				l.RawFlags&unix.IFF_LOWER_UP != 0 && isZero(master.data[iflaBRSTPState]) {
				bridge("link", "set", "dev", l.Name, "state", strconv.Itoa(int(state[0])))
			}
			if master.data[iflaBRDefaultPVID] != nil {
				d.vlans(l, vlans, bridge, "master")
			}
		} else if l.data[iflaBRDefaultPVID] != nil && l.kind == "bridge" {
			d.vlans(l, vlans, bridge, "self")
		}
	}
	return nil
}

// vlans adds those of a port, or of a bridge itself, if they are others than the one that every port is in.
func (d *dumper) vlans(l link, all map[int32][]*nl.BridgeVlanInfo, bridge func(...string), side string) {
	type membership struct {
		id             uint16
		native, untags bool
	}
	var list []membership
	for _, v := range all[int32(l.Index)] {
		list = append(list, membership{v.Vid, v.Flags&nl.BRIDGE_VLAN_INFO_PVID != 0, v.Flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0})
	}
	usual := membership{1, true, true}
	if slices.Equal(list, []membership{usual}) {
		return
	}
	if !slices.Contains(list, usual) {
		bridge("vlan", "del", "dev", l.Name, "vid", "1", side)
	}
	for _, m := range list {
		if m == usual {
			continue
		}
		words := []string{"vlan", "add", "dev", l.Name, "vid", strconv.Itoa(int(m.id))}
		if m.native {
			words = append(words, "pvid")
		}
		if m.untags {
			words = append(words, "untagged")
		}
		bridge(append(words, side)...)
	}
}

func isZero(value []byte) bool { return strings.Trim(string(value), "\x00") == "" }

func (d *dumper) byIndex(index int) link {
	for _, l := range d.links {
		if l.Index == index {
			return l
		}
	}
	return link{}
}

// traffic adds impairments, the tc text of the declaration, and programs.
func (d *dumper) traffic() error {
	qdiscs, err := d.impairments()
	if err != nil {
		return fmt.Errorf("list queueing disciplines: %w", err)
	}
	for _, l := range d.links {
		for _, words := range qdiscs[l.Index] {
			if delay := slices.Index(words, "delay"); delay > 0 && tooLong(words[delay+1]) {
				d.cannot("the delay of %s by %s in %s: tc knows none beyond 274 seconds", words[delay+1], l.Name, d.node)
				words = slices.Delete(words, delay, delay+2)
			}
			d.run(append([]string{"tc", "-n", d.node.Name, "qdisc", "replace", "dev", l.Name}, words...)...)
		}
	}
	for name, device := range d.node.all() {
		if err := d.programs(name, device); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if d.node.TC != "" {
		text, _, err := content(d.node.TC)
		if err != nil {
			return fmt.Errorf("read the text for tc: %w", err)
		}
		d.give(text, "tc", "-n", d.node.Name, "-batch", "-")
	}
	if len(d.node.Multicast) > 0 {
		d.cannot("the multicast routes of %s, which last as long as the process that made them", d.node)
	}
	return nil
}

// programs adds the programs of a device that are in files.
func (d *dumper) programs(name string, device Device) error {
	classifier := false
	for _, hook := range []struct {
		name    string
		program Program
		kind    ebpf.ProgramType
	}{{"xdp", device.XDP, ebpf.XDP}, {"ingress", device.Ingress, ebpf.SchedCLS}, {"egress", device.Egress, ebpf.SchedCLS}} {
		if !hook.program.given() {
			continue
		}
		if hook.program.File == "" {
			d.cannot("the %s program of %s in %s, which the test loaded", hook.name, name, d.node)
			continue
		}
		spec, err := ebpf.LoadCollectionSpec(hook.program.File)
		if err != nil {
			return fmt.Errorf("read %s: %w", hook.program.File, err)
		}
		program := hook.program.Name
		if program == "" {
			program = slices.Sorted(maps.Keys(spec.Programs))[0]
		}
		section := spec.Programs[program].SectionName
		if hook.name == "xdp" {
			d.ip("link", "set", name, "xdp", "object", hook.program.File, "section", section)
			continue
		}
		if !classifier {
			d.run("tc", "-n", d.node.Name, "qdisc", "replace", "dev", name, "clsact")
			classifier = true
		}
		d.run("tc", "-n", d.node.Name, "filter", "add", "dev", name, hook.name, "protocol", "all", "prio", "1", "handle", "1",
			"bpf", "direct-action", "object-file", hook.program.File, "section", section)
	}
	return nil
}

// impairments are the words for the queueing disciplines that impair devices, by index, as the kernel has them: tbf before what is in
// its class.
func (d *dumper) impairments() (map[int][][]string, error) {
	var answers [][]byte
	err := d.ns.Do(func() (err error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		request.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL})
		answers, err = request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make(map[int][][]string)
	for _, answer := range answers {
		message := nl.DeserializeTcMsg(answer)
		attributes, err := nl.ParseRouteAttrAsMap(answer[nl.SizeofTcMsg:])
		if err != nil {
			return nil, err
		}
		kind := unix.ByteSliceToString(attributes[nl.TCA_KIND].Value)
		words := []string{"root", kind}
		switch {
		case message.Parent == rootQdisc && kind == "tbf" && message.Handle == tbfHandle:
			words = []string{"root", "handle", "1:", kind}
		case message.Parent == rootQdisc && kind == "netem":
		case message.Parent == tbfHandle|1 && len(all[int(message.Ifindex)]) == 1:
			words = []string{"parent", "1:1", kind}
		default:
			continue
		}
		options, err := qdiscWords(kind, attributes[nl.TCA_OPTIONS].Value)
		if err != nil {
			return nil, err
		}
		if options != nil {
			all[int(message.Ifindex)] = append(all[int(message.Ifindex)], append(words, options...))
		}
	}
	return all, nil
}

// qdiscWords are the options of a queueing discipline as tc takes them; nil if it is none that impairs devices.
func qdiscWords(kind string, options []byte) ([]string, error) {
	switch kind {
	case "netem":
		return netemWords(options)
	case "tbf":
		return tbfWords(options)
	case "pfifo":
		if len(options) < 4 {
			return nil, errSize
		}
		return []string{"limit", strconv.FormatUint(uint64(binary.NativeEndian.Uint32(options)), 10)}, nil
	}
	return nil, nil
}

// tickNS is how long a tick of the packet scheduler is (PSCHED_SHIFT in include/net/pkt_sched.h).
const tickNS = 64

// tbfWords are the options of tbf as tc takes them. The kernel keeps the time that a burst takes, in ticks.
func tbfWords(options []byte) ([]string, error) {
	attributes, err := nl.ParseRouteAttrAsMap(options)
	if err != nil {
		return nil, err
	}
	value := attributes[nl.TCA_TBF_PARMS].Value
	if len(value) < nl.SizeofTcTbfQopt {
		return nil, errSize
	}
	basic := nl.DeserializeTcTbfQopt(value)
	rate := uint64(basic.Rate.Rate)
	if wide := attributes[nl.TCA_TBF_RATE64].Value; len(wide) == 8 {
		rate = binary.NativeEndian.Uint64(wide)
	}
	burst := math.Round(float64(rate) * (float64(basic.Buffer) + 0.5) * tickNS / 1e9) // whatever has the same number of ticks
	return []string{
		"rate", strconv.FormatUint(rate*8, 10) + "bit", "burst", strconv.FormatFloat(burst, 'f', 0, 64) + "b",
		"limit", strconv.FormatUint(uint64(basic.Limit), 10) + "b",
	}, nil
}

// netemWords are the options of netem as tc takes them.
func netemWords(options []byte) ([]string, error) {
	if len(options) < nl.SizeofTcNetemQopt {
		return nil, errSize
	}
	basic := nl.DeserializeTcNetemQopt(options)
	more, err := nl.ParseRouteAttrAsMap(options[nl.SizeofTcNetemQopt:])
	if err != nil {
		return nil, err
	}
	number := func(attribute uint16, size int) uint64 {
		value := more[attribute].Value
		switch {
		case len(value) < size:
			return 0
		case size == 8:
			return binary.NativeEndian.Uint64(value)
		}
		return uint64(binary.NativeEndian.Uint32(value))
	}
	words := []string{"limit", strconv.FormatUint(uint64(basic.Limit), 10)}
	if delay, jitter := number(netemLatency64, 8), number(netemJitter64, 8); delay != 0 || jitter != 0 {
		words = append(words, "delay", tcTime(delay))
		if jitter != 0 {
			words = append(words, tcTime(jitter))
		}
	}
	for _, chance := range []struct {
		name  string
		value uint64
	}{
		{"loss", uint64(basic.Loss)}, {"duplicate", uint64(basic.Duplicate)},
		{"corrupt", number(nl.TCA_NETEM_CORRUPT, 4)}, {"reorder", number(nl.TCA_NETEM_REORDER, 4)},
	} {
		if chance.value != 0 {
			words = append(words, chance.name, tcPercent(uint32(chance.value)))
		}
	}
	rate := number(nl.TCA_NETEM_RATE64, 8)
	if rate == 0 {
		rate = number(nl.TCA_NETEM_RATE, 4)
	}
	if rate != 0 {
		words = append(words, "rate", strconv.FormatUint(rate*8, 10)+"bit")
	}
	return words, nil
}

// tcPercent is the shortest percentage that makes a fraction of 2³²-1.
func tcPercent(fraction uint32) string {
	percent := float64(fraction) / math.MaxUint32 * 100
	for digits := range 12 {
		text := strconv.FormatFloat(percent, 'f', digits, 64)
		if p, err := strconv.ParseFloat(text, 64); err == nil && chance(p) == fraction {
			return text + "%"
		}
	}
	return strconv.FormatFloat(percent, 'f', 12, 64) + "%"
}

// tooLong reports whether tc cannot say a time, whose ticks must fit into 32 bits.
func tooLong(text string) bool {
	d, err := time.ParseDuration(text)
	return err == nil && d > math.MaxUint32*tickNS*time.Nanosecond
}

// tcTime is a time in the largest unit that leaves no fraction, or in microseconds, which tc rounds to its ticks.
func tcTime(nanoseconds uint64) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}} {
		if nanoseconds%uint64(unit.size) == 0 {
			return strconv.FormatUint(nanoseconds/uint64(unit.size), 10) + unit.name
		}
	}
	return strconv.FormatFloat(float64(nanoseconds)/1000, 'f', -1, 64) + "us"
}
