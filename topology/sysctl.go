package topology

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// setting is a file under /proc/sys/net and what is written into it.
type setting struct{ file, value string }

// settings are written before any link exists, so that "default" holds for all of them; "all" counts as well where the
// kernel combines the two.
//
// The IPv4 ones are set although most are the kernel's defaults, because a new namespace copies those of the machine
// (net.core.devconf_inherit_init_net=0, Documentation/admin-guide/sysctl/net.rst).
var settings = func() []setting {
	list := []setting{
		{"ipv4/conf/lo/rp_filter", "0"},
		// Off by boot parameter on some machines (ipv6.disable_ipv6=1).
		{"ipv6/conf/lo/disable_ipv6", "0"},
		{"ipv6/conf/default/disable_ipv6", "0"},
		{"ipv6/conf/all/accept_dad", "0"},
		{"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/default/accept_ra", "0"},
		{"ipv6/conf/default/accept_redirects", "0"},
		{"ipv6/conf/default/autoconf", "0"},
		{"ipv6/conf/default/router_solicitations", "0"},
		// 1 is none: link-local addresses are given by us, as the others.
		{"ipv6/conf/default/addr_gen_mode", "1"},
	}
	for _, scope := range []string{"all", "default"} {
		prefix := "ipv4/conf/" + scope + "/"
		list = append(list,
			// Between paths of equal length the two directions may differ.
			setting{prefix + "rp_filter", "0"},
			// Routes stay as they were computed.
			setting{prefix + "accept_redirects", "0"},
			setting{prefix + "send_redirects", "1"},
			setting{prefix + "accept_local", "0"},
			setting{prefix + "arp_announce", "0"},
			setting{prefix + "arp_filter", "0"},
			setting{prefix + "arp_ignore", "0"},
			setting{prefix + "arp_notify", "0"},
			setting{prefix + "log_martians", "0"},
			setting{prefix + "proxy_arp", "0"},
			setting{prefix + "route_localnet", "0"},
			setting{prefix + "src_valid_mark", "0"},
		)
	}
	return list
}()

// writeSysctls configures the namespace of the calling thread. /proc/sys/net shows each thread its own.
func writeSysctls(forwarding bool) error {
	value := "0"
	if forwarding {
		value = "1"
	}
	// Forwarding is written either way, since it too is copied: where docker runs, every namespace would forward. First,
	// because writing it sets accept_redirects as well (inet_forward_change, net/ipv4/devinet.c).
	all := append([]setting{{"ipv4/ip_forward", value}, {"ipv6/conf/all/forwarding", value}}, settings...)
	for _, s := range all {
		err := s.write()
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set net/%s: this kernel does not have it: both IPv4 and IPv6 are needed", s.file)
		}
		if err != nil {
			return fmt.Errorf("set net/%s: %w", s.file, err)
		}
	}
	return nil
}

// write does without package os, which would have each file watched by epoll: that takes twice as long as all the rest.
func (s setting) write() error {
	fd, err := unix.Open("/proc/sys/net/"+s.file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(s.value))
	return errors.Join(err, unix.Close(fd))
}
