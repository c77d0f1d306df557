package main

import (
	"os"
	"path/filepath"

	"github.com/waybill-dev/waybill/vm"
)

// networkModules are loaded before every program, as far as the kernel has them: what a tracker attaches to from the
// beginning, and what most rulesets need. Each takes emulation 20 ms and more, most of it for its signature; the others come
// when a rule or a link asks for them.
var networkModules = []string{"veth", "bridge", "nf_tables", "nft_ct", "nf_conntrack", "nf_nat", "nft_nat", "nft_chain_nat"}

// ondemandModules are in every guest, and are loaded when the kernel asks for them. Some would change a test that
// does not want them: tunnels add a device to each namespace, br_netfilter sends bridged packets through iptables. Of net/ they
// leave out what carries files, clusters and VMs (sunrpc, ceph, tipc, smc, rds, vsock …), a third of it all, which costs each
// boot 0.1 s under emulation; --module brings those.
var ondemandModules = []string{
	"net/802", "net/8021q", "net/bridge", "net/core", "net/ife", "net/ipv4", "net/ipv6", "net/key", "net/l2tp", "net/llc",
	"net/mpls", "net/mptcp", "net/netfilter", "net/netlink", "net/nsh", "net/openvswitch", "net/packet", "net/psample",
	"net/sched", "net/sctp", "net/tls", "net/unix", "net/xdp", "net/xfrm", "dummy", "geneve", "gtp", "ifb", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap", "netconsole",
	"netdevsim", "nlmon", "tap", "tun", "veth", "vrf", "vsockmon", "drivers/net/bonding", "drivers/net/team",
	"drivers/net/vxlan", "drivers/net/wireguard", "drivers/net/ovpn", "crypto",
}

// networkPrograms are in every guest, if this machine has them.
var networkPrograms = []string{
	"nft", "ip", "tc", "iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
	"iptables-legacy-restore", "ip6tables-legacy-restore", "ebtables", "ebtables-save", "ebtables-restore",
}

// extensionFolders are where the extensions of iptables are, which it loads by name.
var extensionFolders = []string{"/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib64/xtables", "/usr/lib/xtables"}

func addNetworkPrograms(config *vm.Config) {
	config.OptionalBinaries = append(config.OptionalBinaries, networkPrograms...)
	for _, dir := range extensionFolders {
		if isFolder(dir) {
			config.Files = append(config.Files, vm.File{Src: dir})
		}
	}
}

// shells are programs for an interactive shell, the best first.
var shells = []string{"bash", "busybox", "sh"}

// shellPrograms are what one looks around with, as far as this machine has them.
var shellPrograms = []string{
	"sh", "ls", "cat", "cp", "mv", "rm", "mkdir", "ln", "chmod", "echo", "sleep", "grep", "sed", "awk", "head", "tail", "sort",
	"wc", "find", "xargs", "less", "more", "ps", "top", "kill", "dmesg", "mount", "umount", "env", "id", "tty", "stty", "readlink", "clear", "vi", "uname", "date", "sysctl",
	"lsmod", "bridge", "tc", "ss", "ping", "tcpdump", "ethtool", "conntrack", "bpftool", "strace", "unshare", "nsenter",
}

// terminalDescriptions are where programs look up how a terminal is driven.
var terminalDescriptions = []string{"/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo"}

// addShell puts a shell in the place of the program, which stays in the guest.
func addShell(config *vm.Config) {
	if config.Program != "" {
		config.Binaries = append(config.Binaries, config.Program)
	}
	config.Args = nil
	for _, name := range shells {
		config.Program = name
		if vm.Installed(name) {
			break
		}
	}
	if config.Program == "busybox" {
		config.Args = []string{"sh"}
	}
	config.OptionalBinaries = append(config.OptionalBinaries, append(shellPrograms, "busybox")...)
	config.Stdin = os.Stdin
	term := os.Getenv("TERM")
	if term == "" {
		return
	}
	config.Env = append([]string{"TERM=" + term}, config.Env...)
	for _, dir := range terminalDescriptions {
		description := filepath.Join(dir, term[:1], term)
		if _, err := os.Stat(description); err == nil {
			config.Files = append(config.Files, vm.File{Src: description, Dst: description})
		}
	}
}
