package topology

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/internal/netns"
)

const sysctlRoot = "/proc/sys/net"

// readSettings reads all that can be set in the namespace of the calling thread, by the path below /proc/sys/net.
func readSettings() (map[string]string, error) {
	values := make(map[string]string)
	err := filepath.WalkDir(sysctlRoot, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Mode()&0o200 == 0 || info.Mode()&0o400 == 0 {
			return err // a counter, or an order
		}
		// Some cannot be read before they were written (stable_secret).
		if text, err := os.ReadFile(path); err == nil {
			values[strings.TrimPrefix(path, sysctlRoot+"/")] = strings.Join(strings.Fields(string(text)), " ")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return values, nil
}

// deviceSetting splits the path of a setting of one device, such as ipv4/conf/eth0/rp_filter, into what is before and behind
// the device's name.
func deviceSetting(path string) (before, device, behind string, ok bool) {
	for _, before := range []string{"ipv4/conf/", "ipv6/conf/", "ipv4/neigh/", "ipv6/neigh/", "mpls/conf/"} {
		if rest, ok := strings.CutPrefix(path, before); ok {
			device, behind, _ := strings.Cut(rest, "/")
			return before, device, behind, true
		}
	}
	return "", "", "", false
}

// aliases are settings that others set too, in other words: they are left out.
var settingAliases = map[string]bool{
	"ipv4/ip_forward": true, "retrans_time": true, "base_reachable_time": true,
	"mtu": true, // of IPv6, which follows the device's
}

func alias(path string) bool { return settingAliases[path] || settingAliases[filepath.Base(path)] }

// dumpSettings adds those of the nodes as a whole, and those that new devices inherit: those that Up sets, since a new
// namespace copies the machine's, and others as far as they differ from a new namespace's. What all nodes have is in one
// command.
func dumpSettings(all []*dumper, s *script) error {
	ns, err := netns.New()
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	var fresh map[string]string
	if err := ns.Do(func() error { fresh, err = readSettings(); return err }); err != nil {
		return err
	}
	common := make(map[string]int)
	lists := make([][]string, len(all))
	for i, d := range all {
		if lists[i], err = d.settings(fresh); err != nil {
			return fmt.Errorf("node %s: %w", d.node, err)
		}
		for _, each := range lists[i] {
			common[each]++
		}
	}
	// What differs comes first, forwarding among it, since that sets others.
	var names, shared []string
	for i, d := range all {
		names = append(names, d.node.Name)
		var own []string
		for _, each := range lists[i] {
			if common[each] < len(all) {
				own = append(own, each)
			} else if i == 0 {
				shared = append(shared, each)
			}
		}
		s.sysctl("", d.node.Name, own)
	}
	if len(all) == 1 {
		s.sysctl("", names[0], shared)
		return nil
	}
	s.begin()
	s.WriteString("for node in " + strings.Join(names, " ") + "; do\n")
	s.sysctl("\t", "$node", shared)
	s.WriteString("done\n")
	return nil
}

// settings are those of the node as a whole to be set in a new namespace.
func (d *dumper) settings(fresh map[string]string) ([]string, error) {
	own, err := d.readSettings()
	if err != nil {
		return nil, err
	}
	var first, rest []string
	for _, path := range slices.Sorted(maps.Keys(own)) {
		before, device, behind, ok := deviceSetting(path)
		if ok && device != "all" && device != "default" && device != loopback || alias(path) {
			continue
		}
		usual, known := fresh[path]
		ours := slices.ContainsFunc(settings, func(s setting) bool { return s.file == path })
		switch {
		case !known:
			// It belongs to a module that came with a ruleset, or to nothing that could be set before.
		case behind == "forwarding" && device == "all":
			// This sets that of all devices, and whether redirects are accepted.
			first = append(first, assignment(path, own[path]))
		case behind == "forwarding" && own[path] == own[before+"all/forwarding"]:
		case ours || own[path] != usual:
			rest = append(rest, assignment(path, own[path]))
		}
	}
	return append(first, rest...), nil
}

// deviceSettings adds those of devices that differ from what new devices have.
func (d *dumper) deviceSettings() error {
	own, err := d.readSettings()
	if err != nil {
		return err
	}
	var list []string
	for _, path := range slices.Sorted(maps.Keys(own)) {
		before, device, behind, ok := deviceSetting(path)
		if !ok || device == "all" || device == "default" || device == loopback || fallback[device] || alias(path) {
			continue
		}
		if behind == "use_tempaddr" && own[path] == "-1" {
			continue // devices without ARP have it by themselves
		}
		if usual, known := own[before+"default/"+behind]; known && usual != own[path] {
			list = append(list, assignment(path, own[path]))
		}
	}
	d.sysctl("", d.node.Name, list)
	return nil
}

// readSettings reads those of the node.
func (d *dumper) readSettings() (values map[string]string, err error) {
	err = d.ns.Do(func() error { values, err = readSettings(); return err })
	return values, err
}

// assignment is a setting as sysctl takes it. Its parts are separated by dots, if none contains any.
func assignment(path, value string) string {
	name := "net/" + path
	if !strings.Contains(name, ".") {
		name = strings.ReplaceAll(name, "/", ".")
	}
	return name + "=" + value
}

// sysctl adds a command that sets all of a list in a node.
func (s *script) sysctl(indent, node string, list []string) {
	if len(list) == 0 {
		return
	}
	s.begin()
	line := indent + "ip netns exec " + node + " sysctl -qw"
	for _, each := range list {
		if word := quote(each); len(line)+len(word) > 115 {
			s.WriteString(line + " \\\n")
			line = indent + "\t" + word
		} else {
			line += " " + word
		}
	}
	s.WriteString(line + "\n")
}
